#!/usr/bin/env python3
"""Compares a checkpoint in PyTorch with its GGUF file in llama.cpp: tokens, logits, perplexity.

    check.py runs/small/checkpoint.pt --data runs/small --llama ~/.cache/shadowattn/llama.cpp-* \\
        --programs ../../build/llama-*/bin -f ../../../shared/corpus/heldout/the-spy.txt

Writes a GGUF file in F32, reads the text with `llama-perplexity` without Flash Attention and with
an F32 cache, and with the same tokens in PyTorch. Exit status 1 where they differ by more than
arithmetic explains.
"""

import argparse
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch

from bookworm import gguf_file
from bookworm.model import Model, Shape
from bookworm.tokenizer import Tokenizer

# llama-perplexity keeps log-probabilities in 16 bits between a row's largest and, at most, 16 below
# it: half a step of 16 / 65535 is 1.2e-4. Rounding of the two programs' own F32 sums, thousands of
# terms of logits up to some 30, is of the same size: 30 · √1000 · 2^-24 = 6e-5 per layer.
STEP_RANGE, STEPS = 16.0, 65535
ARITHMETIC = 1e-3


class Recorded:
    """What `llama-perplexity --save-all-logits` wrote.

    tokens: (windows, context); log_probabilities(w): (rows, vocabulary) of the second half's rows.
    """

    def __init__(self, path):
        data = path.read_bytes()
        if data[:8] != b"_logits_":
            sys.exit(f"{path} is no file of logits")
        self.context, self.vocabulary, windows = numpy.frombuffer(data, "<i4", 3, 8)
        start = 8 + 12
        tokens = numpy.frombuffer(data, "<i4", windows * self.context, start)
        self.tokens = tokens.reshape(windows, self.context)
        width = (self.vocabulary + 1) // 2 * 2 + 4
        rows = numpy.frombuffer(data, "<u2", offset=start + 4 * tokens.size)
        self.rows = rows.reshape(windows, -1, width)

    def log_probabilities(self, window):
        rows = self.rows[window]
        scale = rows[:, :4].copy().view("<f4")
        return scale[:, 1:] + scale[:, :1] * rows[:, 4:4 + self.vocabulary]


def record(options, model, text, folder):
    path = folder / "logits"
    command = [options.programs / "llama-perplexity", "-m", model, "-f", text, "-c", options.context,
               "--chunks", options.windows, "--save-all-logits", path, "-fa", "off",
               "-ctk", "f32", "-ctv", "f32", "-b", options.context, "-ub", "512", "-ngl", "0"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode or not path.exists():
        sys.exit(f"llama-perplexity failed:\n{done.stderr[-2000:]}")
    return Recorded(path)


def compare(recorded, model, tokenizer, text):
    """Prints what was found; True where all is as it should be."""
    own = tokenizer.encode(text[:40 * recorded.tokens.size])
    theirs = recorded.tokens.reshape(-1)
    # Each window's first token is replaced by the start token; the text itself begins with one.
    own = [tokenizer.end_of_text, *own][:len(theirs)]
    different = sum(a != b for at, (a, b) in enumerate(zip(own, theirs)) if at % recorded.context)
    print(f"tokens: {different} of {len(theirs)} differ")

    worst, sums, count = 0.0, numpy.zeros(2), 0
    for window, tokens in enumerate(recorded.tokens):
        tokens = tokens.copy()
        tokens[0] = tokenizer.end_of_text
        theirs = recorded.log_probabilities(window)
        first = recorded.context - 1 - len(theirs)
        with torch.no_grad():
            logits = model(torch.from_numpy(tokens[None].astype("int64")))[0].double()
        mine = torch.log_softmax(logits, -1)[first:first + len(theirs)].numpy()
        kept = mine > mine.max(axis=1, keepdims=True) - STEP_RANGE
        worst = max(worst, abs(mine - theirs)[kept].max())
        rows = numpy.arange(len(theirs)), tokens[first + 1:first + 1 + len(theirs)]
        sums -= mine[rows].sum(), theirs[rows].sum()
        count += len(theirs)
    bound = STEP_RANGE / STEPS / 2 + ARITHMETIC
    print(f"log-probabilities: largest difference {worst:.2e}, allowed {bound:.2e}, {count} rows")
    perplexities = [math.exp(total / count) for total in sums]
    print(f"perplexity: PyTorch {perplexities[0]:.4f}, llama.cpp {perplexities[1]:.4f}")
    return different == 0 and worst <= bound


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of prepare.py")
    parser.add_argument("--llama", type=pathlib.Path, help="source tree of llama.cpp")
    parser.add_argument("--programs", type=pathlib.Path, required=True,
                        help="folder of llama-perplexity")
    parser.add_argument("-f", "--file", type=pathlib.Path, required=True, help="a held-out text")
    parser.add_argument("-c", "--context", type=int, default=2048)
    parser.add_argument("--windows", type=int, default=2)
    options = parser.parse_args()
    saved = torch.load(options.checkpoint, map_location="cpu")
    shape = Shape(**saved["settings"]["model"])
    tokenizer = Tokenizer.load(options.data / "tokenizer.json")
    model = Model(shape)
    model.load_state_dict(saved["model"])
    gguf = gguf_file.load_library(options.llama)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        about = {"name": "check", "description": "check", "licence": "mit"}
        gguf_file.write(gguf, folder / "model.gguf", saved["model"], shape, tokenizer, about, "f32")
        recorded = record(options, folder / "model.gguf", options.file, folder)
    sys.exit(0 if compare(recorded, model, tokenizer, options.file.read_text()) else 1)


if __name__ == "__main__":
    main()
