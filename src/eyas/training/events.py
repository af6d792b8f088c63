"""What training reports: frozen values, eaten by the sinks of `observe`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One optimizer step is done."""

    step: int
    """Steps done so far, this one included: the first is 1."""
    loss: float
    """Mean over the trained tokens of the step, nats per token."""
    learning_rate: float
    gradient_norm: float
    """2-norm over all trained parameters, before clipping."""
    tokens: int
    """Tokens read in this step, without padding."""
    trained_tokens: int
    """Targets that were trained on in this step."""
    seconds: float
    """Of this step alone."""
    peak_bytes: int
    """Most memory in use so far."""


@dataclass(frozen=True)
class Validated:
    """The held-out data was evaluated."""

    step: int
    loss: float
    """Mean over the trained tokens, nats per token."""
    tokens: int
    """Trained tokens that it is the mean of."""


@dataclass(frozen=True)
class Sampled:
    """The model, as it is now, continued a prompt."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True)
class Saved:
    """A checkpoint is on the disk."""

    step: int
    path: Path


@dataclass(frozen=True)
class Finished:
    """Nothing more will come."""

    step: int
    reason: str
    """`steps done`, `tokens done`, `time is up`, `no better` or `interrupted`."""
    signal: int = 0
    """Number of the signal that asked for the end, if one did."""


Event = Step | Validated | Sampled | Saved | Finished
