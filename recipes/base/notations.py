"""Ways to write a record, a list of (key, value). None of them is JSON."""

import random
from collections.abc import Callable

from facts import KEYS
from nouns import Words, noun, number, proper

Record = list[tuple[str, str]]
Notation = Callable[[Record], str]


def quoted(value: str) -> str:
    """Words in quotation marks, numbers without."""
    return value if value.isdigit() else f'"{value}"'


NOTATIONS: list[Notation] = [
    lambda r: ", ".join(f"{k}: {v}" for k, v in r),
    lambda r: "\n".join(f"{k}: {v}" for k, v in r),
    lambda r: "; ".join(f"{k}={v}" for k, v in r),
    lambda r: "".join(f"<{k}>{v}</{k}>" for k, v in r),
    lambda r: "(" + " / ".join(v for _, v in r) + ")",
    lambda r: "\n".join(f"{k} -> {v}" for k, v in r),
    lambda r: "| " + " | ".join(v for _, v in r) + " |",
    lambda r: " ".join(f"[{k} {v}]" for k, v in r),
    lambda r: " ".join(f"\\{k}{{{v}}}" for k, v in r),
    lambda r: " ".join(f'{k}="{v}"' for k, v in r),
    lambda r: " ".join(f"{k}={quoted(v)}" for k, v in r),
    lambda r: "\n".join(f"- {k}: {v}" for k, v in r),
    lambda r: ", ".join(f"{v} ({k})" for k, v in r),
    lambda r: ",".join(quoted(v) for _, v in r),
    lambda r: "{" + "; ".join(f"{k} {v}" for k, v in r) + "}",
    lambda r: "{" + ", ".join(f"{k} {quoted(v)}" for k, v in r) + "}",
    lambda r: " ".join(f"--{k} '{v}'" for k, v in r),
    lambda r: "(" + " ".join(f"(:{k} {quoted(v)})" for k, v in r) + ")",
    lambda r: "\n".join(f"${k} = '{v}';" for k, v in r),
    lambda r: "&".join(f"{k}={v.replace(' ', '+')}" for k, v in r),
    lambda r: ", ".join(f"the {k} is {v}" for k, v in r),
    lambda r: " ".join(f"{{{k} = {quoted(v)}}}" for k, v in r),
    lambda r: "/".join(k for k, _ in r) + " = " + "/".join(v for _, v in r),
    lambda r: "[" + ", ".join(f"{k}({quoted(v)})" for k, v in r) + "]",
]

BRACKETS = [
    ("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"), ("|", "|"), ("`", "`"), ("", ""), ("", ""),
]  # fmt: skip
QUOTES = [
    ('"', '"'), ("'", "'"), ("<", ">"), ("*", "*"), ("{", "}"), ("", ""), ("", ""), ("", ""),
    ("", ""),
]  # fmt: skip
MIDDLES = [
    ": ", ":", "=", " = ", " -> ", "->", " ", " is ", "/", " / ", "~", "|", "_", "\\", " => ", "^",
    "+", "@", "::", "$",
]  # fmt: skip
JOINS = [
    "; ", ", ", " ", "\n", " | ", " / ", "; ", ",", ";", " & ", "\n- ", " * ", " + ", "\n# ", "%",
    " . ",
]  # fmt: skip


def notation(rng: random.Random) -> Notation:
    """A way to write a record: one of the list, or nearly as often one put together from marks."""
    if rng.random() < 0.6:
        return rng.choice(NOTATIONS)
    (left, right), (opening, closing) = rng.choice(BRACKETS), rng.choice(BRACKETS)
    (quote, unquote), middle, join = rng.choice(QUOTES), rng.choice(MIDDLES), rng.choice(JOINS)

    def write(record: Record) -> str:
        fields = (f"{left}{key}{middle}{quote}{value}{unquote}{right}" for key, value in record)
        return opening + join.join(fields) + closing

    return write


def value(rng: random.Random, words: Words) -> str:
    """A number, a name or a noun."""
    draw = rng.random()
    if draw < 0.3:
        return number(rng)
    return proper(rng, words) if draw < 0.7 else noun(rng, words)


def key(rng: random.Random, words: Words) -> str:
    """The name of a field: an everyday one or any noun."""
    if rng.random() < 0.5:
        return rng.choice(rng.choice(list(KEYS.values())))
    return noun(rng, words)


def record(rng: random.Random, words: Words) -> Record:
    """Two to four fields, no key twice."""
    keys = dict.fromkeys(key(rng, words) for _ in range(rng.randint(2, 4)))
    return [(name, value(rng, words)) for name in keys]
