"""Qwen2's architecture: RMSNorm, grouped-query attention with Q/K/V biases and RoPE, SwiGLU."""

import dataclasses
import json

import torch
import torch.nn.functional as F
from torch import nn

from .attention import causal_attention


@dataclasses.dataclass(frozen=True)
class Shape:
    """A model's shape; query heads times head dim are its width (llama.cpp's qwen2 wants that)."""

    vocabulary: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    rope_base: float
    context: int
    norm_epsilon: float = 1e-6

    @property
    def width(self):
        return self.heads * self.head_dim

    @classmethod
    def load(cls, path):
        return cls(**json.loads(path.read_text())["model"])


class Attention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        kv_width = shape.kv_heads * shape.head_dim
        self.query = nn.Linear(shape.width, shape.width)
        self.key = nn.Linear(shape.width, kv_width)
        self.value = nn.Linear(shape.width, kv_width)
        self.output = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x, rotation):
        batch, length, _ = x.shape

        def heads(tensor):
            return tensor.view(batch, length, -1, self.shape.head_dim).transpose(1, 2)

        query = rotate(heads(self.query(x)), rotation)
        key = rotate(heads(self.key(x)), rotation)
        attended = causal_attention(query, key, heads(self.value(x)))
        return self.output(attended.transpose(1, 2).reshape(batch, length, -1))


class FeedForward(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.gate = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.up = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Norm(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.width))
        self.epsilon = shape.norm_epsilon

    def forward(self, x):
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.epsilon)
        return (x * scale.to(x.dtype)) * self.weight


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.attention_norm = Norm(shape)
        self.attention = Attention(shape)
        self.feed_forward_norm = Norm(shape)
        self.feed_forward = FeedForward(shape)

    def forward(self, x, rotation):
        x = x + self.attention(self.attention_norm(x), rotation)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Model(nn.Module):
    """tokens, positions: (batch, length) -> logits (batch, length, vocabulary)."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape)

    def forward(self, tokens, positions=None):
        return F.linear(self.hidden(tokens, positions), self.embedding.weight)

    def hidden(self, tokens, positions=None):
        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape)
        x = self.embedding(tokens)
        rotation = rotation_of(positions, self.shape, x.dtype)
        for layer in self.layers:
            x = layer(x, rotation)
        return self.norm(x)

    def loss(self, tokens, targets, positions):
        """Mean cross-entropy in nats of all targets that are not -1."""
        logits = self(tokens, positions).float()
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1),
                               ignore_index=-1)


def frequencies(shape):
    """θ_i = base^(−2i/head dim), (head dim / 2)."""
    exponents = torch.arange(shape.head_dim // 2, dtype=torch.float64) * (2 / shape.head_dim)
    return shape.rope_base ** -exponents


def rotation_of(positions, shape, dtype):
    """cos and sin of position·θ, each (batch, 1, length, head dim / 2)."""
    angles = positions[:, None, :, None].double() * frequencies(shape).to(positions.device)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x, rotation):
    """RoPE as llama.cpp's "neox" kind: pairs are (i, i + head dim / 2)."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
