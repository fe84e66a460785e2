#!/usr/bin/env python3
"""Writes a checkpoint as a GGUF file.

    export.py runs/small/checkpoint.pt --data runs/small --llama ~/.cache/shadowattn/llama.cpp-* \\
        --type q8_0 -o bookworm-3m-q8_0.gguf
"""

import argparse
import pathlib

import torch

from bookworm import gguf_file
from bookworm.model import Shape
from bookworm.tokenizer import Tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of prepare.py")
    parser.add_argument("--llama", type=pathlib.Path, help="source tree of llama.cpp")
    parser.add_argument("--type", choices=("f32", "f16", "q8_0"), default="q8_0")
    parser.add_argument("--name", default="bookworm")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    options = parser.parse_args()
    gguf = gguf_file.load_library(options.llama)
    saved = torch.load(options.checkpoint, map_location="cpu")
    about = {"name": options.name, "licence": "mit",
             "description": "Small reference model of shadowattn, trained on public-domain books and "
                            f"made-up look-ups, {saved['tokens'] / 1e6:.1f} M tokens"}
    gguf_file.write(gguf, options.output, saved["model"], Shape(**saved["settings"]["model"]),
                    Tokenizer.load(options.data / "tokenizer.json"), about, options.type)
    print(f"{options.output}: {options.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
