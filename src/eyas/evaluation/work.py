"""What a model is scored on: data of any kind, read once, for one model after another."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from eyas.chat.wording import stops_of
from eyas.data import (
    Corpus,
    ReadConfig,
    Tokenizer,
    is_tokens,
    load_corpus,
    read_documents,
    select,
)
from eyas.data.template import open_template
from eyas.errors import UserError
from eyas.evaluation.answers import Question, exact_match, questions_of
from eyas.evaluation.choices import Choice, choice_measures, holds_choices, read_choices
from eyas.evaluation.likelihood import DEFAULT, Bounds
from eyas.evaluation.measured import Measured
from eyas.evaluation.texts import text_measures
from eyas.models import Model

_AS_IT_IS = ReadConfig()


@dataclass(frozen=True)
class Work:
    """Records with choices, or documents and those of their answers that are asked for."""

    tokenizer: Tokenizer
    bounds: Bounds
    stop: tuple[str, ...]
    corpus: Corpus | None = None
    questions: tuple[Question, ...] = ()
    choices: tuple[Choice, ...] = ()

    @property
    def documents(self) -> int:
        return len(self.corpus) if self.corpus else len(self.choices)

    def measures(self, model: Model) -> dict[str, Measured]:
        """Every measure that the data allow, by name. The model is on the device it computes on."""
        if self.corpus is None:
            return choice_measures(model, self.tokenizer, self.choices, self.bounds)
        found = text_measures(model, self.corpus, self.tokenizer, self.bounds)
        if self.questions:
            match = exact_match(model, self.tokenizer, self.questions, self.stop, self.bounds)
            found["exact_match"] = match
        return found


def open_work(
    source: Path,
    tokenizer: Tokenizer,
    vocab_size: int,
    reading: ReadConfig = _AS_IT_IS,
    bounds: Bounds = DEFAULT,
    limit: int | None = None,
    answers: bool = True,
    stop: Sequence[str] = (),
) -> Work:
    """Reads data for scoring: choices where the first record has some, else as for training.

    limit: of records, the first ones. answers: exact match is asked for, where there are any. stop:
    texts that end an answer too. Raises UserError for bad data, and where nothing can be scored.
    """
    if holds_choices(source):
        choices = tuple(read_choices(source, limit, open_template(reading.template)))
        return Work(tokenizer, bounds, tuple(stop), choices=choices)
    corpus = load_corpus([source], tokenizer, vocab_size, reading)
    if limit is not None:
        corpus = select(corpus, np.arange(min(limit, len(corpus))))
    if not (np.diff(corpus.offsets) > 1).any():
        raise UserError(f"{source}: holds no document of two tokens; there is nothing to predict")
    if not answers or is_tokens(source, reading):
        return Work(tokenizer, bounds, tuple(stop), corpus)
    ends = stops_of(open_template(reading.template))
    documents = islice(read_documents(source, reading), limit)
    questions = tuple(questions_of(documents, ends))
    return Work(tokenizer, bounds, (*stop, *ends), corpus, questions)
