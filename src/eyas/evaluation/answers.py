"""Exact match: whether a model, decoding greedily, writes the very answer that a record has.

A record's last answer is asked for, given everything before it. What the model writes ends at the
end token or at a text that stops it (what ends a turn in the template, as G1's blank line), and is
compared with the answer without the blanks around both. One that departs from the answer is not
followed further.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from eyas.data import Document, Tokenizer
from eyas.evaluation.greedy import END, greedy
from eyas.evaluation.likelihood import Bounds
from eyas.evaluation.measured import Measured, mean
from eyas.models import Model


@dataclass(frozen=True)
class Question:
    """What is read, and the answer that counts as right."""

    prompt: str
    answer: str
    place: str


def questions_of(documents: Iterable[Document], ends: Sequence[str] = ()) -> Iterator[Question]:
    """The last answer of each document that ends with one, and what stands before it.

    ends: what the template has behind an answer; it is no part of it.
    """
    for document in documents:
        *before, last = document.spans or (None,)
        if last and last.trained and before and last.text.strip():
            prompt = "".join(span.text for span in before if span)
            answer, _ = _until(last.text, ends)
            yield Question(prompt, answer.strip(), document.place)


def exact_match(
    model: Model,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    stop: Sequence[str],
    bounds: Bounds,
) -> Measured:
    """The share of the questions that are answered exactly. There is at least one question."""

    def done(number: int, written: bytes) -> bool:
        text, ended = _until(written.decode(errors="ignore"), stop)
        return ended or not _may_become(text.lstrip(), questions[number].answer)

    prompts = [tokenizer.encode(question.prompt) or [END] for question in questions]
    right = np.zeros(len(questions))
    for number, written in greedy(model, tokenizer, prompts, done, bounds):
        text, _ = _until(written.decode(errors="replace"), stop)
        right[number] = text.strip() == questions[number].answer
    return mean(right)


def _until(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text up to the first text of `stop`, and whether there is one.

    Blanks before the answer are no answer yet, and so stop nothing.
    """
    begin = len(text) - len(text.lstrip())
    places = [place for one in stop if (place := text.find(one, begin)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _may_become(text: str, answer: str) -> bool:
    """Whether something may still follow, such as an end, that makes the answer of a text."""
    if len(text) < len(answer):
        return answer.startswith(text)
    return text.startswith(answer) and not text[len(answer) :].strip()
