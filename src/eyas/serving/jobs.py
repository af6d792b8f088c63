"""What the engine is given and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from eyas.generation.sampling import Sampling
from eyas.serving.served import Served
from eyas.serving.transcript import Form


@dataclass(frozen=True)
class Job:
    """A prompt, and how to go on from it: one choice for each seed."""

    served: Served
    tokens: tuple[int, ...]
    sampling: Sampling
    max_tokens: int
    seeds: tuple[int, ...]
    form: Form
    top_logprobs: int | None  # None: no logprobs at all
    bias: tuple[tuple[int, float], ...] = ()  # what is added to the logits of some tokens
    echo: str | None = None  # the prompt's text, where it is said before the answer


@dataclass(frozen=True)
class TokenSaid:
    """A token with the logarithm of its probability; see `logprobs`."""

    data: bytes
    logprob: float | None  # None: nothing stands before it
    top: tuple[tuple[bytes, float], ...]
    offset: int  # characters before it


@dataclass(frozen=True)
class Piece:
    """More of a choice."""

    choice: int
    reasoning: str
    content: str
    tokens: tuple[TokenSaid, ...] = ()


@dataclass(frozen=True)
class Ended:
    """A choice is complete."""

    choice: int
    reason: str  # "stop", "length"
    generated: int  # tokens
    cached: int  # tokens of the prompt that were known


@dataclass(frozen=True)
class Failed:
    """None of the job's choices goes on."""

    problem: str


Event: TypeAlias = Piece | Ended | Failed


@dataclass(eq=False)
class Ticket:
    """A job on its way. `sink` is called in the engine's thread and must not wait."""

    job: Job
    sink: Callable[[Event], None]
    cancelled: bool = False
    begun: float = 0.0  # time.monotonic() when it was handed in
