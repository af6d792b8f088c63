"""SwanLab: an experiment of the project, in the folder `swanlog` of a run."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eyas.observe.flops import Utilization
from eyas.observe.guarded import reason_of, to_stderr
from eyas.observe.metrics import Sink
from eyas.observe.optional import optional
from eyas.observe.samples import Numbers
from eyas.observe.scalars import scalars
from eyas.training.events import Event, Sampled


@contextmanager
def open_swanlab(
    project: str,
    folder: Path,
    settings: Mapping[str, object],
    utilization: Utilization | None = None,
    say: Callable[[str], None] = to_stderr,
) -> Iterator[Sink]:
    """A sink that logs to a project. Without a key, or where SwanLab cannot be reached, it writes
    what `swanlab sync` sends later, and says so.

    A run that goes on is an experiment of its own there. Git and terminal are not sent.
    Raises ModuleNotFoundError where swanlab is not installed.
    """
    swanlab = optional("swanlab")
    own = swanlab.Settings(
        interactive=False,
        terminal=swanlab.Settings.Terminal(proxy_type="none"),
        probe=swanlab.Settings.Probe(git=False),
    )

    def begin(mode: str) -> Any:
        return swanlab.init(
            project=project,
            name=folder.name,
            log_dir=str(folder / "swanlog"),
            mode=mode,
            config=dict(settings),
            settings=own,
        )

    with _handlers_kept():
        if own.mode == "online":
            run = _online(begin, say) if own.api_key else begin("offline")
        else:
            run = begin(own.mode)
    numbers = Numbers()
    try:
        yield lambda event: _log(swanlab, run, event, numbers, utilization)
    except BaseException as error:
        run.finish(state="crashed", error=repr(error))
        raise
    run.finish()


def _online(begin: Callable[[str], Any], say: Callable[[str], None]) -> Any:
    try:
        return begin("online")
    except Exception as error:  # noqa: BLE001  its errors have nothing in common
        say(f"SwanLab: {reason_of(error)}; it goes on offline")
        return begin("offline")


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """SwanLab would end its experiment at Ctrl-C, which with us asks for a checkpoint first."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)


def _log(
    swanlab: Any, run: Any, event: Event, numbers: Numbers, utilization: Utilization | None
) -> None:
    values: dict[str, Any] = dict(scalars(event, utilization))
    if isinstance(event, Sampled):
        values[numbers.name(event.prompt)] = swanlab.Text(f"{event.prompt}{event.text}")
    if values:
        run.log(values, step=event.step)
