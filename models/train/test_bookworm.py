"""Tests of the training parts: python3 -m unittest test_bookworm (needs python3-torch)."""

import collections
import pathlib
import random
import unittest

import numpy
import torch

from bookworm import attention, texts, tokenizer
from bookworm.batches import Batches
from bookworm.initialise import guard, hold_match, initialise, keep_lengths
from bookworm.model import Model, Shape, rotate, rotation_of
from bookworm.optimizer import make_optimizers, orthogonal

SHAPES = [Shape.load(pathlib.Path(__file__).parent / name) for name in ("small.json", "large.json")]


def plain_attention(query, key, value):
    group = query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(group, dim=1) for t in (key, value))
    logits = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
    mask = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
    return torch.softmax(logits.masked_fill(mask, -torch.inf), -1) @ value


class AttentionTest(unittest.TestCase):
    def test_tiles_give_what_the_whole_gives(self):
        for length in (1, 7, attention.TILE_ROWS, attention.TILE_ROWS + 1, 300):
            torch.manual_seed(length)
            operands = [torch.randn(2, heads, length, 8, dtype=torch.float64, requires_grad=True)
                        for heads in (4, 2, 2)]
            weights = torch.randn(2, 4, length, 8, dtype=torch.float64)
            results = []
            for function in (plain_attention, attention.causal_attention):
                output = function(*operands)
                results.append([output, *torch.autograd.grad((output * weights).sum(), operands)])
            for expected, found in zip(*results):
                # Sums of at most 300 terms of size 1 in double precision.
                torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


class TokenizerTest(unittest.TestCase):
    def test_merges_the_most_frequent_pair_first(self):
        merges = tokenizer.learn_merges({"aab": 3, "ab": 2, "b": 9}, 2)
        a, b = ord("a"), ord("b")
        self.assertEqual(merges, [(a, b), (a, 256)])

    def test_decodes_what_it_encodes(self):
        text = "Don't stop: 1984 was  naïve—\n\n he said.\n"
        own = tokenizer.Tokenizer(tokenizer.learn_merges(
            collections.Counter(tokenizer.WORDS.findall(text * 2)), 20))
        self.assertEqual(own.decode(own.encode(text)), text)
        self.assertLess(len(own.encode(text)), len(text.encode()))
        self.assertEqual(own.size, 256 + 20 + 1)
        self.assertEqual(len(set(own.token_texts())), own.size)

    def test_a_word_is_never_joined_to_the_next(self):
        own = tokenizer.Tokenizer(tokenizer.learn_merges({" the": 5, " then": 5}, 10))
        self.assertEqual(own.encode(" the then"), own.encode(" the") + own.encode(" then"))


def made_up_book(seed):
    dice = random.Random(seed)
    words = ["".join(dice.choices("abcdefghijklmnop", k=5)) for _ in range(300)]
    return " ".join(" ".join(dice.choices(words, k=9)) + "." for _ in range(600)), words


class TextsTest(unittest.TestCase):
    def setUp(self):
        text, words = made_up_book(1)
        self.library = texts.Library(text, {"single": words[:100], "longer": words[100:]})

    def test_facts_are_said_again_as_they_were(self):
        text = texts.facts(self.library, numpy.random.default_rng(3), 3000)
        found = collections.Counter(sentence for sentence in text.split(".")
                                    if " The code of " in sentence)
        self.assertTrue(found)
        self.assertTrue(all(count >= 2 for count in found.values()), found)

    def test_chains_lead_to_their_values(self):
        text = texts.chains(self.library, numpy.random.default_rng(4), 3000)
        said = dict(part.strip().removeprefix("The code of ").split(" is ")
                    for part in text.replace("\n", " ").split(".")
                    if part.strip().startswith("The code of "))
        answers = [line.removeprefix("So the code of ").rstrip(".").split(" is ")
                   for line in text.split("\n") if line.startswith("So ")]
        self.assertTrue(answers)
        for key, value in answers:
            while said[key].startswith("the code of "):
                key = said[key].removeprefix("the code of ")
            self.assertEqual(said[key], value)

    def test_the_answer_comes_most_often(self):
        text = texts.counts(self.library, numpy.random.default_rng(5), 2000)
        for line in filter(None, text.split("\n")):
            listed, *answers = line.split(". ")
            counts = collections.Counter(listed.removeprefix("List: ").split(", "))
            for answer in answers:
                _, kind, *_, best = answer.rstrip(".").split(" ")
                others = [counts[w] for w in texts.KINDS[kind].split() if w != best]
                self.assertGreater(counts[best], max(others))

    def test_positions_rise_and_stay_in_the_context(self):
        batches = object.__new__(Batches)
        batches.context = 4096
        for seed in range(50):
            positions = batches._positions(numpy.random.default_rng(seed), 256)
            self.assertEqual(positions[0], 0)
            self.assertTrue((numpy.diff(positions) >= 1).all())
            self.assertLess(positions[-1], 4096)


class CircuitTest(unittest.TestCase):
    def setUp(self):
        dice = numpy.random.default_rng(2)
        self.passage = dice.integers(0, 4000, 64)
        others = dice.integers(0, 4000, (2, 500))
        self.row = torch.tensor([[4095, *others[0], *self.passage, *others[1], *self.passage]])

    def continued(self, model):
        """The share of the passage's tokens that are said again, but for the first ten."""
        row = self.row.clone()
        row[0, 0] = model.shape.vocabulary - 1
        with torch.no_grad():
            guesses = model(row)[0].argmax(-1).numpy()
        return (guesses[-55:-1] == self.passage[-54:]).mean()

    def test_continues_a_repeated_passage(self):
        for shape in SHAPES:
            model = Model(shape)
            initialise(model, [1000] * shape.vocabulary, 1)
            self.assertGreaterEqual(self.continued(model), 0.98, shape)

    def test_stays_while_the_rest_learns(self):
        rates = {"matrix": 0.02, "match": 0.02, "copy": 0.02, "embedding": 0.05, "vector": 0.02}
        model = Model(SHAPES[0])
        initialise(model, [1000] * model.shape.vocabulary, 1)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizers = make_optimizers(model, rates)
        dice = numpy.random.default_rng(3)
        for _ in range(10):
            row = torch.from_numpy(dice.integers(0, 4000, (1, 129)))
            model.loss(row[:, :-1], row[:, 1:], torch.arange(128)[None]).backward()
            guard(model, copies=True)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            keep_lengths(model)
            hold_match(model, self.row[0, :256])
        after = dict(model.named_parameters())
        for name in before:
            if name.startswith("layers.1.attention.") or \
                    name.startswith(("layers.0.attention.query", "layers.0.attention.key")):
                self.assertTrue(torch.equal(before[name], after[name]), name)
            elif "bias" not in name and name != "layers.0.attention_norm.weight":
                self.assertFalse(torch.equal(before[name], after[name]), name)
        weight = model.layers[1].attention_norm.weight
        self.assertGreater(weight[0], 1.0)  # makes up for what the first layer writes
        start_mark = -1  # the last dimension: a key's content there would look like the start token
        self.assertTrue(torch.equal(before["embedding.weight"][:, start_mark],
                                    after["embedding.weight"][:, start_mark]))
        # The match is no weaker, whatever the rest has become.
        logits = self.match_logits(model)
        model.load_state_dict(before)
        self.assertGreater((logits / self.match_logits(model)).min(), 0.95)

    def match_logits(self, model):
        """Of the second layer's first head: each token of the passage with what followed it."""
        length = self.row.shape[1]
        with torch.no_grad():
            x = model.embedding(self.row)
            rotation = rotation_of(torch.arange(length)[None], model.shape, x.dtype)
            layer = model.layers[1]
            x = layer.attention_norm(model.layers[0](x, rotation))
            query, key = (
                rotate(linear(x).view(1, length, -1, model.shape.head_dim).transpose(1, 2),
                       rotation)[0, 0] for linear in (layer.attention.query, layer.attention.key))
        said = torch.arange(520, 560)
        return (query[said + 564] * key[said + 1]).sum(1) / model.shape.head_dim ** 0.5


class OptimizerTest(unittest.TestCase):
    def test_directions_are_nearly_orthogonal(self):
        torch.manual_seed(1)
        for rows, columns in ((8, 20), (20, 8), (16, 16)):
            values = torch.linalg.svdvals(orthogonal(torch.randn(rows, columns)))
            # The polynomial brings singular values to 0.7 ... 1.2; very small ones stay below.
            self.assertLess(values.max(), 1.3)
            self.assertGreater(values.median(), 0.6)


if __name__ == "__main__":
    unittest.main()
