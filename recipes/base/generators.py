"""Generated pretraining text: small questions whose answers are copied from what was said.

A *kind* is a function `kind(rng, words) -> maker`: it picks a style once (wording, notation, order
of the fields) and gives back a maker, and each call of the maker gives one `(question, answer)`
in that style. Several pairs of one maker in a document show a pattern that can be picked up.

The text holds no JSON, no ISO dates, no number words to convert and no inflection questions: those
are what the demo teaches. `SET_ASIDE` is the pattern of the first two; `corpus.py` drops matches.
"""

import random
import re
from collections.abc import Callable

from facts import GROUPS, KEYS, QUESTIONS
from notations import JOINS, MIDDLES, notation, record, value
from nouns import Words, noun, number, phrase, proper, pseudo_word, symbols

Pair = tuple[str, str]
Maker = Callable[[], Pair]
Kind = Callable[[random.Random, Words], Maker]

SET_ASIDE = re.compile(r'"[\w ]+"\s*:|\{\s*"\w|\[\s*"\w|\d{4}-\d\d-\d\d')


# Text to text

COPIES = [
    ("Say {}", "{}"), ("Repeat: {}", "{}"), ("{}", "{}"), ("Copy this: {}", "{}"),
    ("{} - again", "{}"), ("Say {} twice", "{0} {0}"), ("Put {} in brackets", "({})"),
    ("Quote {}", '"{}"'), ("Mark {}", "*{}*"), ("Write {} and {} again", "{} {}"),
    ("wrap: {}", "{{{}}}"), ("<{}>", "{}"), ("[{}] {}", "{}, {}"), ("{} and then {}", "{1}; {0}"),
]  # fmt: skip


def copying(rng: random.Random, words: Words) -> Maker:
    """Something said is said again, as it was or in brackets."""
    ask, answer = rng.choice(COPIES)
    draw = rng.random()

    def text() -> str:
        if draw < 0.3:
            return symbols(rng, 4, 24)
        return phrase(rng, words) if draw < 0.8 else number(rng)

    def make() -> Pair:
        texts = [text() for _ in range(ask.count("{}"))]
        return ask.format(*texts), answer.format(*texts)

    return make


LIST_ORDERS: list[tuple[str, Callable[[list[str]], list[str]]]] = [
    ("Repeat", list),
    ("Reverse", lambda items: items[::-1]),
    ("Sort", sorted),
    ("First of", lambda items: items[:1]),
    ("Last of", lambda items: items[-1:]),
    ("Second of", lambda items: items[1:2]),
    ("All but the first of", lambda items: items[1:]),
    ("All but the last of", lambda items: items[:-1]),
    ("Double", lambda items: [item for item in items for _ in range(2)]),
    ("Swap", lambda items: [items[-1], *items[1:-1], items[0]]),
    ("Longest of", lambda items: [max(items, key=len)]),
]


def lists(rng: random.Random, words: Words) -> Maker:
    """A list of words or numbers repeated, reversed, sorted, or a part of it."""
    title, order = rng.choice(LIST_ORDERS)
    small = title.lower()
    ask = rng.choice([f"{title}: {{}}", f"{title} {{}}", f"{{}} ({small})", "{}", f"{small}({{}})"])
    join = rng.choice(JOINS)
    answer_join = join if rng.random() < 0.5 else rng.choice(JOINS)
    numbers = rng.random() < 0.25

    def make() -> Pair:
        count = rng.randint(2, 6)
        items = [number(rng) if numbers else noun(rng, words) for _ in range(count)]
        return ask.format(join.join(items)), answer_join.join(order(items))

    return make


SPELLINGS: list[tuple[str, Callable[[str, str], str]]] = [
    ("Spell", lambda word, mark: mark.join(word)),
    ("Spell backwards", lambda word, mark: mark.join(word[::-1])),
    ("Reverse the letters of", lambda word, _: word[::-1]),
    ("Upper case", lambda word, _: word.upper()),
    ("Lower case", lambda word, _: word.lower()),
    ("Capital", lambda word, _: word.title()),
    ("Swap the case of", lambda word, _: word.swapcase()),
    ("First letter of", lambda word, _: word[0]),
    ("Last letter of", lambda word, _: word[-1]),
    ("Letters of", lambda word, _: " ".join(sorted(word))),
    ("Without the first letter:", lambda word, _: word[1:]),
    ("Without the last letter:", lambda word, _: word[:-1]),
    ("Twice", lambda word, mark: word + mark + word),
    ("Initials of", lambda word, _: "".join(part[0] for part in word.split())),
]


def spelling(rng: random.Random, words: Words) -> Maker:
    """Letters of a word one by one, backwards, in another case, left out."""
    title, change = rng.choice(SPELLINGS)
    ask = rng.choice([f"{title} {{}}", f"{title} '{{}}'", f"{{}}, {title.lower()}", "{}"])
    mark = rng.choice("-._/,*+|~ ")
    case = rng.choice([str.lower, str.upper, str.title])
    most = rng.choice((1, 1, 3))

    def make() -> Pair:
        word = case(phrase(rng, words, most))
        return ask.format(word), change(word, mark)

    return make


PREFIXES = ["un", "re", "over", "under", "mis"]
SUFFIXES = ["ness", "ly", "ship", "hood", "less", "wise"]


def affixes(rng: random.Random, words: Words) -> Maker:
    """Words put together from parts or taken apart; no verb endings, no plurals."""
    prefix = rng.choice([*PREFIXES, *(pseudo_word(rng) for _ in PREFIXES)])
    suffix = rng.choice([*SUFFIXES, *(pseudo_word(rng) for _ in SUFFIXES)])
    front, apart = rng.random() < 0.5, rng.random() < 0.3
    ask = rng.choice(["{} + {}", "Join {} and {}", "{}-{}", "Put {} before {}", "{} {}"])

    def make() -> Pair:
        word = noun(rng, words)
        parts = (prefix, word) if front else (word, suffix)
        whole = "".join(parts)
        return (whole, " + ".join(parts)) if apart else (ask.format(*parts), whole)

    return make


SAYINGS = ['"{1}" said {0}.', "{0}: {1}", "{0} says '{1}'", "{1} - {0}", "{0} said: {1}"]
SAY_AGAIN = ["What did {0} say?", "Say what {0} said.", "And again?", "{0}?", "And {2}?"]


def quotes(rng: random.Random, words: Words) -> Maker:
    """A sentence of a tale said by one and said again by another."""
    ask = f"{rng.choice(SAYINGS)} {rng.choice(SAY_AGAIN)}"
    answer = rng.choice(['"{1}"', "{1}", "{1}", "{0} said: {1}", "{2}: {1}"])

    def make() -> Pair:
        parts = proper(rng, words), rng.choice(words.sentences), proper(rng, words)
        return ask.format(*parts), answer.format(*parts)

    return make


MARKS = [("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"), ('"', '"'), ("'", "'"), ("*", "*")]


def between(rng: random.Random, words: Words) -> Maker:
    """What stands between two marks in a line."""
    left, right = rng.choice(MARKS)
    ask = rng.choice(["{}", "What is marked: {}", "{} What is between the marks?"])

    def make() -> Pair:
        before, inside, after = (phrase(rng, words, 4) for _ in range(3))
        return ask.format(f"{before} {left}{inside}{right} {after}"), inside

    return make


def beside(rng: random.Random, words: Words) -> Maker:
    """What stands before or after a word in a line."""
    after = rng.random() < 0.5
    side = "after" if after else "before"
    ask = rng.choice(
        [f"{{}}. What comes {side} {{}}?", f"{{}}\n{side} {{}}", f"{{}} ({side} {{}})"]
    )

    def make() -> Pair:
        parts = list(dict.fromkeys(noun(rng, words) for _ in range(rng.randint(4, 8))))
        place = rng.randrange(len(parts) - 1)
        asked, answer = parts[place + 1 - after], parts[place + after]
        return ask.format(" ".join(parts), asked), answer

    return make


REPLACES = ["Put {1} for {0}: {2}", "{2} ({0} -> {1})", "{0}={1}\n{2}", "Say {1}, not {0}. {2}"]


def replacing(rng: random.Random, words: Words) -> Maker:
    """A line with one word put for another."""
    ask = rng.choice(REPLACES)

    def make() -> Pair:
        parts = [noun(rng, words) for _ in range(rng.randint(2, 6))]
        old, new = rng.choice(parts), noun(rng, words)
        changed = " ".join(new if part == old else part for part in parts)
        return ask.format(old, new, " ".join(parts)), changed

    return make


def lexicon(rng: random.Random, words: Words) -> Maker:
    """A little dictionary, then a word or a phrase to look up in it."""
    middle, join = rng.choice(MIDDLES), rng.choice(JOINS)
    ask = rng.choice(["{}\n{}?", "{}. {}?", "{}\nNow: {}", "{}\n{}", "Given {}\ngive {}"])
    numbers, most = rng.random() < 0.3, rng.choice((1, 1, 2, 3))

    def make() -> Pair:
        names = list(dict.fromkeys(noun(rng, words) for _ in range(rng.randint(2, 5))))
        known = {name: number(rng) if numbers else noun(rng, words) for name in names}
        wanted = rng.choices(names, k=most)
        table = join.join(f"{name}{middle}{known[name]}" for name in names)
        return ask.format(table, " ".join(wanted)), " ".join(known[name] for name in wanted)

    return make


# Records, facts and templates

REWRITES = ["{}", "{}", "Rewrite: {}", "Write it the other way: {}", "{}\nin short"]
ABOUT_FIELD = ["{}\n{}?", "{}\nWhat is the {}?", "{}. Give the {}.", "{}\n{}", "{} What about {}?"]
SLOT_MARKS = [
    ("{", "}"), ("<", ">"), ("[", "]"), ("$", ""), ("%", "%"), ("_", "_"), ("{{", "}}"),
]  # fmt: skip


def rewriting(rng: random.Random, words: Words) -> Maker:
    """A record in one notation, rewritten in another."""
    read, write = notation(rng), notation(rng)
    ask = rng.choice(REWRITES)
    names = [name for name, _ in record(rng, words)]
    fixed, mixed = rng.random() < 0.6, rng.random() < 0.5

    def make() -> Pair:
        fields = [(name, value(rng, words)) for name in names] if fixed else record(rng, words)
        given = rng.sample(fields, len(fields)) if mixed else fields
        return ask.format(read(given)), write(fields)

    return make


def asking(rng: random.Random, words: Words) -> Maker:
    """A record and a question about one of its fields."""
    write, ask = notation(rng), rng.choice(ABOUT_FIELD)

    def make() -> Pair:
        fields = record(rng, words)
        name, answer = rng.choice(fields)
        return ask.format(write(fields), name), answer

    return make


def fact_field(rng: random.Random, words: Words, slot: str) -> str:
    if slot in ("age", "coins", "miles"):
        return number(rng)
    return proper(rng, words) if slot in ("name", "friend", "place") else noun(rng, words)


def facts_to_records(rng: random.Random, words: Words) -> Maker:
    """A sentence, and its fields in some notation and in an order of their own."""
    slots, sentences = rng.choice(GROUPS)
    order = rng.sample(slots, len(slots) if rng.random() < 0.8 else len(slots) - 1)
    everyday = rng.random() < 0.75
    names = {slot: rng.choice(KEYS[slot]) if everyday else noun(rng, words) for slot in order}
    listed = ", ".join(names.values())
    ask = rng.choice(["{}", "{}", f"{{}} Give {listed}.", f"{listed}: {{}}"])
    write = notation(rng)

    def make() -> Pair:
        fields = {slot: fact_field(rng, words, slot) for slot in slots}
        sentence = rng.choice(sentences).format(**fields)
        return ask.format(sentence), write([(names[slot], fields[slot]) for slot in order])

    return make


def facts_to_answers(rng: random.Random, words: Words) -> Maker:
    """A sentence and a question about it."""
    slots, sentences = rng.choice(GROUPS)
    ask = rng.choice(["{0} {1}", "{0} {1}", "{0}\n{1}", "{1} {0}"])

    def make() -> Pair:
        fields = {slot: fact_field(rng, words, slot) for slot in slots}
        slot = rng.choice(slots)
        question = rng.choice([*QUESTIONS[slot], f"What is the {rng.choice(KEYS[slot])}?"])
        return ask.format(rng.choice(sentences).format(**fields), question), fields[slot]

    return make


def records_to_facts(rng: random.Random, words: Words) -> Maker:
    """A record, and a sentence that says it; mostly a template is given and gets filled in."""
    slots, sentences = rng.choice(GROUPS)
    sentence, write = rng.choice(sentences), notation(rng)
    names = {slot: rng.choice(KEYS[slot]) for slot in slots}
    left, right = rng.choice(SLOT_MARKS)
    template = sentence.format(**{slot: f"{left}{names[slot]}{right}" for slot in slots})
    shown = rng.random() < 0.7

    def make() -> Pair:
        fields = {slot: fact_field(rng, words, slot) for slot in slots}
        given = write([(names[slot], fields[slot]) for slot in rng.sample(slots, len(slots))])
        return f"{template}\n{given}" if shown else given, sentence.format(**fields)

    return make


# Counting and digits


def counting(rng: random.Random, words: Words) -> Maker:
    """How often a word is said, saying it so often, and going on with a row of numbers."""
    way = rng.randrange(4)

    def make() -> Pair:
        word, times = noun(rng, words), rng.randint(1, 9)
        row = " ".join([word] * times)
        if way < 2:
            return (f"Count: {row}", str(times)) if way else (f"Say {word} {times} times", row)
        if way == 2:
            return f"How many letters has {word}?", str(len(word))
        start, step = rng.randint(0, 500), rng.choice((1, 1, 2, 5, 10))
        run = [str(start + step * place) for place in range(times + 4)]
        return f"Go on: {', '.join(run[:4])}", ", ".join(run[4:])

    return make


DIGIT_CHANGES: list[tuple[str, Callable[[str], str]]] = [
    ("{}", lambda digits: digits),
    ("Reverse {}", lambda digits: digits[::-1]),
    ("Digits of {}", " ".join),
    ("First digit of {}", lambda digits: digits[0]),
    ("Last digit of {}", lambda digits: digits[-1]),
    ("{} in five places", lambda digits: digits.zfill(5)),
    ("{} in two places", lambda digits: digits.zfill(2)),
    ("One more than {}", lambda digits: str(int(digits) + 1)),
    ("One less than {}", lambda digits: str(int(digits) - 1)),
    ("No. {}", lambda digits: f"#{digits}"),
    ("{} percent", lambda digits: f"{digits}%"),
    ("{} dollars", lambda digits: f"${digits}"),
    ("How many digits has {}?", lambda digits: str(len(digits))),
]


def digits(rng: random.Random, words: Words) -> Maker:  # noqa: ARG001 (a kind takes both)
    """A number changed digit by digit."""
    ask, change = rng.choice(DIGIT_CHANGES)

    def make() -> Pair:
        drawn = number(rng)
        return ask.format(drawn), change(drawn)

    return make


def reordering(rng: random.Random, words: Words) -> Maker:
    """Three parts between marks, in another order between other marks."""
    read, write = rng.choice([". ", "/", " ", ":", "-", ", "]), rng.choice("/ ;.-,")
    order = rng.sample(range(3), 3)

    def make() -> Pair:
        parts = [number(rng) if rng.random() < 0.7 else noun(rng, words) for _ in order]
        return read.join(parts), write.join(parts[place] for place in order)

    return make


KINDS: list[tuple[Kind, int]] = [
    (copying, 10), (lists, 8), (spelling, 8), (affixes, 3), (quotes, 6), (between, 4),
    (beside, 3), (replacing, 4), (lexicon, 7), (rewriting, 13), (asking, 6),
    (facts_to_records, 16), (facts_to_answers, 7), (records_to_facts, 6), (counting, 3),
    (digits, 4), (reordering, 3),
]  # fmt: skip
