"""Writes the text that the embedded base model is pretrained on: tales, and questions made up.

    python recipes/base/corpus.py --tales DIR --out DIR [--phase0-mb 3] [--phase1-mb 30] [--seed 1]

`--tales` is a folder of .txt files, one paragraph a line and a blank line between. Written are
jsonl files of {"text": ...} documents; the reader ends each document with token 0:

- phase0.jsonl         nothing but repeats, each document 127 bytes
- phase1.jsonl         half windows of the tales (at most 255 bytes), half generated documents
- heldout_tales.jsonl  windows of the last 2 % of each tale file; in nothing else
- heldout_copy.jsonl   two lines, the second equal to the first: copy accuracy is the accuracy on
                       the bytes of the second line

The same seed, sizes and tales give the same files.
"""

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from generators import KINDS, SET_ASIDE, Maker
from nouns import PRINTABLE, Words, repeated_line

from eyas.files import atomic_path

LONGEST = 255  # bytes of a document: with its end token 256 tokens
REPEATS = 127  # bytes of a document of phase 0
SHORTEST = 200  # bytes of a window, unless it is the last of a book
NUMBER_WORDS = {
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred",
    "thousand", "million",
}  # fmt: skip


# The tales


def read_tales(folder: Path) -> list[str]:
    """Texts of the folder's files by name, without a publisher's small print before them."""
    texts = [path.read_text(encoding="ascii") for path in sorted(folder.glob("*.txt"))]
    if not texts:
        raise SystemExit(f"{folder}: no .txt files; give the folder of the tales with --tales")
    return [text.rpartition("disclaimers and exclusions may not apply")[2] for text in texts]


def split_tales(texts: list[str], share: float = 0.02) -> tuple[list[str], list[str]]:
    """The texts without their last `share`, and those ends, cut at a word."""
    cuts = [text.index(" ", int(len(text) * (1 - share))) for text in texts]
    kept = [text[:cut] for text, cut in zip(texts, cuts, strict=True)]
    return kept, [text[cut:].strip() for text, cut in zip(texts, cuts, strict=True)]


def windows(text: str, rng: random.Random, size: int = LONGEST) -> Iterator[str]:
    """The text in consecutive windows of at most `size` bytes.

    Half of the windows end with a paragraph where one ends near, the others between two words.
    The half is drawn, lest all passes fall into step at the first paragraph.
    """
    start = 0
    while len(text) - start > size:
        mark = "\n\n" if rng.random() < 0.5 else " "
        end = text.rfind(mark, start + SHORTEST, start + size + 1)
        if end < 0:
            end = text.rfind(" ", start + SHORTEST, start + size + 1)
        end = end if end > 0 else start + size
        yield text[start:end].strip()
        start = end
    yield text[start:].strip()


def tale_windows(texts: list[str], total: int, rng: random.Random) -> Iterator[str]:
    """Windows of `total` bytes in all, none twice: whole passes over the texts, each cut anew."""
    seen: set[str] = set()
    while total > 0:
        starts = [text.index(" ", rng.randrange(LONGEST)) for text in texts]
        cut = [
            window
            for text, start in zip(texts, starts, strict=True)
            for window in windows(text[start:], rng)
            if window and window not in seen
        ]
        rng.shuffle(cut)
        for window in dict.fromkeys(cut):
            if total <= 0:
                return
            seen.add(window)
            total -= len(window)
            yield window


def tale_words(texts: list[str]) -> Words:
    """Words that are mostly written small, seen four times and more, and short sentences."""
    seen = Counter(re.findall(r"\b[A-Za-z]{3,12}\b", " ".join(texts)))
    small = [
        word
        for word, times in seen.items()
        if word.islower() and times >= 4 and times > 2 * seen[word.capitalize()]
    ]
    sentences = re.findall(r"(?<=[.!?] )[A-Z][A-Za-z,;' -]{15,90}[.!?](?= )", " ".join(texts))
    chosen = sorted(set(small) - NUMBER_WORDS)
    return Words(tuple(chosen), tuple(dict.fromkeys(sentences)))


# Generated documents


def repeats(rng: random.Random, size: int = REPEATS) -> str:
    """A line said again and again, cut at `size` bytes."""
    line = repeated_line(rng) + "\n"
    return (line * (size // len(line) + 1))[:size]


CHAT = "User: {}\n\nAssistant: {}"
FORMS = [
    (CHAT, "\n\n", 50), ("{}\n{}", "\n\n", 10), ("{} -> {}", "\n", 10),
    ("Q: {}\nA: {}", "\n", 6), ("{}\n= {}", "\n", 5), ("{} | {}", "\n", 5),
    ("In: {}\nOut: {}", "\n\n", 5), ("> {}\n{}", "\n", 5), ("[{}] {}", "\n", 4),
]  # fmt: skip


def questions(rng: random.Random, words: Words) -> str:
    """A document of at most 255 bytes: questions and answers in one form, often of one kind."""
    form, join, _ = rng.choices(FORMS, [weight for *_, weight in FORMS])[0]
    mixed = rng.random() < 0.4
    make = draw_maker(rng, words)
    document = ""
    for _ in range(40):
        item = form.format(*make())
        longer = f"{document}{join}{item}" if document else item
        if len(longer) > LONGEST and (not mixed or len(document) > LONGEST - 30):
            break
        document = document if len(longer) > LONGEST else longer
        make = draw_maker(rng, words) if mixed else make
    return document


def draw_maker(rng: random.Random, words: Words) -> Maker:
    kind = rng.choices(KINDS, [weight for _, weight in KINDS])[0][0]
    return kind(rng, words)


def generated(rng: random.Random, words: Words) -> str:
    return repeats(rng, LONGEST) if rng.random() < 0.1 else questions(rng, words)


def distinct(make: Callable[[], str], total: int) -> Iterator[str]:
    """Documents of `total` bytes in all, none twice, none empty, none of what is set aside."""
    seen: set[str] = set()
    while total > 0:
        document = make()
        if document and document not in seen and not SET_ASIDE.search(document):
            seen.add(document)
            total -= len(document)
            yield document


def two_lines(rng: random.Random) -> str:
    line = "".join(rng.choices(PRINTABLE, k=rng.randint(8, 24)))
    return f"{line}\n{line}\n"


# Files


def write_documents(path: Path, documents: Iterable[str]) -> None:
    """One {"text": ...} a line, put in place when complete; says what was written."""
    count = size = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for document in documents:
            file.write(json.dumps({"text": document}) + "\n")
            count, size = count + 1, size + len(document)
    print(f"{path}: {count:,} documents, {size / 1e6:.2f} MB of text")


def write_corpus(tales: Path, out: Path, phase0_mb: float, phase1_mb: float, seed: int) -> None:
    """Writes the four files; each part draws from its own generator, so that sizes do not mix."""
    kept, held_out = split_tales(read_tales(tales))
    words = tale_words(kept)
    repeating, telling, asking, mixing, holding = (
        random.Random(f"{seed} {part}") for part in ("phase0", "tales", "made", "mix", "held out")
    )
    out.mkdir(parents=True, exist_ok=True)
    phase0 = distinct(lambda: repeats(repeating), int(phase0_mb * 1e6))
    write_documents(out / "phase0.jsonl", phase0)
    half = int(phase1_mb * 1e6 / 2)
    mix = [*tale_windows(kept, half, telling), *distinct(lambda: generated(asking, words), half)]
    mixing.shuffle(mix)
    write_documents(out / "phase1.jsonl", mix)
    ends = (window for text in held_out for window in windows(text, holding))
    write_documents(out / "heldout_tales.jsonl", ends)
    write_documents(out / "heldout_copy.jsonl", (two_lines(holding) for _ in range(500)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the pretraining text of the base model.")
    parser.add_argument("--tales", type=Path, required=True, help="folder of .txt files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--phase0-mb", type=float, default=3.0, help="repeats, million bytes")
    parser.add_argument("--phase1-mb", type=float, default=30.0, help="the mix, million bytes")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    write_corpus(given.tales, given.out, given.phase0_mb, given.phase1_mb, given.seed)


if __name__ == "__main__":
    main()
