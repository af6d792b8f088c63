"""Progress of a run on the terminal, or as plain lines in a log file."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from eyas.observe.average import Average
from eyas.observe.documents import visible
from eyas.observe.flops import Utilization
from eyas.observe.metrics import Sink
from eyas.training.events import Event, Finished, Sampled, Saved, Step, Validated

_SHORTEST = 10.0  # seconds between two plain lines, at least
_LONGEST = 300.0  # and at most, however many steps are left
_SAMPLE = 600  # characters of a prompt or a sample


@contextmanager
def console(
    total_steps: int,
    terminal: Console | None = None,
    lowest: float = math.inf,
    utilization: Utilization | None = None,
) -> Iterator[Sink]:
    """A sink that shows a run of `total_steps`: a moving bar on a terminal, else plain lines.

    Held-out losses, samples, checkpoints and the end are lines of their own on both.
    lowest: held-out loss of the run before it was resumed. utilization: for the MFU.
    """
    terminal = terminal or Console()
    state = _State(total_steps, utilization, lowest=lowest)

    def say(text: str | Text) -> None:
        terminal.print(text, markup=False, highlight=False, soft_wrap=True)

    if not terminal.is_terminal or terminal.is_dumb_terminal:
        yield lambda event: _plain(event, state, say)
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(bar_width=None)
    with Progress(*columns, console=terminal, expand=True) as progress:
        bar = progress.add_task("", total=total_steps)

        def sink(event: Event) -> None:
            if isinstance(event, Step):
                text = "\n".join(state.take(event))
                progress.update(bar, completed=event.step, description=text)
            else:
                say(state.tell(event))

        yield sink


@dataclass
class _State:
    """What the texts need of the events before."""

    total_steps: int
    utilization: Utilization | None
    loss: Average = field(default_factory=Average)
    seconds: Average = field(default_factory=Average)
    tokens: Average = field(default_factory=Average)
    trained: Average = field(default_factory=Average)
    work: Average = field(default_factory=Average)
    lowest: float = math.inf
    held_out: float | None = None
    elapsed: float = 0.0
    said_at: float = -_LONGEST
    said_step: int = 0

    def take(self, step: Step) -> tuple[str, str]:
        """A step: how far it is, and how fast. The smoothed loss stands in parentheses."""
        self.elapsed += step.seconds
        seconds = max(self.seconds.update(step.seconds), 1e-9)
        speed = self.tokens.update(float(step.tokens)) / seconds
        trained = self.trained.update(float(step.trained_tokens)) / seconds
        left = timedelta(seconds=round(seconds * max(self.total_steps - step.step, 0)))
        held_out = "" if self.held_out is None else f"held out {self.held_out:.3f}  "
        return (
            f"{step.step}/{self.total_steps}  "
            f"loss {step.loss:.3f} ({self.loss.update(step.loss):.3f})  {held_out}{left} left",
            f"lr {step.learning_rate:.1e}  {speed:,.0f} tok/s ({trained:,.0f} trained)  "
            f"{self._mfu(step, seconds)}{step.peak_bytes / 2**30:.1f} GiB",
        )

    def tell(self, event: Validated | Sampled | Saved | Finished) -> str | Text:
        """What is not a step."""
        if isinstance(event, Sampled):
            return _sample(event)
        if isinstance(event, Saved):
            return f"step {event.step}: saved {event.path}"
        if isinstance(event, Finished):
            return f"step {event.step}: {event.reason}"
        mark = ", the lowest so far" if event.loss < self.lowest else ""
        self.lowest = min(self.lowest, event.loss)
        self.held_out = event.loss
        return f"step {event.step}: held-out loss {event.loss:.4f}{mark}"

    def due(self, step: Step) -> bool:
        """Whether a plain line about this step should come: not too often, nor too seldom."""
        waited = self.elapsed - self.said_at
        percent = step.step - self.said_step >= self.total_steps / 100
        if step.step < self.total_steps and waited < (_SHORTEST if percent else _LONGEST):
            return False
        self.said_at, self.said_step = self.elapsed, step.step
        return True

    def _mfu(self, step: Step, seconds: float) -> str:
        if self.utilization is None:
            return ""
        work = self.work.update(self.utilization.of(step) * step.seconds)
        return f"MFU {work / seconds:.0%}  "


def _sample(event: Sampled) -> Text:
    """A prompt and what came after it, dim, each line behind a bar; the latter in brackets."""
    prompt, text = (
        visible(part if len(part) <= _SAMPLE else f"{part[:_SAMPLE]} …")
        for part in (event.prompt, event.text)
    )
    shown = Text(f"step {event.step}: a sample")
    for line in f"{prompt}[[{text}]]".split("\n"):
        shown.append(f"\n  | {line}", "dim")
    return shown


def _plain(event: Event, state: _State, say: Callable[[str | Text], None]) -> None:
    if not isinstance(event, Step):
        say(state.tell(event))
        return
    line = "  ".join(state.take(event))
    if state.due(event):
        say(f"step {line}")
