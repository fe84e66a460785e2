"""Initial weights with retrieval built in.

From plain initial weights a model of this size does not learn to look things up within 10 M tokens.
So it begins with the circuit that trained models have (induction heads: Olsson et al. 2022), whose
queries and keys stay, and training connects it to the language. The residual stream has parts:

    names     every token's random vector e, fixed: what is copied. It begins with a code of fixed
              length for each KV head
    slots     codes of the tokens 1, 2 and 3 back and of a window around 8 back
    learnt    embeddings as usual, of fixed length, and what the first layer learns to write
    special   the token's frequency; the start token's mark

- Layer 0, by Q/K biases and the fast RoPE pairs alone: three heads look 1, 2 and 3 tokens back, the
  others at the window. They fill the slots.
- Layer 1, by the slow RoPE pairs: a query holds the codes of its token, of the two before and of
  the window; a key holds those of the three tokens and the window before it. Where all match the
  text has been here before, and the key's token is what came next: its e is copied into the stream.
- Where too little matches, these heads attend to the start token, whose value is zero.
- The last layer takes the token's own e out again, and adds the direction along which embeddings
  hold the logarithm of their token's frequency.
"""

import itertools
import math

import torch

from .model import frequencies, rotation_of

EMBEDDING_NORM = 2.0         # |e|; other lengths in the residual stream are in this unit
LEARNT_NORM = 0.6
SPECIAL = 2                  # dimensions
FASTEST_ROTATION = 0.7       # rad over the whole context: below, a pair can carry content
# Nats by which fast pairs, the fastest first, prefer one distance: the first few keep neighbours
# away, all together the rest of the context. As small as does it (1 % of the weight is elsewhere),
# for 8-bit estimates and F16 caches round large logits badly.
LOOK_BACK_NATS, LOOK_BACK_NATS_OF_OTHERS = (14, 5.2, 2.6, 2.1, 1.8), 1.3
WINDOW_CENTRE, WINDOW_NATS, WINDOW_FIRST = 8, 1.5, 2
WINDOW_SIZE = 12             # tokens: 1 over the sum of its squared weights
KEY_BIAS = 4.0
SLOT_SHARES = (1, 1, 1, 3)   # of a head's slow pairs, for the codes 1, 2, 3 back and the window's
SLOTS = len(SLOT_SHARES)
SLOT_NORM = 1.0
MATCH_NATS = (10, 10, 10, 10)  # of each slot that matches
MOST_WRITTEN = 1.4           # length of the learnt part behind the first layer
HELD_SHARE = 0.9             # of tokens whose matches keep at least their nats
SINK_PAIRS = 2               # of RoPE that mark the start token
COPY_NORM = 6.0
FREQUENCY_SCALE = 0.08       # of log frequencies, in an embedding
FREQUENCY_NORM = 1.3
SELF_SHARE = 0.9             # of a token's own e that is taken out
# Layer 1's heads, in turn: slots that their query asks for, nats of the start token, share of
# COPY_NORM that they write.
MATCHERS = ((4, 32, 1.0), (1, 12, 0.2), (4, 32, 1.0), (2, 21, 0.2))


def initialise(model, token_frequencies, seed):
    """Overwrites all weights of a model with at least three layers and four heads."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        _plain(model, generator)
        plan = _Plan(model.shape)
        copies = _copy_rows(plan, generator)
        _embed(model, plan, token_frequencies, generator)
        _look_back(model.layers[0].attention, plan)
        _match(model.layers[1].attention, plan, copies)
        _finish(model.layers[-1].attention, plan, copies)


def guard(model, copies):
    """Takes out the gradients of what stays as it is: the circuit, and if `copies` what it writes.

    Gradients weaken it, for its copies disturb a model that cannot yet tell when to believe them.
    The first layer's free dimensions of values and its feed-forward write the learnt part alone.
    """
    parts = _Parts(model.shape)
    model.embedding.weight.grad[:, :parts.learnt.start] = 0
    model.embedding.weight.grad[:, parts.start] = 0
    first, second = model.layers[:2]
    fixed = [layer.attention_norm.weight for layer in (first, second)]
    for linear in (first.attention.query, first.attention.key, second.attention.query,
                   second.attention.key, *([second.attention.value] if copies else [])):
        fixed += [linear.weight, linear.bias]
    if copies:
        fixed.append(second.attention.output.weight)
    for parameter in fixed:
        parameter.grad.zero_()
    for kv_head in range(model.shape.kv_heads):
        carried = _start_of(parts.head(kv_head), parts.carried)
        first.attention.value.weight.grad[carried] = 0
        first.attention.value.bias.grad[carried] = 0
    for writes in (first.attention.output.weight, first.feed_forward.down.weight):
        writes.grad[:parts.learnt.start] = 0
        writes.grad[parts.learnt.stop:] = 0
    for head in range(model.shape.heads):
        first.attention.output.weight.grad[:, _start_of(parts.head(head), parts.carried)] = 0


def hold_match(model, tokens):
    """Keeps what the first layer learns to write from drowning the slots, and the nats of matches.

    The longer the stream, the shorter is all that is normed; so the first layer's feed-forward is
    limited, and the second layer's norm is set anew. tokens: (n), a text behind the start token;
    the lengths there are taken for those everywhere.
    """
    plan = _Plan(model.shape)
    first, second = model.layers[:2]
    with torch.no_grad():
        x = model.embedding(tokens[None])
        positions = torch.arange(len(tokens), device=tokens.device)[None]
        x = first(x, rotation_of(positions, model.shape, x.dtype))[0]
        written = x[1:, plan.learnt].norm(dim=1).mean() / EMBEDDING_NORM
        first.feed_forward.down.weight.mul_(min(1.0, MOST_WRITTEN / written.item()))
        lengths = x.pow(2).mean(1).sqrt()
        weight = second.attention_norm.weight
        weight[:plan.learnt.start] = plan.scale * lengths[1:].quantile(HELD_SHARE)
        weight[plan.start] = math.sqrt(model.shape.width) / EMBEDDING_NORM * lengths[0]


def trust_matches(model, louder, sink):
    """For the end of training: what a match says counts for more against what language suggests.

    Training weighs both by how often either is right, and most of its texts repeat little. Copies of
    whole matches become `louder` times as long, the start token's pull `sink` times as strong.
    """
    parts = _Parts(model.shape)
    attention = model.layers[1].attention
    with torch.no_grad():
        for index in range(model.shape.heads):
            slots, _, _ = MATCHERS[index % len(MATCHERS)]
            if slots == SLOTS:
                attention.output.weight[:, parts.head(index)] *= louder
                attention.query.bias[parts.head(index)][parts.sink] *= sink


def keep_lengths(model):
    """Keeps the learnt part of embeddings at its length: more would drown the slots."""
    with torch.no_grad():
        learnt = model.embedding.weight[:-1, _Parts(model.shape).learnt]
        learnt.mul_(LEARNT_NORM * EMBEDDING_NORM / learnt.norm(dim=1, keepdim=True))


def _plain(model, generator):
    for layer in model.layers:
        for linear in (layer.attention.query, layer.attention.key, layer.attention.value,
                       layer.feed_forward.gate, layer.feed_forward.up):
            scale = 0.5 if linear in (layer.attention.query, layer.attention.key) else 1.0
            linear.weight.normal_(0, scale / math.sqrt(model.shape.width), generator=generator)
            if linear.bias is not None:
                linear.bias.zero_()
        layer.attention.output.weight.zero_()
        layer.feed_forward.down.weight.zero_()


class _Parts:
    """Which dimensions of the stream and of the heads hold what."""

    def __init__(self, shape):
        self.shape = shape
        rotations = frequencies(shape) * shape.context
        slow = [i for i, rotation in enumerate(rotations) if rotation < FASTEST_ROTATION]
        self.fast = list(range(slow[0]))
        half = shape.head_dim // 2
        content = [dimension for i in slow[:-SINK_PAIRS] for dimension in (i, i + half)]
        self.sink = [dimension for i in slow[-SINK_PAIRS:] for dimension in (i, i + half)]
        self.codes = [len(content) * share // sum(SLOT_SHARES) for share in SLOT_SHARES]
        ends = list(itertools.accumulate(self.codes))
        self.blocks = [content[end - code:end] for code, end in zip(self.codes, ends)]
        self.names = slice(0, shape.width // 2)
        self.slot_starts = [self.names.stop + (end - code) * shape.kv_heads
                            for code, end in zip(self.codes, ends)]
        self.learnt = slice(self.names.stop + ends[-1] * shape.kv_heads, shape.width - SPECIAL)
        self.frequency, self.start = shape.width - 2, shape.width - 1
        self.carried = max(self.codes) * shape.kv_heads  # of a first-layer value: names' codes

    def name_code(self, slot, kv_head):
        """A name's code for a slot: the first dimensions of its longest code."""
        first = kv_head * max(self.codes)
        return slice(first, first + self.codes[slot])

    def slot_code(self, slot, kv_head):
        first = self.slot_starts[slot] + kv_head * self.codes[slot]
        return slice(first, first + self.codes[slot])

    def head(self, index):
        return slice(index * self.shape.head_dim, (index + 1) * self.shape.head_dim)


class _Plan(_Parts):
    """The parts and the lengths of what they hold."""

    def __init__(self, shape):
        super().__init__(shape)
        self.copied = min(shape.head_dim, self.names.stop // shape.kv_heads)
        self.name_code_norms = [EMBEDDING_NORM * math.sqrt(code / self.names.stop)
                                for code in self.codes]
        self.slot_code_norm = EMBEDDING_NORM * SLOT_NORM / math.sqrt(shape.kv_heads)
        # By which norms multiply an embedding, and an embedding with all slots.
        embedding = 1 + LEARNT_NORM ** 2
        self.first_scale = math.sqrt(shape.width / embedding) / EMBEDDING_NORM
        self.scale = math.sqrt(shape.width / (embedding + SLOTS * SLOT_NORM ** 2)) / EMBEDDING_NORM


def _copy_rows(plan, generator):
    """By which the values of each KV head carry a share of a name: (copied, names) each."""
    shape = (plan.names.stop, plan.copied * plan.shape.kv_heads)
    basis = torch.linalg.qr(torch.randn(shape, generator=generator))[0]
    return basis.t().contiguous().split(plan.copied)


def _embed(model, plan, token_frequencies, generator):
    weight = model.embedding.weight
    weight.normal_(0, 1, generator=generator)
    ends = sorted({0, *plan.codes})
    parts = [slice(kv_head * ends[-1] + start, kv_head * ends[-1] + end)
             for kv_head in range(plan.shape.kv_heads) for start, end in zip(ends, ends[1:])]
    for part in (*parts, slice(plan.shape.kv_heads * ends[-1], plan.names.stop)):
        share = (part.stop - part.start) / plan.names.stop
        _set_length(weight[:, part], EMBEDDING_NORM * math.sqrt(share))
    weight[:, plan.names.stop:plan.learnt.start] = 0
    keep_lengths(model)
    logs = torch.log(torch.tensor(token_frequencies, dtype=torch.float32) + 1)
    weight[:, plan.frequency] = EMBEDDING_NORM * FREQUENCY_SCALE * (logs - logs.mean())
    weight[:, plan.start] = 0
    weight[-1] = 0
    weight[-1, plan.start] = EMBEDDING_NORM
    model.norm.weight.fill_(1 / EMBEDDING_NORM)  # logits as for an |e| of 1


def _start_of(part, size):
    return slice(part.start, part.start + size)


def _set_length(rows, length):
    rows.mul_(length / rows.norm(dim=1, keepdim=True))


# With key pairs κ and query pairs (a/κ)·e^(−iθr0), a rotated pair adds a·cos(θ(r − r0)) at distance
# r: the sum over many θ is largest at r0. nats: a/√(head dim) of each fast pair.
def _attend_at(attention, plan, head, distance, nats):
    shape = plan.shape
    theta = frequencies(shape).float()
    bias = attention.query.bias[plan.head(head)]
    key_bias = attention.key.bias[plan.head(head * shape.kv_heads // shape.heads)]
    for i, of_pair in zip(plan.fast, nats):
        key_bias[i] = KEY_BIAS
        amplitude = of_pair * math.sqrt(shape.head_dim) / KEY_BIAS
        bias[i] = amplitude * math.cos(theta[i] * distance)
        bias[i + shape.head_dim // 2] = -amplitude * math.sin(theta[i] * distance)


def _look_back_nats(plan):
    others = len(plan.fast) - len(LOOK_BACK_NATS)
    return [*LOOK_BACK_NATS, *[LOOK_BACK_NATS_OF_OTHERS] * others]


def _look_back(attention, plan):
    shape = plan.shape
    for matrix in (attention.query, attention.key):
        matrix.weight.mul_(0.01)
    for head in range(shape.heads):
        if head < SLOTS - 1:
            _attend_at(attention, plan, head, head + 1, _look_back_nats(plan))
        else:
            nats = [0] * WINDOW_FIRST + [WINDOW_NATS] * (len(plan.fast) - WINDOW_FIRST)
            _attend_at(attention, plan, head, WINDOW_CENTRE, nats)
    for kv_head in range(shape.kv_heads):
        attention.value.weight[plan.head(kv_head)][:plan.carried] = 0
        attention.value.weight[plan.head(kv_head)][:plan.carried, :plan.carried] = \
            torch.eye(plan.carried)
    for head in range(SLOTS):
        gain = plan.slot_code_norm / (plan.name_code_norms[head] * plan.first_scale)
        if head == SLOTS - 1:
            gain *= math.sqrt(WINDOW_SIZE)  # a mean of as many codes is shorter
        output = attention.output.weight[:, plan.head(head)]
        for kv_head in range(shape.kv_heads):
            output[plan.slot_code(head, kv_head), plan.name_code(head, kv_head)] = \
                gain * torch.eye(plan.codes[head])


def _match(attention, plan, copies):
    shape = plan.shape
    lengths = [math.sqrt(nats * math.sqrt(shape.head_dim)) for nats in MATCH_NATS]  # of codes in
    from_slot = [length / (plan.slot_code_norm * plan.scale) * torch.eye(code)      # keys, queries
                 for length, code in zip(lengths, plan.codes)]
    from_name = lengths[0] / (plan.name_code_norms[0] * plan.scale) * torch.eye(plan.codes[0])
    for matrix in (attention.query, attention.key, attention.value):
        matrix.weight.zero_()
    group = shape.heads // shape.kv_heads
    for head in range(shape.heads):
        kv_head = head // group
        key = attention.key.weight[plan.head(kv_head)]
        query = attention.query.weight[plan.head(head)]
        slots, sink_nats, share = MATCHERS[head % len(MATCHERS)]
        for slot, block in enumerate(plan.blocks):
            key[block, plan.slot_code(slot, kv_head)] = from_slot[slot]
        # What is one token further back for the key: the name itself, then slots 0 and 1.
        for slot, block in enumerate(plan.blocks[:min(slots, SLOTS - 1)]):
            source = plan.slot_code(slot - 1, kv_head) if slot else plan.name_code(0, kv_head)
            query[block, source] = from_slot[slot] if slot else from_name
        if slots == SLOTS:
            query[plan.blocks[-1], plan.slot_code(SLOTS - 1, kv_head)] = from_slot[-1]
        # The start token's stream is its mark alone, √width long after the norm.
        mark = lengths[0] / math.sqrt(plan.codes[0])
        key[plan.sink, plan.start] = mark / math.sqrt(shape.width)
        attention.query.bias[plan.head(head)][plan.sink] = \
            sink_nats * math.sqrt(shape.head_dim) / (mark * len(plan.sink))
        rows = copies[kv_head]
        attention.value.weight[plan.head(kv_head)][:plan.copied, plan.names] = rows
        attention.output.weight[plan.names, plan.head(head)][:, :plan.copied] = \
            share * COPY_NORM / plan.scale * rows.t()


# One head per KV head attends to its own token. The value biases reach the output whatever is
# attended to.
def _finish(attention, plan, copies):
    shape = plan.shape
    group = shape.heads // shape.kv_heads
    for kv_head in range(shape.kv_heads):
        head = kv_head * group
        for matrix, index in ((attention.query, head), (attention.key, kv_head)):
            matrix.weight[plan.head(index)] *= 0.01
        _attend_at(attention, plan, head, 0, _look_back_nats(plan))
        rows = copies[kv_head]
        attention.value.weight[plan.head(kv_head)][:plan.copied] = 0
        attention.value.weight[plan.head(kv_head)][:plan.copied, plan.names] = rows
        attention.output.weight[plan.names, plan.head(head)][:, :plan.copied] = \
            -SELF_SHARE / plan.scale * rows.t()
    spare = shape.head_dim - 1  # a value dimension of the first KV head, here no part of an e
    attention.output.weight[:, spare] = 0
    attention.value.weight[spare] = 0
    attention.value.bias[spare] = 1
    attention.output.weight[plan.frequency, shape.head_dim + spare] = \
        EMBEDDING_NORM * FREQUENCY_NORM
