"""All that watches a run, opened together."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from eyas.observe.curves import draw_losses
from eyas.observe.flops import Utilization
from eyas.observe.guarded import guarded, to_stderr
from eyas.observe.metrics import METRICS, Sink, open_metrics
from eyas.observe.report import Facts, at_the_end, write_report
from eyas.observe.rwkv_peft_logs import open_rwkv_peft_logs
from eyas.observe.swanlab import open_swanlab
from eyas.observe.tensorboard import open_tensorboard
from eyas.observe.wandb import open_wandb
from eyas.training.events import Event


@dataclass(frozen=True)
class WatchConfig:
    """Where a run can be watched, besides the terminal and `metrics.jsonl`."""

    tensorboard: Annotated[bool, "write TensorBoard's files too, into the run directory"] = False
    wandb: Annotated[
        str | None, "log to this Weights & Biases project; without an account it stays offline"
    ] = None
    swanlab: Annotated[
        str | None, "log to this SwanLab project; without an account it stays offline"
    ] = None
    report: Annotated[bool, "draw loss.png and write report.html at the end"] = True
    mfu: Annotated[bool, "measure this machine at the start, and tell how well it is used"] = True
    epoch_steps: Annotated[
        int | None, "write RWKV-PEFT's train_log.txt too, with epochs of so many steps"
    ] = None
    epoch_begin: Annotated[int, "number of the first of these epochs"] = 0

    def __post_init__(self) -> None:
        if self.epoch_steps is not None and self.epoch_steps < 1:
            raise ValueError(f"epoch_steps = {self.epoch_steps} must be at least 1")
        if self.epoch_begin < 0:
            raise ValueError(f"epoch_begin = {self.epoch_begin} must not be negative")


@contextmanager
def watching(
    folder: Path,
    config: WatchConfig,
    settings: Mapping[str, object],
    facts: Facts,
    resume_step: int = 0,
    utilization: Utilization | None = None,
    say: Callable[[str], None] = to_stderr,
) -> Iterator[Sink]:
    """A sink for all of them together, none of which can stop the run.

    settings: those of the run by flat names. facts: for the report. say: told where one fails.
    Raises UserError where the metrics of a run that goes on have been damaged.
    """
    chosen = _chosen(folder, config, settings, facts, resume_step, utilization, say)
    with ExitStack() as stack:
        sinks = [stack.enter_context(guarded(opened, n, say)) for n, opened in chosen.items()]

        def all_of_them(event: Event) -> None:
            for sink in sinks:
                sink(event)

        yield all_of_them


def _chosen(
    folder: Path,
    config: WatchConfig,
    settings: Mapping[str, object],
    facts: Facts,
    resume_step: int,
    utilization: Utilization | None,
    say: Callable[[str], None],
) -> dict[str, AbstractContextManager[Sink]]:
    """The sinks by the name that they are told of with. The last two read what the others wrote."""
    metrics = open_metrics(folder / METRICS, resume_step, utilization)
    chosen: dict[str, AbstractContextManager[Sink]] = {METRICS: metrics}
    if config.epoch_steps:
        epochs = config.epoch_steps, config.epoch_begin
        chosen["train_log.txt"] = open_rwkv_peft_logs(folder, settings, *epochs, resume_step)
    if config.tensorboard:
        chosen["TensorBoard"] = open_tensorboard(folder, settings, resume_step, utilization)
    if config.wandb:
        chosen["wandb"] = open_wandb(config.wandb, folder, settings, resume_step, utilization, say)
    if config.swanlab:
        chosen["SwanLab"] = open_swanlab(config.swanlab, folder, settings, utilization, say)
    if config.report:
        chosen["loss.png"] = at_the_end(lambda: draw_losses(folder))
        chosen["report.html"] = at_the_end(lambda: write_report(folder, facts))
    return chosen
