"""Causal attention that trains in memory linear in the length.

On a GPU PyTorch's own. On a CPU PyTorch 1.13 has none that does not keep all weights: there, tiles
of rows against the keys they see, recomputed in the backward pass (Dao et al. 2022).
"""

import math

import torch
import torch.nn.functional as F

TILE_ROWS = 128


def causal_attention(query, key, value):
    """query: (batch, heads, length, head dim); key, value: (batch, KV heads, length, head dim)."""
    if query.is_cuda:
        group = query.shape[1] // key.shape[1]
        key = key.repeat_interleave(group, dim=1)
        value = value.repeat_interleave(group, dim=1)
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return _TiledAttention.apply(query, key, value)


def _tiles(length):
    return [(start, min(start + TILE_ROWS, length)) for start in range(0, length, TILE_ROWS)]


def _grouped(tensor, kv_heads):
    """(batch, heads, length, dim) -> (batch * KV heads, heads per KV head, length, dim)."""
    batch, heads, length, dim = tensor.shape
    return tensor.reshape(batch * kv_heads, heads // kv_heads, length, dim)


def _tile_weights(queries, keys, start, end, mask):
    """softmax(Q·Kᵀ/√d) of rows start..end-1 of all heads of one KV head, (heads, rows, end)."""
    logits = torch.matmul(queries[:, start:end].reshape(-1, queries.shape[-1]), keys[:end].t())
    logits = logits.view(queries.shape[0], end - start, end)
    logits[:, :, start:end] += mask[:end - start, :end - start]
    return torch.softmax(logits, dim=-1)


class _TiledAttention(torch.autograd.Function):
    """o = softmax(Q·Kᵀ/√d + causal mask)·V by tiles of rows."""

    @staticmethod
    def forward(ctx, query, key, value):
        kv_heads = key.shape[1]
        length, dim = query.shape[2:]
        queries = _grouped(query, kv_heads) * (1 / math.sqrt(dim))
        keys = key.reshape(-1, length, dim)
        values = value.reshape(-1, length, dim)
        ctx.mask = torch.full((TILE_ROWS, TILE_ROWS), -math.inf, dtype=query.dtype).triu(1)
        output = torch.empty_like(queries)
        for which in range(keys.shape[0]):
            for start, end in _tiles(length):
                weights = _tile_weights(queries[which], keys[which], start, end, ctx.mask)
                output[which, :, start:end] = torch.matmul(
                    weights.view(-1, end), values[which, :end]).view(-1, end - start, dim)
        ctx.save_for_backward(queries, keys, values, output)
        ctx.shapes = query.shape, key.shape
        return output.reshape(query.shape)

    # dV = Pᵀ·dO, dP = dO·Vᵀ, dS = P ∘ (dP − rowsum(dO ∘ O)), dQ = dS·K/√d, dK = dSᵀ·Q/√d.
    @staticmethod
    def backward(ctx, output_gradient):
        queries, keys, values, output = ctx.saved_tensors
        length, dim = queries.shape[2:]
        gradients = output_gradient.reshape(queries.shape)
        sums = (gradients * output).sum(-1, keepdim=True)
        d_queries = torch.empty_like(queries)
        d_keys = torch.zeros_like(keys)
        d_values = torch.zeros_like(values)
        for which in range(keys.shape[0]):
            for start, end in _tiles(length):
                weights = _tile_weights(queries[which], keys[which], start, end, ctx.mask)
                tile = gradients[which, :, start:end].reshape(-1, dim)
                weights = weights.view(-1, end)
                d_values[which, :end].addmm_(weights.t(), tile)
                d_logits = torch.matmul(tile, values[which, :end].t())
                d_logits.sub_(sums[which, :, start:end].reshape(-1, 1)).mul_(weights)
                d_queries[which, :, start:end] = torch.matmul(
                    d_logits, keys[which, :end]).view(-1, end - start, dim)
                d_keys[which, :end].addmm_(
                    d_logits.t(), queries[which, :, start:end].reshape(-1, dim))
        query_shape, key_shape = ctx.shapes
        return ((d_queries * (1 / math.sqrt(dim))).reshape(query_shape), d_keys.reshape(key_shape),
                d_values.reshape(key_shape))
