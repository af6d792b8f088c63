"""The processes that train together: which one we are, and what they tell one another.

They are started by torchrun (or `eyas train --devices N`, which uses its launcher) or by SLURM;
both say in the environment who is who.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from eyas.errors import ToldElsewhereError, UserError

T = TypeVar("T")

_SILENCE = timedelta(minutes=30)  # a rank may decompose or load that long while others wait
_PORTS, _FIRST_PORT = 20000, 20000


@dataclass(frozen=True)
class Ranks:
    """Our place among `world` processes; on this machine we are `local` of `beside`."""

    rank: int = 0
    world: int = 1
    local: int = 0
    beside: int = 1

    @property
    def first(self) -> bool:
        """Whether we are the one that writes and speaks."""
        return self.rank == 0

    def sums(self, *values: float | int) -> list[float]:
        """The sum over all ranks of each value, the same bits on all of them."""
        return self._together(list(map(float, values)), dist.ReduceOp.SUM)

    def highest(self, value: float | int) -> float:
        """The largest of all ranks."""
        return self._together([float(value)], dist.ReduceOp.MAX)[0]

    def gathered(self, value: T) -> list[T]:
        """Each rank's value (a tensor on the CPU, a text, …), by rank."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def all_or_none(self, work: Callable[[], T]) -> T:
        """What the work gives, once it is done on all ranks; what fails is told by the first."""
        result, problem = [], ""
        try:
            result = [work()]
        except UserError as error:
            problem = str(error)
        problems = self.gathered(problem)
        if any(problems):
            if self.rank != next(rank for rank, text in enumerate(problems) if text):
                raise ToldElsewhereError
            raise UserError(problem)
        return result[0]

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.world > 1:
            dist.barrier()

    def _together(self, values: list[float], how: dist.ReduceOp.RedOpType) -> list[float]:
        if self.world == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, how)
        totals: list[float] = tensor.tolist()
        return totals


def found_ranks(environment: Mapping[str, str]) -> Ranks | None:
    """Who we are, by what torchrun or SLURM say; None where neither has started us.

    Raises UserError where what they say is no number.
    """
    for names in (
        ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
        ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
    ):
        # A batch script has SLURM's numbers as well, but is no task that srun has started.
        told = set(names[:2]) | ({"SLURM_STEP_ID"} if names[0].startswith("SLURM") else set())
        if not told <= environment.keys():
            continue
        defaults = ("0", "1", "0", "1")
        try:
            values = map(int, map(environment.get, names, defaults))
            return Ranks(*values)
        except ValueError as error:
            raise UserError(f"environment: {' '.join(names)} must be numbers: {error}") from error
    return None


@contextmanager
def joined(ranks: Ranks, environment: Mapping[str, str], backend: str) -> Iterator[None]:
    """Meets the other processes; needs no group where there are none.

    backend: as `init_process_group` takes it, gloo for the CPU in it. Raises UserError where
    another process is lost on the way.
    """
    if ranks.world == 1:
        yield
        return
    dist.init_process_group(
        backend,
        init_method=meeting_place(environment),
        rank=ranks.rank,
        world_size=ranks.world,
        timeout=_SILENCE,
    )
    try:
        yield
        dist.barrier()  # no one leaves while another may still hear from it
    except (RuntimeError, dist.DistBackendError) as error:
        if not _is_lost(error):
            raise
        raise UserError(
            "another process of this run has ended, see its own message; the newest checkpoint is "
            "whole, and the same command goes on from there"
        ) from error
    finally:
        dist.destroy_process_group()


def leave(code: int, environment: Mapping[str, str]) -> int:
    """The exit code; a rank among others ends its process here and now.

    gloo's threads may still hold tensors of Python when the interpreter is taken down, and then
    they abort the process (PyTorch 2.13, one time in six on a busy machine).
    """
    ranks = found_ranks(environment)
    if ranks and ranks.world > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def meeting_place(environment: Mapping[str, str]) -> str:
    """Where the processes find one another, as `init_method`."""
    if "MASTER_ADDR" in environment and "MASTER_PORT" in environment:
        return f"tcp://{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"
    # SLURM: the first node of the job, and a port that follows from the job.
    nodes = environment.get("SLURM_JOB_NODELIST") or environment.get("SLURM_NODELIST", "")
    port = _FIRST_PORT + int(environment.get("SLURM_JOB_ID", "0")) % _PORTS
    return f"tcp://{_first_node(nodes)}:{port}"


def _first_node(nodes: str) -> str:
    """The first name of SLURM's list, such as gpu[07-09,12]."""
    if "[" not in nodes:
        return nodes.split(",")[0] or "localhost"
    try:
        listed = subprocess.run(
            ["scontrol", "show", "hostnames", nodes], capture_output=True, check=True, text=True
        )
        return listed.stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        name, _, numbers = nodes.partition("[")
        return name + numbers.replace(",", "-").split("-")[0].rstrip("]")


def _is_lost(error: BaseException) -> bool:
    text = str(error).lower()
    signs = ("connection closed by peer", "connection reset", "broken pipe", "timed out", "nccl")
    return isinstance(error, dist.DistBackendError) or any(sign in text for sign in signs)
