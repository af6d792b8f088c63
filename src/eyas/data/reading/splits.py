"""Data that lie beside what is trained on: the test and validation parts of a data set."""

import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import TypeVar

P = TypeVar("P", bound=PurePath)

_HELD_OUT = {"test", "validation", "valid", "val", "dev", "eval"}
_WORD = re.compile(r"[a-z]+(?![a-z])")


def is_held_out(name: str) -> bool:
    """Whether a part of a data set of that name is for testing."""
    return name.lower() in _HELD_OUT


def trained_parts(paths: Iterable[P]) -> list[P]:
    """Where some files are named train, all but those named test, validation and the like.

    As data sets on the hub have it: `train.jsonl`, `test-00000-of-00002.parquet`, `train/0.csv`.
    """
    words = {path: {first for part in path.parts if (first := _first_word(part))} for path in paths}
    if not any("train" in each for each in words.values()):
        return list(words)
    return [path for path, each in words.items() if not each & _HELD_OUT]


def _first_word(name: str) -> str:
    found = _WORD.match(name.lower())
    return found[0] if found else ""
