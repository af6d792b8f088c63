"""Choices: which of several answers a model finds likeliest.

    {"question": "…", "choices": ["…", "…"], "answer": 0}      asked in the chat template
    {"text": "…", "choices": ["…", "…"], "answer": "…"}        a choice goes on right after the text

`prompt`, `query` and `instruction` are the same as `question`. `answer` is the right choice's
number from 0 up, its text, or its letter (A is the first). Likeliest is the largest sum of
log-probabilities (accuracy), and that sum divided by the choice's bytes (accuracy per byte).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from eyas.chat.wording import lead_of, prompt_of
from eyas.data import Tokenizer
from eyas.data.reading.data_files import Reader
from eyas.data.reading.document import Bad
from eyas.data.reading.kinds import DataFile, kind_of_name
from eyas.data.reading.mistakes import Mistakes, RecordError
from eyas.data.reading.values import list_value, text_value
from eyas.data.template import G1, Message, Template
from eyas.evaluation.likelihood import Bounds, score
from eyas.evaluation.measured import Measured, mean
from eyas.models import Model

_ASKED = ("question", "prompt", "query", "instruction")
_END = 0  # stands before a text that is empty
_G1 = G1()
_SHAPE = '{"question": "...", "choices": ["...", "..."], "answer": 0}'


@dataclass(frozen=True)
class Choice:
    """What is read, what may follow it, and which of these is right."""

    prompt: str
    choices: tuple[str, ...]
    right: int


def holds_choices(source: Path) -> bool:
    """Whether the first record of a file has choices."""
    first = next(iter(_records(source)), None)
    return isinstance(first, tuple) and isinstance(first[1], Mapping) and "choices" in first[1]


def read_choices(source: Path, limit: int | None = None, template: Template = _G1) -> list[Choice]:
    """The records of a file. Raises UserError that tells of all that are wrong."""
    mistakes, found = Mistakes(source), []
    for record in islice(_records(source), limit):
        if isinstance(record, Bad):
            mistakes.add(record)
            continue
        place, content = record
        try:
            found.append(_choice(content, template))
        except RecordError as error:
            mistakes.add(Bad(place, str(error)))
    if mistakes.count:
        raise mistakes.error()
    return found


def choice_measures(
    model: Model, tokenizer: Tokenizer, records: Sequence[Choice], bounds: Bounds
) -> dict[str, Measured]:
    """`accuracy` and `accuracy_per_byte`."""
    pairs = [(i, j) for i, record in enumerate(records) for j in range(len(record.choices))]
    rows = [continued(tokenizer, records[i].prompt, records[i].choices[j]) for i, j in pairs]
    lengths = np.array([len(tokens) for tokens, _ in rows], np.int64)
    sums = [np.zeros(len(record.choices)) for record in records]
    for number, scored in score(model, lengths, lambda k: np.array(rows[k][0]), bounds):
        i, j = pairs[number]
        sums[i][j] = scored.log_probs[rows[number][1] - 1 :].sum(dtype=np.float64)
    bytes_of = [np.array([len(c.encode()) for c in record.choices]) for record in records]
    right = [record.right for record in records]
    taken = [int(each.argmax()) for each in sums]
    per_byte = [int((s / b).argmax()) for s, b in zip(sums, bytes_of, strict=True)]
    return {
        "accuracy": _share(taken, right),
        "accuracy_per_byte": _share(per_byte, right),
    }


def continued(tokenizer: Tokenizer, prompt: str, rest: str) -> tuple[list[int], int]:
    """The tokens of a text, and at which of them what follows the prompt begins: 1 or later.

    A token that is made of both counts to the rest.
    """
    whole, read = tokenizer.encode(prompt + rest), tokenizer.encode(prompt)
    same = next((i for i, (a, b) in enumerate(zip(whole, read, strict=False)) if a != b), len(read))
    return (whole, same) if same else ([_END, *whole], 1)


def _share(taken: Sequence[int], right: Sequence[int]) -> Measured:
    return mean((np.array(taken) == np.array(right)).astype(float))


def _records(source: Path) -> Iterator[tuple[str, Any] | Bad]:
    kind = kind_of_name(source)
    if kind is None or not source.is_file():
        return iter(())
    reader = Reader(None, lambda names: names, lambda _: True)
    return reader.items(DataFile(source, kind, source.name))


def _choice(record: object, template: Template) -> Choice:
    if not isinstance(record, Mapping) or "choices" not in record:
        raise RecordError(f'has no "choices", as the first record has; it must be {_SHAPE}')
    listed = list_value(record["choices"], '"choices"', '["...", "..."]')
    choices = [text_value(choice, f"choice {i}") for i, choice in enumerate(listed)]
    if len(choices) < 2:
        raise RecordError("has one choice alone; give at least two")
    right = _right(record.get("answer"), choices)
    if "text" in record:
        return Choice(text_value(record["text"], '"text"'), tuple(choices), right)
    asked = next((name for name in _ASKED if name in record), None)
    if asked is None:
        raise RecordError(f'has neither "question" nor "text"; it must be {_SHAPE}')
    question = Message("user", text_value(record[asked], f'"{asked}"'))
    prompt, lead = prompt_of(template, [question], "auto"), lead_of(template)
    return Choice(prompt, tuple(lead + choice.strip() for choice in choices), right)


def _right(answer: object, choices: Sequence[str]) -> int:
    """The number of the right choice."""
    if isinstance(answer, str):
        if answer in choices:
            return choices.index(answer)
        if answer.isdecimal():
            raise RecordError(
                f'has the text "{answer}" as its "answer", which none of its choices is; the '
                "number of the right one, from 0 up, stands without quotes"
            )
        answer = ord(answer.upper()) - ord("A") if len(answer) == 1 else None
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    raise RecordError(
        f'has an "answer" that is none of its {len(choices)} choices; give its number from 0 up, '
        "its text or its letter"
    )
