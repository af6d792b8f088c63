"""`train_log.txt` and `loss_data.jsonl`, line by line as RWKV-PEFT's trainer writes them.

    train_log.txt     NEW RUN 2026-01-31-12-00-00
                      {'lr_init': 2e-05, …}
                      0 2.345678 10.4403 0.00002000 2026-01-31 12:34:56.789012 0
    loss_data.jsonl   {"loss": 2.345678, "t_cost": 1.5, "kt_s": 6.1}

An epoch there is a number of steps. Its line: its number in all, mean loss, exp(mean loss),
learning rate, date, its number in this run. `t_cost` is steps in a second, in spite of its name,
and `kt_s` thousands of tokens in a second; ours counts no padding.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from eyas.files import write_bytes
from eyas.observe.lines import appending
from eyas.observe.metrics import Sink
from eyas.training.events import Event, Finished, Step

_TRAIN_LOG, _LOSS_DATA = "train_log.txt", "loss_data.jsonl"


@contextmanager
def open_rwkv_peft_logs(
    folder: Path,
    settings: Mapping[str, object],
    epoch_steps: int,
    epoch_begin: int = 0,
    resume_step: int = 0,
) -> Iterator[Sink]:
    """A sink that writes both files into a run's folder.

    epoch_begin: the number of the first epoch. A run that goes on from `resume_step` keeps the
    steps before it in loss_data.jsonl, and counts them where it goes on in the midst of an epoch;
    0 begins that file anew. train_log.txt only ever grows.
    """
    steps = _steps_before(folder / _LOSS_DATA, resume_step)
    write_bytes(folder / _LOSS_DATA, b"".join(steps))
    losses = _losses(steps[max(0, len(steps) - resume_step % epoch_steps) :])
    with appending(folder / _LOSS_DATA) as data, appending(folder / _TRAIN_LOG) as log:
        yield _Logs(settings, epoch_steps, epoch_begin, data, log, losses).eat


@dataclass
class _Logs:
    settings: Mapping[str, object]
    epoch_steps: int
    epoch_begin: int
    data: Callable[[str], None]
    log: Callable[[str], None]
    losses: list[float]  # of the epoch in hand
    begun: bool = False
    rate: float = 0.0

    def eat(self, event: Event) -> None:
        if isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Finished) and event.reason != "interrupted" and self.losses:
            self._end_epoch(event.step // self.epoch_steps)  # cut short

    def _step(self, step: Step) -> None:
        if not self.begun:
            self.log(f"NEW RUN {datetime.now():%Y-%m-%d-%H-%M-%S}\n{dict(self.settings)}\n")
            self.begun = True
        seconds = max(step.seconds, 1e-9)
        values = {"loss": step.loss, "t_cost": 1 / seconds, "kt_s": step.tokens / seconds / 1000}
        self.data(json.dumps(values) + "\n")
        self.losses.append(step.loss)
        self.rate = step.learning_rate
        if step.step % self.epoch_steps == 0:
            self._end_epoch(step.step // self.epoch_steps - 1)

    def _end_epoch(self, number: int) -> None:
        mean = sum(self.losses) / len(self.losses)
        perplexity = math.exp(min(mean, 700.0))  # the largest that a float can be
        self.losses.clear()
        self.log(
            f"{self.epoch_begin + number} {mean:.6f} {perplexity:.4f} {self.rate:.8f} "
            f"{datetime.now()} {number}\n"
        )


def _steps_before(path: Path, step: int) -> list[bytes]:
    """The whole lines of the steps up to that one."""
    if step == 0 or not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [line for line in lines if line.endswith(b"\n")][:step]


def _losses(lines: list[bytes]) -> list[float]:
    """The losses in these lines, as far as they can be read."""
    found = []
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            found.append(float(json.loads(line)["loss"]))
    return found
