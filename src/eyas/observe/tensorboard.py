"""TensorBoard's event files, in the folder `tensorboard` of a run: `tensorboard --logdir RUN`."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eyas.observe.flops import Utilization
from eyas.observe.metrics import Sink
from eyas.observe.optional import optional
from eyas.observe.samples import Numbers
from eyas.observe.scalars import scalars
from eyas.training.events import Event, Sampled

_FLUSH_SECONDS = 10


@contextmanager
def open_tensorboard(
    folder: Path,
    settings: Mapping[str, object],
    resume_step: int = 0,
    utilization: Utilization | None = None,
) -> Iterator[Sink]:
    """A sink for a run's folder; what was written beyond `resume_step` is not shown any more.

    Raises ModuleNotFoundError where tensorboard is not installed.
    """
    optional("tensorboard")
    from torch.utils.tensorboard import SummaryWriter  # takes half a second

    path = str(folder / "tensorboard")
    lines = (f"{name} = {value}" for name, value in settings.items())
    numbers = Numbers()
    with _silent_thread():
        writer = SummaryWriter(path, purge_step=resume_step + 1, flush_secs=_FLUSH_SECONDS)
        try:
            writer.add_text("settings", _verbatim("\n".join(lines)), resume_step)
            yield lambda event: _write(writer, event, numbers, utilization)
        finally:
            writer.close()


@contextmanager
def _silent_thread() -> Iterator[None]:
    """The thread that writes prints no traceback: the next event raises what went wrong there."""
    before = threading.excepthook

    def told(failed: threading.ExceptHookArgs) -> None:
        if not type(failed.thread).__module__.startswith("tensorboard."):
            before(failed)

    threading.excepthook = told
    try:
        yield
    finally:
        threading.excepthook = before


def _write(writer: Any, event: Event, numbers: Numbers, utilization: Utilization | None) -> None:
    for name, value in scalars(event, utilization).items():
        writer.add_scalar(name, value, event.step)
    if isinstance(event, Sampled):
        text = _verbatim(f"{event.prompt}{event.text}")
        writer.add_text(numbers.name(event.prompt), text, event.step)


def _verbatim(text: str) -> str:
    """A text that Markdown leaves as it is."""
    return "\n".join(f"    {line}" for line in text.split("\n"))
