"""Tests of the training parts: python3 -m unittest test_bookworm (needs python3-torch)."""

import collections
import pathlib
import random
import unittest

import numpy
import torch

from bookworm import attention, texts, tokenizer
from bookworm.batches import Batches
from bookworm.initialise import initialise
from bookworm.model import Model, Shape
from bookworm.optimizer import orthogonal

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


class InitialisationTest(unittest.TestCase):
    def test_continues_a_repeated_passage(self):
        for shape in SHAPES:
            model = Model(shape)
            initialise(model, [1000] * shape.vocabulary, 1)
            dice = numpy.random.default_rng(2)
            passage = dice.integers(0, 4000, 64)
            row = [shape.vocabulary - 1, *dice.integers(0, 4000, 500), *passage,
                   *dice.integers(0, 4000, 500), *passage]
            with torch.no_grad():
                guesses = model(torch.tensor([row]))[0].argmax(-1).numpy()
            right = (guesses[-55:-1] == passage[-54:]).mean()
            self.assertGreater(right, 0.9, shape)


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
