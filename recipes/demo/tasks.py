"""Writes the demo's fine-tuning data from facts: python recipes/demo/tasks.py [--out DIR]

Four tasks, each as TASK.train.jsonl, TASK.valid.jsonl (for choosing steps and learning rate) and
TASK.test.jsonl with {"messages": [user, assistant]} a line:

- json        a sentence -> {"name": ..., "age": ..., "city": ...}; no name, age or city is in two
              of the parts; json.unseen.jsonl has the test's names in wordings never trained on
- inflection  `Past tense of walk?` -> walked; no word is in two of the parts
- dates       a date in one of ten forms -> 2031-03-05; no year is in two of the parts
- numbers     `twelve thousand and five` -> 12005; no number is in two of the parts

The names, cities, words and exceptions in facts/ were written down for this. The same seed gives
the same files.
"""

import argparse
import datetime
import json
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from phrasings import PHRASINGS, UNSEEN_PHRASINGS

from eyas.demo.rules import ENDINGS, attach
from eyas.files import write_bytes

T = TypeVar("T")
Pair = tuple[str, str]
Parts = dict[str, list[Pair]]

FACTS = Path(__file__).parent / "facts"
SHIPPED = Path(__file__).parents[2] / "src" / "eyas" / "demo"
SEED = 1
PARTS = ("train", "valid", "test")


def divide(things: Sequence[T], train: int, valid: int, rng: random.Random) -> dict[str, list[T]]:
    """The things mixed and cut in three: percent that go to train and to valid, the rest test."""
    mixed = rng.sample(things, len(things))
    first, second = len(mixed) * train // 100, len(mixed) * (train + valid) // 100
    return {"train": mixed[:first], "valid": mixed[first:second], "test": mixed[second:]}


def distinct(pairs: Iterator[Pair], count: int) -> list[Pair]:
    """The first `count` pairs with different questions."""
    known: dict[str, str] = {}
    while len(known) < count:
        question, answer = next(pairs)
        known.setdefault(question, answer)
    return list(known.items())


def read_list(name: str) -> list[str]:
    """The comma-separated entries of a file of facts."""
    text = (FACTS / name).read_text(encoding="ascii").replace("\n", " ")
    return [entry.strip() for entry in text.split(",") if entry.strip()]


# json

AGES = range(18, 98)
JSON_COUNTS = {"train": 3200, "valid": 250, "test": 500}
UNSEEN_COUNT = 200


def sentences(
    phrasings: Sequence[str],
    names: list[str],
    ages: list[int],
    cities: list[str],
    rng: random.Random,
) -> Iterator[Pair]:
    """Sentences in all the wordings in turn, with the record that each says."""
    while True:
        for phrasing in rng.sample(phrasings, len(phrasings)):
            fields = {
                "name": rng.choice(names),
                "age": rng.choice(ages),
                "city": rng.choice(cities),
            }
            yield phrasing.format(**fields), json.dumps(fields)


def json_parts(rng: random.Random) -> Parts:
    names = divide(read_list("names.txt"), 70, 10, rng)
    ages = divide(AGES, 70, 10, rng)
    cities = divide(read_list("cities.txt"), 70, 10, rng)
    parts = {
        part: distinct(sentences(PHRASINGS, names[part], ages[part], cities[part], rng), count)
        for part, count in JSON_COUNTS.items()
    }
    held_out = sentences(UNSEEN_PHRASINGS, names["test"], ages["test"], cities["test"], rng)
    return {**parts, "unseen": distinct(held_out, UNSEEN_COUNT)}


# inflection

FORMS_OF = {
    "verbs": ("Past tense", "Ing form", "Third person"),
    "nouns": ("Plural",),
    "adjectives": ("Comparative", "Superlative"),
}


def inflections(kind: str) -> dict[str, dict[str, str]]:
    """Word -> form -> inflected word.

    A file has the regular words, a blank line, and for each exception a line with all its forms.
    """
    regular, _, exceptions = (FACTS / f"{kind}.txt").read_text(encoding="ascii").partition("\n\n")
    forms = FORMS_OF[kind]
    words = (word.strip() for word in regular.replace("\n", " ").split(","))
    known = {word: {form: attach(word, ENDINGS[form]) for form in forms} for word in words}
    for line in exceptions.splitlines():
        word, _, inflected = line.partition(": ")
        known[word] = dict(zip(forms, inflected.split(), strict=True))
    return known


def inflection_parts(rng: random.Random) -> Parts:
    """A word that is a noun and a verb has all its forms in the same part."""
    kinds = [inflections(kind) for kind in FORMS_OF]
    words = divide(sorted({word for kind in kinds for word in kind}), 62, 8, rng)
    parts: Parts = {}
    for part in PARTS:
        pairs = [
            (f"{form} of {word}?", inflected)
            for kind in kinds
            for word in words[part]
            for form, inflected in kind.get(word, {}).items()
        ]
        parts[part] = rng.sample(pairs, len(pairs))
    return parts


# dates

YEARS = range(1800, 2100)
DATE_COUNTS = {"train": 1200, "valid": 150, "test": 500}


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th ... 11th, 12th, 13th ... 31st."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number in (11, 12, 13) else ending}"


def date_forms(date: datetime.date) -> list[str]:
    """The date in ten forms."""
    month, short, weekday = date.strftime("%B"), date.strftime("%b"), date.strftime("%A")
    day, year = date.day, date.year
    return [
        f"{month} {day}, {year}",
        f"{day} {month} {year}",
        f"the {ordinal(day)} of {month} {year}",
        f"{short} {day}, {year}",
        f"{day}-{short}-{year}",
        f"{year}, {month} {day}",
        f"{day}.{date.month}.{year}",
        f"{date.month}/{day}/{year}",
        f"{weekday}, {month} {ordinal(day)}, {year}",
        f"{year}/{date.month}/{day}",
    ]


def dates(years: list[int], rng: random.Random) -> Iterator[Pair]:
    """Dates of these years, in all the forms in turn."""
    while True:
        for form in rng.sample(range(10), 10):
            first = datetime.date(rng.choice(years), 1, 1)
            date = first + datetime.timedelta(days=rng.randrange(365))
            yield date_forms(date)[form], date.isoformat()


def date_parts(rng: random.Random) -> Parts:
    years = divide(YEARS, 70, 10, rng)
    return {part: distinct(dates(years[part], rng), count) for part, count in DATE_COUNTS.items()}


# numbers

NUMBER_COUNTS = {"train": 1400, "valid": 150, "test": 500}
ONES = [
    "", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def below_hundred(number: int) -> str:
    if number < 20:
        return ONES[number]
    return TENS[number // 10] + ("-" + ONES[number % 10] if number % 10 else "")


def in_words(number: int, joint: str) -> str:
    """The number, 1 to 999,999, in words; `joint`, "and " or "", stands before the last part."""
    thousands, rest = divmod(number, 1000)
    hundreds, small = divmod(rest, 100)
    words = [f"{in_words(thousands, joint)} thousand"] if thousands else []
    words += [f"{ONES[hundreds]} hundred"] if hundreds else []
    words += [(joint if words else "") + below_hundred(small)] if small else []
    return " ".join(words)


def numbers(rng: random.Random) -> Iterator[int]:
    """Different numbers of three to six digits."""
    known: set[int] = set()
    while True:
        digits = rng.choices((3, 4, 5, 6), (15, 30, 30, 25))[0]
        number = rng.randrange(10 ** (digits - 1), 10**digits)
        if number not in known:
            known.add(number)
            yield number


def number_parts(rng: random.Random) -> Parts:
    drawn = numbers(rng)
    return {
        part: [(in_words(n, rng.choice(("and ", ""))), str(n)) for n in islice(drawn, count)]
        for part, count in NUMBER_COUNTS.items()
    }


# Files

TASKS = {
    "json": json_parts,
    "inflection": inflection_parts,
    "dates": date_parts,
    "numbers": number_parts,
}


def line(question: str, answer: str) -> str:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns}, separators=(",", ":")) + "\n"


def write_tasks(out: Path) -> None:
    """Writes all files of all tasks to the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for task, make in TASKS.items():
        for part, pairs in make(random.Random(f"{SEED} {task}")).items():
            path = out / f"{task}.{part}.jsonl"
            write_bytes(path, "".join(line(*pair) for pair in pairs).encode())
            print(f"{path.name}: {len(pairs):,} items, {path.stat().st_size / 1000:,.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the demo's fine-tuning data.")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder to write to")
    write_tasks(parser.parse_args().out)


if __name__ == "__main__":
    main()
