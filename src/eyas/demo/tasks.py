"""The demo's fine-tuning tasks: data files that ship in the package, and rules to compare with.

The files are written by recipes/demo/tasks.py; no two parts of a task share what is asked about.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eyas.demo.rules import extract_by_pattern, inflect_by_appending, inflect_by_spelling
from eyas.errors import UserError

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Rule:
    """A rule that answers without learning: `predict(question)` is the whole answer."""

    name: str
    predict: Callable[[str], str]


@dataclass(frozen=True)
class Task:
    """A fine-tuning task: jsonl files of {"messages": [user, assistant]} lines.

    `valid` is for choosing steps and learning rate, `test` for the score that is told. `unseen`,
    if there is one, asks the test's questions in wordings that are never trained on.
    """

    name: str
    description: str
    train: Path
    valid: Path
    test: Path
    unseen: Path | None
    rules: tuple[Rule, ...]

    def items(self, count: int) -> list["Item"]:
        """Some test items, evenly spread over the file."""
        items = read_items(self.test)
        return items[:: max(1, len(items) // count)][:count]


@dataclass(frozen=True)
class Item:
    """One question and the answer that counts as right."""

    question: str
    answer: str


DESCRIPTIONS = {
    "json": "a sentence becomes JSON; names, ages and cities of the test were never trained on",
    "inflection": "English inflection; words of the test were never trained on",
    "dates": "dates in ten forms become ISO dates; years of the test were never trained on",
    "numbers": "number words become digits; numbers of the test were never trained on",
}
RULES = {
    "json": (Rule("a pattern for capitalized words and numbers", extract_by_pattern),),
    "inflection": (
        Rule("the ending appended", inflect_by_appending),
        Rule("the spelling rules of English", inflect_by_spelling),
    ),
}
TASK_NAMES = tuple(DESCRIPTIONS)


def load_task(name: str) -> Task:
    """The task of this name; UserError if there is none."""
    if name not in DESCRIPTIONS:
        raise UserError(f"demo task {name!r}: there is none; choose one of {', '.join(TASK_NAMES)}")
    unseen = FOLDER / f"{name}.unseen.jsonl"
    return Task(
        name=name,
        description=DESCRIPTIONS[name],
        train=FOLDER / f"{name}.train.jsonl",
        valid=FOLDER / f"{name}.valid.jsonl",
        test=FOLDER / f"{name}.test.jsonl",
        unseen=unseen if unseen.exists() else None,
        rules=RULES.get(name, ()),
    )


def read_items(path: Path) -> list[Item]:
    """The questions and answers of one of a task's files."""
    lines = path.read_text(encoding="utf-8").splitlines()
    turns = [json.loads(line)["messages"] for line in lines]
    return [Item(user["content"], assistant["content"]) for user, assistant in turns]


def score(rule: Rule, items: list[Item]) -> float:
    """The share of the items that the rule answers exactly, 0 to 1."""
    return sum(rule.predict(item.question) == item.answer for item in items) / len(items)
