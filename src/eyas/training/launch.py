"""One command, several processes: started and watched over by PyTorch's elastic launcher."""

import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import psutil
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from eyas.training.engine import EngineConfig

_SAVING_SECONDS = 600  # that a process may take for its last checkpoint
_WATCH_SECONDS = 0.5


def launch(config: EngineConfig, command: Sequence[str]) -> int:
    """Runs `python COMMAND` in a process for each device of this machine; the exit code.

    One that fails ends the others; where it ended by a signal, that is said on standard error.
    A signal is handed on to all, which save and end, or with SIGUSR1 go on.
    """
    # The inner two have levels of their own.
    for name in ("", ".agent.server.api", ".multiprocessing.api"):
        logging.getLogger(f"torch.distributed.elastic{name}").setLevel(logging.CRITICAL)
    alone = config.num_nodes == 1
    settings = LaunchConfig(
        min_nodes=config.num_nodes,
        max_nodes=config.num_nodes,
        nproc_per_node=config.devices,
        run_id="eyas",
        rdzv_backend="c10d",
        rdzv_endpoint=config.rendezvous or "localhost:0",
        local_addr="localhost" if alone else None,
        max_restarts=0,
        monitor_interval=_WATCH_SECONDS,
        shutdown_timeout=_SAVING_SECONDS,
    )
    try:
        with _handing_on_saves(command):
            elastic_launch(settings, sys.executable)("-u", *command)
    except ChildFailedError as failed:
        return _told(failed)
    except SignalException as ended:
        return 128 + int(ended.sigval)
    return 0


@contextmanager
def _handing_on_saves(command: Sequence[str]) -> Iterator[None]:
    """SIGUSR1 is for the processes that train; the elastic launcher leaves it to us."""
    if not hasattr(signal, "SIGUSR1"):
        yield
        return

    def hand_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for child in psutil.Process().children():
            if child.cmdline()[-len(command) :] == list(command):
                child.send_signal(number)

    before = signal.signal(signal.SIGUSR1, hand_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def _told(failed: ChildFailedError) -> int:
    """The exit code of the process that failed; says so where it could not do it itself.

    One that was killed is the cause, however soon the others found it missing and ended; but
    SIGTERM is how the launcher ends those that are left.
    """
    first = failed.get_first_failure()[0]
    codes = {rank: failure.exitcode for rank, failure in failed.failures.items()}
    ended = [rank for rank, code in codes.items() if code != -signal.SIGTERM]
    rank = next((rank for rank in ended if codes[rank] < 0), ended[0] if ended else first)
    code = codes[rank]
    if code >= 0:
        return code
    name = signal.Signals(-code).name
    perhaps = " (no memory left, perhaps)" if code == -signal.SIGKILL else ""
    print(
        f"eyas: process {rank} was ended by {name}{perhaps}, and so the others were stopped; the "
        "newest checkpoint is whole, and the same command goes on from there",
        file=sys.stderr,
    )
    return 128 - code
