"""Byte-level byte-pair encoding as llama.cpp has it for model `gpt2`, pre-tokenizer `qwen2`.

A text is cut into words by the pre-tokenizer's expression, a word is its UTF-8 bytes, and within a
word the pair with the lowest merge rank is joined until none is left (Sennrich et al. 2016).
"""

import collections
import heapq
import json

import regex

END_OF_TEXT = "<|endoftext|>"

# LLAMA_VOCAB_PRE_TYPE_QWEN2 in llama.cpp.
WORDS = regex.compile(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_characters():
    """GPT-2's printable character for each of the 256 bytes, as vocabularies are written in."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    characters = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in characters:
            characters[byte] = chr(256 + len(characters) - len(printable))
    return [characters[byte] for byte in range(256)]


class Tokenizer:
    """Tokens are 0..255 for bytes, then one per merge in order, then END_OF_TEXT.

    tokens: their text in byte characters. merges: pairs of token numbers.
    """

    def __init__(self, merges):
        self.merges = [tuple(pair) for pair in merges]
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._bytes = [bytes([byte]) for byte in range(256)]
        for left, right in self.merges:
            self._bytes.append(self._bytes[left] + self._bytes[right])
        self.end_of_text = len(self._bytes)
        self._words = {}

    @property
    def size(self):
        return self.end_of_text + 1

    def encode(self, text):
        """Token numbers of a text, which is taken as text throughout: no special tokens."""
        numbers = []
        words = self._words
        for word in WORDS.findall(text):
            known = words.get(word)
            if known is None:
                known = words[word] = self._encode_word(word)
            numbers.extend(known)
        return numbers

    def decode(self, numbers):
        parts = (b"" if n == self.end_of_text else self._bytes[n] for n in numbers)
        return b"".join(parts).decode("utf-8", errors="replace")

    def _encode_word(self, word):
        symbols = list(word.encode())
        while len(symbols) > 1:
            ranked = [(self._ranks.get(pair, len(self._ranks)), at)
                      for at, pair in enumerate(zip(symbols, symbols[1:]))]
            rank, at = min(ranked)
            if rank == len(self._ranks):
                break
            symbols[at:at + 2] = [256 + rank]
        return symbols

    def token_texts(self):
        """Tokens as GGUF wants them: in byte characters."""
        characters = byte_characters()
        texts = ["".join(characters[byte] for byte in token) for token in self._bytes]
        return texts + [END_OF_TEXT]

    def merge_texts(self):
        texts = self.token_texts()
        return [f"{texts[left]} {texts[right]}" for left, right in self.merges]

    def save(self, path):
        path.write_text(json.dumps({"merges": self.merges}))

    @classmethod
    def load(cls, path):
        return cls(json.loads(path.read_text())["merges"])


def learn_merges(word_counts, count):
    """The `count` merges that byte-pair encoding learns from words and how often they come.

    Ties go to the pair of lower token numbers, so that the result depends on the counts alone.
    """
    words = [list(word.encode()) for word in word_counts]
    weights = list(word_counts.values())
    pair_counts = collections.Counter()
    places = collections.defaultdict(set)  # words that a pair may occur in
    for index, symbols in enumerate(words):
        for pair in zip(symbols, symbols[1:]):
            pair_counts[pair] += weights[index]
            places[pair].add(index)
    heap = [(-n, pair) for pair, n in pair_counts.items()]
    heapq.heapify(heap)

    merges = []
    while heap and len(merges) < count:
        negative, best = heapq.heappop(heap)
        if -negative != pair_counts[best] or negative == 0:
            continue  # an outdated entry
        token = 256 + len(merges)
        merges.append(best)
        changed = set()
        for index in places.pop(best):
            _merge_in_word(words[index], best, token, weights[index], index, pair_counts, places,
                           changed)
        for pair in changed:
            heapq.heappush(heap, (-pair_counts[pair], pair))
    return merges


def _merge_in_word(symbols, best, token, weight, index, pair_counts, places, changed):
    before = list(zip(symbols, symbols[1:]))
    if best not in before:
        return
    at = 0
    while at + 1 < len(symbols):
        if (symbols[at], symbols[at + 1]) == best:
            symbols[at:at + 2] = [token]
        at += 1
    for pair in before:
        pair_counts[pair] -= weight
        changed.add(pair)
    for pair in zip(symbols, symbols[1:]):
        pair_counts[pair] += weight
        places[pair].add(index)
        changed.add(pair)
