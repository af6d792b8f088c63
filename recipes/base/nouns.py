"""What the generated text is about: words, names, numbers, strings of symbols."""

import random
import string
from dataclasses import dataclass

PRINTABLE = "".join(chr(code) for code in range(32, 127))
ONSETS = [
    "b", "bl", "br", "c", "ch", "cr", "d", "dr", "f", "fl", "fr", "g", "gl", "gr", "h", "j", "k",
    "kl", "l", "m", "n", "p", "pl", "pr", "qu", "r", "s", "sh", "sk", "sl", "sp", "st", "t", "th",
    "tr", "v", "w", "x", "y", "z", "", "", "",
]  # fmt: skip
VOWELS = ["a", "a", "e", "e", "i", "i", "o", "o", "u", "y", "ai", "ea", "ee", "ie", "oa", "oo"]
CODAS = [
    "", "", "", "", "", "b", "ck", "d", "f", "g", "k", "l", "ll", "m", "n", "n", "nd", "ng", "nt",
    "p", "r", "r", "rd", "rt", "s", "s", "ss", "st", "t", "t", "th", "x", "z",
]  # fmt: skip


@dataclass(frozen=True)
class Words:
    """What is drawn from the tales: words, and short sentences."""

    tale: tuple[str, ...]
    sentences: tuple[str, ...]


def pseudo_word(rng: random.Random) -> str:
    """One to four syllables that look like a word and most likely are none."""
    count = rng.choices((1, 2, 3, 4), (25, 50, 20, 5))[0]
    parts = (rng.choice(sounds) for _ in range(count) for sounds in (ONSETS, VOWELS, CODAS))
    return "".join(parts)


def random_letters(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9)))


def noun(rng: random.Random, words: Words) -> str:
    """45 % words of the tales, 45 % pseudo-words, 10 % random letters."""
    draw = rng.random()
    if draw < 0.45:
        return rng.choice(words.tale)
    return pseudo_word(rng) if draw < 0.9 else random_letters(rng)


def proper(rng: random.Random, words: Words) -> str:
    """A capitalized noun, one time in seven of two words."""
    count = 2 if rng.random() < 0.14 else 1
    return " ".join(noun(rng, words).capitalize() for _ in range(count))


def number(rng: random.Random) -> str:
    """One to five digits, mostly two."""
    low, high = rng.choices(((1, 9), (10, 99), (100, 999), (1000, 99999)), (20, 50, 20, 10))[0]
    return str(rng.randint(low, high))


def phrase(rng: random.Random, words: Words, most: int = 5) -> str:
    return " ".join(noun(rng, words) for _ in range(rng.randint(1, most)))


def symbols(rng: random.Random, shortest: int = 4, longest: int = 40) -> str:
    """A string over a random part of the printable bytes; small parts less often than large."""
    size = rng.randint(2, 20) if rng.random() < 0.4 else rng.randint(20, len(PRINTABLE))
    return "".join(rng.choices(rng.sample(PRINTABLE, size), k=rng.randint(shortest, longest)))


def repeated_line(rng: random.Random) -> str:
    """The line that a document of repeats says again and again: symbols or pseudo-words."""
    if rng.random() < 0.6:
        return symbols(rng)
    return " ".join(pseudo_word(rng) for _ in range(rng.randint(1, 6)))[:40]
