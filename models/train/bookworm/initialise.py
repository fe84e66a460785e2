"""Initial weights with retrieval built in.

From plain initial weights a model of this size does not learn to look things up within 10 M tokens.
So it begins with the circuit that trained models have (induction heads: Olsson et al. 2022), which
training then connects to the language and refines. The residual stream has parts:

    names     every token's random vector e, fixed: what is copied. It begins with a code of fixed
              length for each KV head
    slots     codes of the tokens 1, 2 and 3 back and of a window around 6 back
    learnt    embeddings as usual, of fixed length
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

import math

import torch

from .model import frequencies

EMBEDDING_NORM = 2.0         # |e|; other lengths in the residual stream are in this unit
LEARNT_NORM = 0.6
SPECIAL = 2                  # dimensions
FASTEST_ROTATION = 0.7       # rad over the whole context: below, a pair can carry content
# Nats by which fast pairs, the fastest first, prefer one distance: the first few keep neighbours
# away, all together the rest of the context. As small as does it (1 % of the weight is elsewhere),
# for 8-bit estimates and F16 caches round large logits badly.
LOOK_BACK_NATS, LOOK_BACK_NATS_OF_OTHERS = (14, 5.2, 2.6, 2.1, 1.8), 1.3
WINDOW_CENTRE, WINDOW_NATS, WINDOW_FIRST = 6, 2.5, 2
KEY_BIAS = 4.0
SLOTS = 4                    # 1, 2, 3 back and the window
SLOT_NORM = 1.0
MATCH_NATS = 8               # per slot that matches
SINK_PAIRS = 2               # of RoPE that mark the start token
COPY_NORM = 4.0
FREQUENCY_SCALE = 0.08       # of log frequencies, in an embedding
FREQUENCY_NORM = 1.3
SELF_SHARE = 0.9             # of a token's own e that is taken out
# Layer 1's heads, in turn: slots that their query asks for, nats of the start token, share of
# COPY_NORM that they write.
MATCHERS = ((4, 24, 1.0), (1, 10, 0.25), (4, 24, 1.0), (2, 16, 0.25))


def initialise(model, token_frequencies, seed):
    """Overwrites all weights of a model with at least three layers and four heads."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        _plain(model, generator)
        plan = _Plan(model.shape, generator)
        _embed(model, plan, token_frequencies, generator)
        _look_back(model.layers[0].attention, plan)
        _match(model.layers[1].attention, plan)
        _finish(model.layers[-1].attention, plan)


def guard(model, circuit):
    """Takes out the gradients of what stays: names always, the whole circuit if told so.

    Early in training, gradients weaken the circuit, for its copies disturb a model that cannot yet
    tell when to believe them; so the rest learns around it first.
    """
    model.embedding.weight.grad[:, :_Parts(model.shape).learnt.start] = 0
    if not circuit:
        return
    first, second = model.layers[:2]
    for part in (first, second.attention, second.attention_norm):
        for parameter in part.parameters():
            parameter.grad.zero_()


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
        self.code = len(content) // SLOTS
        self.blocks = [content[slot * self.code:(slot + 1) * self.code] for slot in range(SLOTS)]
        self.names = slice(0, shape.width // 2)
        self.slot_size = self.code * shape.kv_heads
        self.learnt = slice(self.names.stop + SLOTS * self.slot_size, shape.width - SPECIAL)
        self.frequency, self.start = shape.width - 2, shape.width - 1

    def name_code(self, kv_head):
        return slice(kv_head * self.code, (kv_head + 1) * self.code)

    def slot(self, slot):
        first = self.names.stop + slot * self.slot_size
        return slice(first, first + self.slot_size)

    def slot_code(self, slot, kv_head):
        first = self.slot(slot).start + kv_head * self.code
        return slice(first, first + self.code)

    def head(self, index):
        return slice(index * self.shape.head_dim, (index + 1) * self.shape.head_dim)


class _Plan(_Parts):
    """The parts, lengths of what they hold, and the rows by which values carry an e."""

    def __init__(self, shape, generator):
        super().__init__(shape)
        self.copied = min(shape.head_dim, self.names.stop // shape.kv_heads)
        basis = torch.randn(self.names.stop, self.copied * shape.kv_heads, generator=generator)
        self._copies = torch.linalg.qr(basis)[0].t().contiguous()
        self.name_code_norm = EMBEDDING_NORM * math.sqrt(self.code / self.names.stop)
        self.slot_code_norm = EMBEDDING_NORM * SLOT_NORM / math.sqrt(shape.kv_heads)
        # By which norms multiply an embedding, and an embedding with all slots.
        embedding = 1 + LEARNT_NORM ** 2
        self.first_scale = math.sqrt(shape.width / embedding) / EMBEDDING_NORM
        self.scale = math.sqrt(shape.width / (embedding + SLOTS * SLOT_NORM ** 2)) / EMBEDDING_NORM

    def copy_rows(self, kv_head):
        return self._copies[kv_head * self.copied:(kv_head + 1) * self.copied]


def _embed(model, plan, token_frequencies, generator):
    weight = model.embedding.weight
    weight.normal_(0, 1, generator=generator)
    codes = plan.code * plan.shape.kv_heads
    for kv_head in range(plan.shape.kv_heads):
        _set_length(weight[:, plan.name_code(kv_head)], plan.name_code_norm)
    _set_length(weight[:, codes:plan.names.stop],
                EMBEDDING_NORM * math.sqrt(1 - codes / plan.names.stop))
    weight[:, plan.names.stop:plan.learnt.start] = 0
    keep_lengths(model)
    logs = torch.log(torch.tensor(token_frequencies, dtype=torch.float32) + 1)
    weight[:, plan.frequency] = EMBEDDING_NORM * FREQUENCY_SCALE * (logs - logs.mean())
    weight[:, plan.start] = 0
    weight[-1] = 0
    weight[-1, plan.start] = EMBEDDING_NORM
    model.norm.weight.fill_(1 / EMBEDDING_NORM)  # logits as for an |e| of 1


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
    attention.value.weight.zero_()
    for kv_head in range(shape.kv_heads):
        value = attention.value.weight[plan.head(kv_head)]
        value[:plan.slot_size, :plan.slot_size] = torch.eye(plan.slot_size)
    for head in range(SLOTS):
        gain = plan.slot_code_norm / (plan.name_code_norm * plan.first_scale)
        if head == SLOTS - 1:
            gain *= math.sqrt(WINDOW_CENTRE)  # a mean of about as many codes is shorter
        output = attention.output.weight[:, plan.head(head)]
        output[plan.slot(head), :plan.slot_size] = gain * torch.eye(plan.slot_size)


def _match(attention, plan):
    shape = plan.shape
    eye = torch.eye(plan.code)
    length = math.sqrt(MATCH_NATS * math.sqrt(shape.head_dim))  # of a code in a query or key
    from_slot = length / (plan.slot_code_norm * plan.scale) * eye
    from_name = length / (plan.name_code_norm * plan.scale) * eye
    for matrix in (attention.query, attention.key, attention.value):
        matrix.weight.zero_()
    group = shape.heads // shape.kv_heads
    for head in range(shape.heads):
        kv_head = head // group
        key = attention.key.weight[plan.head(kv_head)]
        query = attention.query.weight[plan.head(head)]
        slots, sink_nats, share = MATCHERS[head % len(MATCHERS)]
        for slot, block in enumerate(plan.blocks):
            key[block, plan.slot_code(slot, kv_head)] = from_slot
        # What is one token further back for the key: the name itself, then slots 0 and 1.
        for slot, block in enumerate(plan.blocks[:min(slots, SLOTS - 1)]):
            source = plan.slot_code(slot - 1, kv_head) if slot else plan.name_code(kv_head)
            query[block, source] = from_slot if slot else from_name
        if slots == SLOTS:
            query[plan.blocks[-1], plan.slot_code(SLOTS - 1, kv_head)] = from_slot
        # The start token's stream is its mark alone, √width long after the norm.
        mark = math.sqrt(MATCH_NATS * math.sqrt(shape.head_dim) / plan.code)
        key[plan.sink, plan.start] = mark / math.sqrt(shape.width)
        attention.query.bias[plan.head(head)][plan.sink] = \
            sink_nats * math.sqrt(shape.head_dim) / (mark * len(plan.sink))
        rows = plan.copy_rows(kv_head)
        attention.value.weight[plan.head(kv_head)][:plan.copied, plan.names] = rows
        attention.output.weight[plan.names, plan.head(head)][:, :plan.copied] = \
            share * COPY_NORM / plan.scale * rows.t()


# One head per KV head attends to its own token. The value biases reach the output whatever is
# attended to.
def _finish(attention, plan):
    shape = plan.shape
    group = shape.heads // shape.kv_heads
    for kv_head in range(shape.kv_heads):
        head = kv_head * group
        for matrix, index in ((attention.query, head), (attention.key, kv_head)):
            matrix.weight[plan.head(index)] *= 0.01
        _attend_at(attention, plan, head, 0, _look_back_nats(plan))
        rows = plan.copy_rows(kv_head)
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
