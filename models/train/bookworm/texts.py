"""Texts whose end can only be known by who looks back: the training counterparts of `eval`'s tasks.

Every function takes a random generator and gives text; `Library` cuts pieces from the books. Words
and names are drawn anew for each text, so that nothing can be learnt by heart but the forms.
"""

import json
import re

SENTENCE_END = re.compile(r"(?<=[.!?])(?=\s)|(?<=[.!?][\"')])(?=\s)|(?=\n)")
FACT_FORMS = (
    ("The code of {key} is", " {value}."), ("The code of {key} is", " {value}."),
    ("The code of {key} is", " {value}."), ("The name of the {key} is", " {value}."),
    ("The colour of the {key} was", " {value}."), ("The {key} belongs to", " {value}."),
    ("In the {key} they found a", " {value}."), ("The word for {key} is", " {value}."))
KINDS = {
    "animal": "horse dog bird sheep lion fox cat cow wolf bear goat mouse",
    "colour": "green white black blue brown yellow red grey pink purple golden orange",
    "metal": "gold silver iron copper lead tin steel bronze brass zinc",
    "fruit": "apple orange cherry lemon plum grape pear peach berry melon",
    "thing": "table window lamp chair door clock book box bed cup knife mirror",
    "weather": "rain snow wind sun fog storm hail frost",
    "tree": "oak pine elm ash birch willow beech cedar",
    "place": "house church garden street river mountain village castle",
}
VERBS = {
    "add": ("Puts a new one into the list:", "Put in one more"),
    "remove": ("Takes away the", "I do not want any more the"),
    "show": ("Lets you see the", "I want to look at the"),
    "start": ("Begins the", "Now begin the"),
    "stop": ("Ends the", "That is enough of the"),
    "print": ("Puts on paper the", "I need on paper the"),
    "save": ("Keeps for later the", "Do not lose the"),
    "send": ("Gives to somebody else the", "Let somebody have the"),
}
ARGUMENTS = {
    "time": ("when it is", "at", "08:15 09:40 11:30 14:05 17:25 20:50".split()),
    "day": ("which day", "on", "Sunday Monday Tuesday Thursday Friday Saturday".split()),
    "person": ("who it is with", "with", "Alice Henry Robert Susan Jane Charles Mary".split()),
    "place": ("where it is", "in", "Berlin Oxford Venice Naples Lisbon Geneva York".split()),
    "number": ("how many", "by", [str(n) for n in range(2, 99, 7)]),
    "label": ("what it is called", "called", "stone flower ocean forest bridge candle".split()),
}


class Library:
    """Books as one string. Thread safe: read only."""

    def __init__(self, text, words):
        self.text = text
        self.single = words["single"]
        self.words = words["single"] + words["longer"]

    def passage(self, random, characters):
        """Begins at a word."""
        start = self.text.find(" ", int(random.integers(0, len(self.text) - characters - 100)))
        return self.text[start:start + characters].replace("\f", "\n")

    def sentences(self, random, characters):
        """Consecutive sentences, each with the white space before it."""
        return [part for part in SENTENCE_END.split(self.passage(random, characters)) if part]

    def word(self, random):
        return self.words[random.integers(0, len(self.words))]

    def value(self, random):
        if random.random() < 0.1:
            return str(random.integers(100, 1000))
        words = self.single if random.random() < 0.8 else self.words
        return words[random.integers(0, len(words))]

    def key(self, random):
        return f"{self.word(random)} {self.word(random)}"


def _scattered(sentences, insertions):
    """Sentences with (place in 0..1, text) put between them."""
    parts = []
    waiting = sorted(insertions)
    for index, sentence in enumerate(sentences):
        parts.append(sentence)
        while waiting and waiting[0][0] * len(sentences) <= index + 1:
            parts.append(waiting.pop(0)[1])
    return "".join(parts + [text for _, text in waiting])


def book(library, random, characters):
    return library.passage(random, characters)


def facts(library, random, characters):
    """Facts in a book, said once, and repeated later."""
    most = max(2, characters // 250)
    insertions = []
    forms = {}
    for _ in range(int(random.integers(1, most))):
        key = library.key(random)
        if key in forms:
            continue
        form, ending = FACT_FORMS[random.integers(0, len(FACT_FORMS))]
        text = " " + form.format(key=key) + ending.format(value=library.value(random))
        forms[key] = text
        first = random.random() * 0.9
        insertions.append((first, text))
        for _ in range(int(random.integers(1, 3))):
            insertions.append((first + (1 - first) * random.random(), text))
    return _scattered(library.sentences(random, characters - sum(len(t) for _, t in insertions)),
                      insertions)


def repeats(library, random, characters):
    """Passages of a book begun again later, at a paragraph of their own."""
    text = library.passage(random, characters)
    budget = characters // 2
    while budget > 0:
        length = int(min(budget, 80 * 2 ** (random.random() * 3.5)))
        budget -= length + 40
        source = int(random.integers(0, max(1, len(text) - length)))
        starts = SENTENCE_END if random.random() < 0.7 else re.compile(" ")
        match = starts.search(text, source)
        source = match.end() if match else source
        passage = text[source:source + length]
        passage = passage[:passage.rfind(" ")].strip()
        target = int(source + length + random.random() * max(0, len(text) - source - length))
        at = SENTENCE_END.search(text, target)
        target = at.start() if at else len(text)
        gap = "\n\n" if random.random() < 0.7 else " "
        text = text[:target] + gap + passage + text[target:]
    return text[:characters]


def chains(library, random, characters):
    """Keys whose value is another key's, and solved questions about them."""
    hops = int(random.integers(1, 3))
    count = int(random.integers(2, 6))
    insertions, answers = [], []
    for _ in range(count):
        value, key = library.value(random), library.key(random)
        insertions.append((random.random() * 0.25, f" The code of {key} is {value}."))
        for hop in range(hops):
            following = library.key(random)
            insertions.append((0.25 + hop * 0.25 + random.random() * 0.2,
                               f" The code of {following} is the code of {key}."))
            key = following
        answers.append(f"So the code of {key} is {value}.")
    random.shuffle(answers)
    text = _scattered(library.sentences(random, characters // 2), insertions)
    examples = []
    for _ in range(2):
        first, second, value = library.key(random), library.key(random), library.value(random)
        examples.append(f"The code of {first} is {value}. The code of {second} is the code of "
                        f"{first}. So the code of {second} is {value}.")
    return text + "\n\n" + "\n".join(examples + answers)


def counts(library, random, characters):
    """Lists of words, and which word of each kind comes most often."""
    text = ""
    while len(text) < characters:
        names = list(random.permutation(list(KINDS))[:random.integers(1, 6)])
        words, best = [], {}
        for name in names:
            kind = random.permutation(KINDS[name].split())[:random.integers(2, 7)]
            best[name] = kind[0]
            words += list(kind) + [kind[0]] * 2
        rounds = int(random.integers(1, 2 + characters // (8 * len(words))))
        listed = [str(word) for _ in range(rounds) for word in random.permutation(words)]
        text += "List: " + ", ".join(listed) + "."
        for name in names:
            text += f" The {name} named most often in the list is {best[name]}."
        text += "\n"
    return text


def calls(library, random, characters):
    """Functions in JSON, then requests with the calls that do them."""
    things = [library.word(random) for _ in range(int(random.integers(2, 12)))]
    described = {}
    text = "These are the functions of a phone.\n"
    while len(text) < characters // 2:
        verb = str(random.choice(list(VERBS)))
        thing = things[random.integers(0, len(things))]
        name = f"{verb}_{thing}"
        if name in described:
            things.append(library.word(random))
            continue
        arguments = [str(a) for a in random.permutation(list(ARGUMENTS))[:random.integers(1, 3)]]
        described[name] = verb, thing, arguments
        text += _compact({"name": name, "description": f"{VERBS[verb][0]} {thing}.",
                          "arguments": {a: ARGUMENTS[a][0] for a in arguments}}) + "\n"
    whole = random.random() < 0.5
    while len(text) < characters:
        name = str(random.choice(list(described)))
        verb, thing, arguments = described[name]
        values = {a: str(random.choice(ARGUMENTS[a][2])) for a in arguments}
        request = f"{VERBS[verb][1]} {thing}" + "".join(
            f" {ARGUMENTS[a][1]} {values[a]}" for a in arguments)
        answer = "Call: " + _compact({"name": name, "arguments": values}) if whole \
            else "Function: " + name
        text += f"\n\nRequest: {request}.\n{answer}"
    return text


def _compact(value):
    return json.dumps(value, separators=(",", ":"))


# Kind and its share of the training texts.
MIXTURE = ((book, 0.38), (facts, 0.16), (repeats, 0.34), (chains, 0.04), (counts, 0.03),
           (calls, 0.05))
