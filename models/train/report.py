#!/usr/bin/env python3
"""Draws a run's losses and a checkpoint's perplexity on held-out books by position.

    report.py runs/small --data runs/small -f ../../../shared/corpus/heldout/*.txt -o runs/small

Writes loss.svg and positions.svg and prints the tables behind them. Needs python3-matplotlib.
"""

import argparse
import csv
import math
import pathlib

import matplotlib
import torch

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402 - the backend is chosen first

from bookworm.model import Model, Shape
from bookworm.tokenizer import Tokenizer

SMOOTHED = 5         # reports averaged in the loss curve
FIRST_BUCKET = 64    # positions; each further bucket ends at twice the last one's end


def read_log(path):
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return [float(row["tokens"]) / 1e6 for row in rows], [float(row["loss"]) for row in rows]


def draw_losses(log, path):
    tokens, losses = read_log(log)
    smooth = [sum(losses[max(0, i - SMOOTHED + 1):i + 1]) / (i - max(0, i - SMOOTHED + 1) + 1)
              for i in range(len(losses))]
    figure, axes = pyplot.subplots(figsize=(7, 3.5))
    axes.plot(tokens, losses, color="0.8", linewidth=1, label="of 20 steps")
    axes.plot(tokens, smooth, color="C0", label=f"mean of {SMOOTHED} reports")
    axes.set(xlabel="million tokens seen", ylabel="training loss, nats per token")
    axes.legend(frameon=False)
    save(figure, path)


def buckets_of(length):
    ends = [FIRST_BUCKET]
    while ends[-1] < length:
        ends.append(min(2 * ends[-1], length))
    return list(zip([0, *ends], ends))


def losses_by_position(model, tokenizer, books, context, windows):
    """nats of every target, (windows, context): windows spread evenly over each book."""
    rows = []
    for book in books:
        numbers = tokenizer.encode(book.read_text(encoding="utf-8"))
        room = len(numbers) - context
        if room <= 0:
            print(f"{book.name} is shorter than {context} tokens: left out")
            continue
        for window in range(windows):
            start = room * window // max(1, windows - 1)
            row = torch.tensor([tokenizer.end_of_text, *numbers[start:start + context]])
            with torch.no_grad():
                logits = model(row[None, :-1])[0]
            rows.append(torch.nn.functional.cross_entropy(logits, row[1:], reduction="none"))
        print(f"read {windows} windows of {book.name}", flush=True)
    return torch.stack(rows)


def draw_positions(losses, path):
    buckets = buckets_of(losses.shape[1])
    print("| positions | nats per token | ± | perplexity |\n|---|---:|---:|---:|")
    means, errors = [], []
    for start, end in buckets:
        of_windows = losses[:, start:end].mean(1)
        means.append(of_windows.mean().item())
        errors.append(of_windows.std().item() / math.sqrt(len(of_windows)))
        print(f"| {start}-{end - 1} | {means[-1]:.3f} | {errors[-1]:.3f} | "
              f"{math.exp(means[-1]):.1f} |")
    print(f"all: {losses.mean():.4f} nats per token, perplexity {losses.mean().exp():.2f}")
    figure, axes = pyplot.subplots(figsize=(7, 3.5))
    axes.errorbar([end for _, end in buckets], means, errors, marker="o", capsize=3)
    axes.set_xscale("log", base=2)
    axes.set(xlabel="position, up to", ylabel="held-out loss, nats per token")
    save(figure, path)


def save(figure, path):
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    print(f"wrote {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, help="output folder of train.py")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of prepare.py")
    parser.add_argument("-f", "--files", type=pathlib.Path, nargs="+", required=True,
                        help="held-out books")
    parser.add_argument("-c", "--context", type=int, default=8192)
    parser.add_argument("--windows", type=int, default=3, help="of each book (%(default)s)")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    options = parser.parse_args()
    draw_losses(options.run / "log.csv", options.output / "loss.svg")
    saved = torch.load(options.run / "checkpoint.pt", map_location="cpu")
    model = Model(Shape(**saved["settings"]["model"]))
    model.load_state_dict(saved["model"])
    tokenizer = Tokenizer.load(options.data / "tokenizer.json")
    losses = losses_by_position(model, tokenizer, options.files, options.context, options.windows)
    draw_positions(losses, options.output / "positions.svg")


if __name__ == "__main__":
    main()
