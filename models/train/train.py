#!/usr/bin/env python3
"""Trains a model; goes on from the last checkpoint of the output folder if there is one.

    train.py small.json --data runs/small -o runs/small            one process on a GPU or a core
    train.py small.json --data runs/small -o runs/small --processes 2

Writes checkpoint.pt (replaced whole) and log.csv (one line per report). Ctrl-C and SIGTERM end after
the current step, with a checkpoint.
"""

import argparse
import json
import math
import os
import pathlib
import signal
import sys
import tempfile
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when torch loads it; see --threads

import torch
import torch.distributed as distributed

from bookworm.batches import Batches
from bookworm.initialise import guard, hold_match, initialise, keep_lengths, trust_matches
from bookworm.model import Model, Shape
from bookworm.optimizer import make_optimizers

SAVE_SECONDS = 300
REPORT_STEPS = 20
PROBE_TOKENS = 256  # by which the circuit is held


class Schedule:
    """What a step is like, by the share of the tokens already seen.

    "stages": [[share at which it ends, length of rows], ...]. Learning rates rise during the first
    "warm_up" share, stay, and fall to 0 linearly over the last "decay" share. During the first
    "guard" share what the circuit of initialise.py writes stays as it is, too; "trust" says how
    much more it counts in the end.
    """

    def __init__(self, settings):
        self.settings = settings

    def length(self, progress):
        return next((length for end, length in self.settings["stages"] if progress < end),
                    self.settings["stages"][-1][1])

    def rate(self, progress):
        up = min(1.0, (progress + 1e-3) / self.settings["warm_up"])
        return up * min(1.0, max(0.0, 1 - progress) / self.settings["decay"])


class Run:
    """One process of a training run; process 0 reports and saves."""

    def __init__(self, options, settings, rank):
        self.options, self.settings, self.rank = options, settings, rank
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.schedule = Schedule(settings)
        shape = Shape(**settings["model"])
        self.model = Model(shape)
        frequencies = json.loads((options.data / "frequencies.json").read_text())
        if len(frequencies) != shape.vocabulary:
            raise SystemExit(f"{options.data} has {len(frequencies)} tokens and the settings want "
                             f"{shape.vocabulary}: see prepare.py --vocabulary")
        initialise(self.model, frequencies, settings["seed"])
        self.model.to(self.device)
        self.optimizers = make_optimizers(self.model, settings["rates"])
        self.first_rates = [[g["lr"] for g in o.param_groups] for o in self.optimizers]
        self.batches = Batches(options.data, shape.context, settings["seed"])
        self.probe = self.batches.batch(0, 1, PROBE_TOKENS)[0][0].to(self.device)
        self.step = self.tokens = 0
        self.finished = False
        self.seconds = 0.0
        self.path = options.output / "checkpoint.pt"
        if self.path.exists():
            self.load()

    def load(self):
        saved = torch.load(self.path, map_location=self.device)
        self.model.load_state_dict(saved["model"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)
        self.step, self.tokens, self.seconds = saved["step"], saved["tokens"], saved["seconds"]
        self.finished = saved["finished"]
        if self.rank == 0:
            print(f"going on after step {self.step}, {self.tokens} tokens", flush=True)

    def save(self):
        scratch = self.path.with_suffix(".new")
        torch.save({"model": self.model.state_dict(), "settings": self.settings,
                    "optimizers": [o.state_dict() for o in self.optimizers], "step": self.step,
                    "tokens": self.tokens, "seconds": self.seconds,
                    "finished": self.finished}, scratch)
        os.replace(scratch, self.path)

    def finish(self):
        """Once, when all tokens were seen."""
        if self.tokens >= self.options.tokens and not self.finished:
            trust_matches(self.model, **self.settings["trust"])
            self.finished = True

    @property
    def progress(self):
        return self.tokens / self.options.tokens

    def train_step(self):
        """One update; the mean loss over this process's rows."""
        length = self.schedule.length(self.progress)
        per_step = max(1, self.settings["batch_tokens"] // length // self.options.processes)
        per_pass = max(1, self.settings["pass_tokens"] // length)
        number = self.step * self.options.processes + self.rank
        batch = [part.to(self.device) for part in self.batches.batch(number, per_step, length)]
        passes = list(zip(*(part.split(per_pass) for part in batch)))
        total = 0.0
        for tokens, targets, positions in passes:
            with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
                loss = self.model.loss(tokens, targets, positions) * (len(tokens) / per_step)
            loss.backward()
            total += loss.item()
        guard(self.model, copies=self.progress < self.settings["guard"])
        self.share_gradients()
        rate = self.schedule.rate(self.progress)
        for optimizer, first in zip(self.optimizers, self.first_rates):
            for group, first_rate in zip(optimizer.param_groups, first):
                group["lr"] = rate * first_rate
            optimizer.step()
            optimizer.zero_grad()
        keep_lengths(self.model)
        hold_match(self.model, self.probe)
        self.step += 1
        self.tokens += per_step * length * self.options.processes
        return total

    def share_gradients(self):
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        if self.options.processes > 1:
            flat = torch.cat([p.grad.view(-1) for p in parameters])
            distributed.all_reduce(flat)
            flat /= self.options.processes
            for p, gradient in zip(parameters, flat.split([p.numel() for p in parameters])):
                p.grad.copy_(gradient.view_as(p))
        vectors = [p for p in parameters if p.dim() < 2 or p is self.model.embedding.weight]
        torch.nn.utils.clip_grad_norm_(vectors, self.settings["clip"])

    def should_stop(self, interrupted):
        if self.options.processes == 1:
            return interrupted
        flag = torch.tensor([float(interrupted)])
        distributed.all_reduce(flag)
        return flag.item() > 0


def train(options, settings, rank=0):
    if options.processes > 1:
        distributed.init_process_group("gloo", init_method=options.meeting_place, rank=rank,
                                       world_size=options.processes)
    torch.set_num_threads(options.threads)
    run = Run(options, settings, rank)
    interrupted = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: interrupted.append(True))
    losses, last_save, last_report = [], time.time(), time.time()
    last_step = run.step + options.steps
    while run.tokens < options.tokens and run.step < last_step:
        before = time.time()
        losses.append(run.train_step())
        run.seconds += time.time() - before
        if not math.isfinite(losses[-1]):
            raise SystemExit(f"step {run.step}: the loss is {losses[-1]}; the last checkpoint is kept")
        if rank == 0 and run.step % REPORT_STEPS == 0:
            report(run, losses, time.time() - last_report)
            losses, last_report = [], time.time()
        if rank == 0 and time.time() - last_save > SAVE_SECONDS:
            run.save()
            last_save = time.time()
        if run.should_stop(bool(interrupted)):
            break
    if rank == 0:
        if losses:
            report(run, losses, time.time() - last_report)
        run.finish()
        run.save()
        print(f"saved {run.path} after {run.tokens} tokens", flush=True)


def report(run, losses, seconds):
    loss = sum(losses) / len(losses)
    length = run.schedule.length(run.progress)
    path = run.options.output / "log.csv"
    if not path.exists():
        path.write_text("step,tokens,seconds,length,rate,loss\n")
    with path.open("a") as log:
        log.write(f"{run.step},{run.tokens},{run.seconds:.0f},{length},"
                  f"{run.schedule.rate(run.progress):.4f},{loss:.4f}\n")
    left = (run.options.tokens - run.tokens) / max(run.tokens, 1) * run.seconds
    print(f"step {run.step}  {run.tokens / 1e6:.2f} M tokens  length {length}  loss {loss:.3f}  "
          f"{seconds / len(losses):.2f} s/step  about {left / 60:.0f} min left", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of prepare.py")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=float, help="in all; default: of the settings")
    parser.add_argument("--steps", type=int, default=sys.maxsize, help="at most, in this call")
    parser.add_argument("--processes", type=int, default=1, help="that share a batch (1)")
    parser.add_argument("--threads", type=int, default=1,
                        help="of each process (1: with other work on the machine more are slower)")
    options = parser.parse_args()
    settings = json.loads(options.settings.read_text())
    options.tokens = int(options.tokens or settings["tokens"])
    options.output.mkdir(parents=True, exist_ok=True)
    if options.processes == 1:
        train(options, settings)
        return
    context = torch.multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        options.meeting_place = f"file://{folder}/processes"
        others = [context.Process(target=train, args=(options, settings, rank), daemon=True)
                  for rank in range(1, options.processes)]
        for process in others:
            process.start()
        train(options, settings)
        for process in others:
            process.join()


if __name__ == "__main__":
    main()
