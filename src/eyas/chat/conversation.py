"""A conversation as a value. Its turns carry states, so that no text is read twice."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from eyas.chat.wording import Thinking, worded
from eyas.data.messages import Message
from eyas.models.state import State


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state of a model after some tokens."""

    tokens: tuple[int, ...]
    state: State  # batch 1

    def begins(self, tokens: Sequence[int]) -> bool:
        return self.tokens == tuple(tokens[: len(self.tokens)])


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    `snapshot` is taken as near to the end of the answer as the conversation's tokens allow; None
    where there is none of the model at hand. `attempt` counts the answers that it replaced.
    """

    question: str
    thinking: Thinking
    answer: Message
    attempt: int = 0
    snapshot: Snapshot | None = field(default=None, compare=False)

    def asked(self) -> Message:
        return asked(self.question, self.thinking)


@dataclass(frozen=True)
class Conversation:
    """What was said so far."""

    system: str = ""
    turns: tuple[Turn, ...] = ()

    def messages(self) -> list[Message]:
        system = [Message("system", self.system)] if self.system else []
        return [*system, *(m for turn in self.turns for m in (turn.asked(), turn.answer))]

    def with_turn(self, turn: Turn) -> "Conversation":
        return dataclasses.replace(self, turns=(*self.turns, turn))

    def without_last(self, count: int = 1) -> "Conversation":
        """As it was before its last `count` turns, at least 1; the states are those of then."""
        return dataclasses.replace(self, turns=self.turns[:-count])

    def without_states(self) -> "Conversation":
        """For another model, to which the states say nothing."""
        turns = tuple(dataclasses.replace(turn, snapshot=None) for turn in self.turns)
        return dataclasses.replace(self, turns=turns)

    def nearest(self, tokens: Sequence[int]) -> Snapshot | None:
        """The longest snapshot from which these tokens can be read on."""
        known = (turn.snapshot for turn in reversed(self.turns))
        return longest(known, tokens)


def asked(question: str, thinking: Thinking) -> Message:
    return Message("user", worded(question, thinking))


def longest(snapshots: Iterable[Snapshot | None], tokens: Sequence[int]) -> Snapshot | None:
    """The longest of them with which the tokens begin and do not end."""
    fitting = [s for s in snapshots if s and len(s.tokens) < len(tokens) and s.begins(tokens)]
    return max(fitting, key=lambda snapshot: len(snapshot.tokens), default=None)
