"""An answer, from the state in which the conversation is to the one in which it leaves it.

The model reads exactly the tokens of the training template's text: those that a kept state stands
for are not read again, and what it wrote itself is where its tokens are the text's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from eyas.chat.conversation import Conversation, Snapshot, Turn, asked, longest
from eyas.chat.ending import until_end
from eyas.chat.settings import Settings
from eyas.chat.wording import cue, prompt_of, spoken, stops_of, text_of
from eyas.data.messages import Message, Template
from eyas.data.tokenizer import Tokenizer
from eyas.generation.stream import characters, encoded, sampled
from eyas.models import Model, State

_SEEDS = 1 << 64
_NEXT_TURN, _NEXT_ATTEMPT = 7919, 104729  # primes: no two answers nearby share a seed


@dataclass(frozen=True, eq=False)
class Speaker:
    """A model with the words in which it was trained to talk.

    reader: the model as it reads tokens, where that is done in a faster way.
    """

    model: Model
    tokenizer: Tokenizer
    template: Template
    reader: nn.Module | None = None

    def tokens(self, text: str) -> list[int]:
        return encoded(self.tokenizer, text, self.model.vocab_size)


class Answer:
    """The answer to a question: iterating says it, and `turn` is what was said so far.

    So it may be left in the middle. The conversation itself is not changed. Raises UserError
    where the template or the vocabulary cannot write it.
    """

    def __init__(
        self,
        speaker: Speaker,
        before: Conversation,
        question: str,
        settings: Settings,
        attempt: int = 0,
    ) -> None:
        self._speaker, self._before, self._settings = speaker, before, settings
        self._question, self._attempt = question, attempt
        self.thinking = settings.chat.think
        messages = [*before.messages(), asked(question, self.thinking)]
        self._tokens = speaker.tokens(prompt_of(speaker.template, messages, self.thinking))
        start = before.nearest(self._tokens)
        self._start, self._prompt = start, len(self._tokens)
        self._pieces: list[str] = []
        # How many tokens were read, and the state then: after the prompt, and at the newest token.
        self._states: list[tuple[int, State]] = []

    @property
    def said(self) -> str:
        """What was said so far."""
        return "".join(self._pieces)

    def __iter__(self) -> Iterator[str]:
        settings = self._settings
        stop = (*stops_of(self._speaker.template), *settings.chat.stop)
        tokens = islice(self._sampled(), settings.chat.max_tokens)
        pieces = map(self._speaker.tokenizer.token_bytes, tokens)
        for piece in until_end(characters(pieces), stop, cue(self.thinking)):
            self._pieces.append(piece)
            yield piece

    def turn(self) -> Turn:
        """The turn with what was said so far."""
        answer = spoken(self._speaker.template, cue(self.thinking) + self.said)
        return Turn(self._question, self.thinking, answer, self._attempt, self._snapshot(answer))

    @property
    def written(self) -> int:
        """Tokens of the answer so far, that of a stop text included."""
        return len(self._tokens) - self._prompt

    def _sampled(self) -> Iterator[int]:
        speaker, start = self._speaker, self._start
        before = start.state if start else None
        unread = self._tokens[len(start.tokens) if start else 0 :]
        generator = torch.Generator().manual_seed(self._seed())
        sampling = self._settings.sampling
        reader = speaker.reader or speaker.model
        for token, state in sampled(reader, speaker.tokenizer, unread, before, sampling, generator):
            self._states[1:] = [(len(self._tokens), state)]
            self._tokens.append(token)
            yield token

    def _seed(self) -> int:
        turn, attempt = len(self._before.turns), self._attempt
        first = self._settings.chat.seed
        return (first + _NEXT_TURN * turn + _NEXT_ATTEMPT * attempt) % _SEEDS

    def _snapshot(self, answer: Message) -> Snapshot | None:
        """The longest snapshot that holds for the conversation as training writes it."""
        question = asked(self._question, self.thinking)
        messages = [*self._before.messages(), question, answer, Message("user", "x")]
        tokens = self._speaker.tokens(text_of(self._speaker.template, messages))
        kept = [Snapshot(tuple(self._tokens[:length]), state) for length, state in self._states]
        return longest(kept, tokens)
