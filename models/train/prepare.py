#!/usr/bin/env python3
"""Makes a training folder from books: tokenizer, word list, text.

    prepare.py ../../../shared/corpus/books-train.txt.xz --heldout ../../../shared/corpus/heldout \\
        -o runs/small

Books are separated by form feeds. Writes tokenizer.json, words.json, frequencies.json
(of tokens) and books.txt. Refuses when a
held-out book's paragraphs occur in the books.
"""

import argparse
import collections
import json
import lzma
import pathlib
import sys
import time

from bookworm import tokenizer as bpe

LONG_PARAGRAPH = 200  # characters: such a paragraph does not come twice by chance
COMMON = 100          # times that a word comes, for made-up facts
FEWEST_WORDS = 20
MOST_SHARED = 0.01    # of a held-out book's long paragraphs: books quote the same verses


def read_books(path):
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        return file.read()


def refuse_heldout(text, folder):
    """Exits when training text holds a held-out book."""
    known = {hash(line.strip()) for line in text.splitlines() if len(line) >= LONG_PARAGRAPH}
    for book in sorted(folder.glob("*.txt")):
        lines = [line.strip() for line in book.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if len(line) >= LONG_PARAGRAPH]
        shared = sum(hash(line) in known for line in lines)
        print(f"{book.name}: {shared} of {len(lines)} long paragraphs are in the books")
        if shared > MOST_SHARED * len(lines):
            sys.exit(f"{book.name} is held out and must not be trained on")


def common_words(counts, tokenizer):
    """Lower-case words of 4 to 9 letters that come often: (words of one token, other words)."""
    chosen = [(n, word[1:]) for word, n in counts.items()
              if word[0] == " " and word[1:].isascii() and word[1:].islower()
              and word[1:].isalpha() and 4 <= len(word) - 1 <= 9 and n >= COMMON]
    words = [word for _, word in sorted(chosen, key=lambda entry: (-entry[0], entry[1]))]
    single = [word for word in words if len(tokenizer.encode(" " + word)) == 1]
    return single, [word for word in words if len(tokenizer.encode(" " + word)) > 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("books", type=pathlib.Path)
    parser.add_argument("--heldout", type=pathlib.Path, help="folder of books not to train on")
    parser.add_argument("--vocabulary", type=int, default=4096, help="tokens (%(default)s)")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    options = parser.parse_args()

    start = time.time()
    text = read_books(options.books)
    if options.heldout:
        refuse_heldout(text, options.heldout)
    counts = collections.Counter(bpe.WORDS.findall(text.replace("\f", "")))
    print(f"{len(text)} characters, {len(counts)} different words ({time.time() - start:.0f} s)")
    tokenizer = bpe.Tokenizer(bpe.learn_merges(counts, options.vocabulary - 257))
    single, longer = common_words(counts, tokenizer)
    if len(single) < FEWEST_WORDS:
        sys.exit(f"only {len(single)} words of one token come {COMMON} times or more; made-up facts "
                 f"need {FEWEST_WORDS}: give more text or a larger --vocabulary")
    frequencies = [0] * tokenizer.size
    for word, n in counts.items():
        for token in tokenizer.encode(word):
            frequencies[token] += n
    tokens = sum(frequencies)
    print(f"{tokenizer.size} tokens, {len(text) / tokens:.2f} characters per token, "
          f"{len(single)} common words of one token ({time.time() - start:.0f} s)")

    options.output.mkdir(parents=True, exist_ok=True)
    tokenizer.save(options.output / "tokenizer.json")
    (options.output / "words.json").write_text(json.dumps({"single": single, "longer": longer}))
    (options.output / "frequencies.json").write_text(json.dumps(frequencies))
    (options.output / "books.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
