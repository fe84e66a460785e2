"""Training batches: every one depends on the seed and its number alone, so that a run resumes."""

import json

import numpy
import torch

from .texts import MIXTURE, Library
from .tokenizer import Tokenizer

CHARACTERS_PER_TOKEN = 4.0   # more than the tokenizer's, so that texts fill a row
SHARE_WITH_SKIPS = 0.7
MOST_SKIPS = 6


class Batches:
    """Rows of one text each behind the start token."""

    def __init__(self, folder, context, seed):
        self.tokenizer = Tokenizer.load(folder / "tokenizer.json")
        self.context = context
        self.seed = seed
        self.library = Library((folder / "books.txt").read_text(encoding="utf-8"),
                               json.loads((folder / "words.json").read_text()))
        self.kinds = [kind for kind, _ in MIXTURE]
        self.shares = [share for _, share in MIXTURE]

    def batch(self, number, rows, length):
        """tokens, targets, positions, each (rows, length) int64; targets of padding are -1."""
        made = [self._row(numpy.random.default_rng([self.seed, number, row]), length)
                for row in range(rows)]
        return tuple(torch.from_numpy(numpy.stack(part)) for part in zip(*made))

    def _row(self, random, length):
        kind = self.kinds[random.choice(len(self.kinds), p=self.shares)]
        numbers = []
        while len(numbers) < length:
            text = kind(self.library, random, int(length * CHARACTERS_PER_TOKEN))
            numbers += [self.tokenizer.end_of_text, *self.tokenizer.encode(text)]
        numbers = numpy.array(numbers[:length + 1] + [-1] * (length + 1 - len(numbers)))
        tokens = numpy.where(numbers[:-1] < 0, 0, numbers[:-1])
        return tokens, numbers[1:], self._positions(random, length)

    # Positions that leap, so that distances beyond the row's length are trained (Zhu et al. 2023,
    # "PoSE").
    def _positions(self, random, length):
        positions = numpy.arange(length)
        room = self.context - length
        if room <= 0 or random.random() > SHARE_WITH_SKIPS:
            return positions
        total = int(room * random.random() ** 2)
        places = numpy.sort(random.integers(1, length, random.integers(1, MOST_SKIPS + 1)))
        parts = numpy.sort(random.integers(0, total + 1, len(places)))
        parts[-1] = total
        for place, part in zip(places, numpy.diff(parts, prepend=0)):
            positions[place:] += part
        return positions
