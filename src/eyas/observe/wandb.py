"""Weights & Biases: a run of the project, in the folder `wandb` of ours."""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eyas.files import write_bytes
from eyas.observe.flops import Utilization
from eyas.observe.guarded import reason_of, to_stderr
from eyas.observe.metrics import Sink
from eyas.observe.optional import optional
from eyas.observe.samples import Numbers
from eyas.observe.scalars import scalars
from eyas.training.events import Event, Sampled

_SECONDS = 30.0  # that a run waits for the network, at its beginning and at its end
_MODE = "WANDB_MODE"  # with which wandb's users choose one themselves


@contextmanager
def open_wandb(
    project: str,
    folder: Path,
    settings: Mapping[str, object],
    resume_step: int = 0,
    utilization: Utilization | None = None,
    say: Callable[[str], None] = to_stderr,
) -> Iterator[Sink]:
    """A sink that logs to a project. Without a key, or where wandb cannot be reached, it writes
    what `wandb sync` sends later, and says so.

    A run that goes on from `resume_step` goes on there too. Code, git and terminal are not sent.
    Raises ModuleNotFoundError where wandb is not installed.
    """
    wandb = optional("wandb")
    place = folder / "wandb" / "eyas-id"

    def begin(identity: str, mode: str | None, resume: str | None = None) -> Any:
        return wandb.init(
            project=project,
            name=folder.name,
            dir=folder,
            id=identity,
            config=_nested(settings),
            mode=mode,
            resume=resume,
            reinit="create_new",  # a run of the user's own is left alone
            settings=_settings(wandb),
        )

    if _MODE in os.environ:
        run = begin(_identity(place, resume_step), mode=None)
    elif wandb.login(prompt=False, verify=False):
        run = _online(wandb, begin, place, resume_step, say)
    else:
        run = begin(_identity(place, resume_step), "offline")
    run.define_metric("*", step_metric="step")
    numbers = Numbers()
    try:
        yield lambda event: _log(wandb, run, event, numbers, utilization)
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish(exit_code=0)


def _online(
    wandb: Any,
    begin: Callable[[str, str | None, str | None], Any],
    place: Path,
    resume_step: int,
    say: Callable[[str], None],
) -> Any:
    try:
        return begin(_identity(place, resume_step), None, "allow" if resume_step else None)
    except wandb.Error as error:
        say(f"wandb: {reason_of(error)}; it goes on offline")
        return begin(_identity(place, 0), "offline", None)  # the other name is in use now


def _settings(wandb: Any) -> Any:
    return wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        init_timeout=_SECONDS,
        finish_timeout=_SECONDS,
        max_end_of_run_history_metrics=0,
        max_end_of_run_summary_metrics=0,
    )


def _log(
    wandb: Any, run: Any, event: Event, numbers: Numbers, utilization: Utilization | None
) -> None:
    values: dict[str, Any] = dict(scalars(event, utilization))
    if isinstance(event, Sampled):
        row = [event.step, event.prompt, event.text]
        table = wandb.Table(columns=["step", "prompt", "text"], data=[row])
        values[numbers.name(event.prompt)] = table
    if values:
        run.log({"step": event.step, **values})


def _identity(path: Path, resume_step: int) -> str:
    """The name by which wandb knows the run, a new one for a new run."""
    if resume_step and path.exists():
        return path.read_text().strip()
    identity = secrets.token_hex(4)
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, identity.encode())
    return identity


def _nested(settings: Mapping[str, object]) -> dict[str, object]:
    """wandb wants no dots in names: a table for what stands before one."""
    result: dict[str, object] = {}
    for name, value in settings.items():
        *tables, last = name.split(".")
        place = result
        for table in tables:
            inner = place.setdefault(table, {})
            assert isinstance(inner, dict)
            place = inner
        place[last] = value
    return result
