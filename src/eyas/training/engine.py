"""How a model is spread over processes, with PyTorch's own means.

replicated  DistributedDataParallel: each process holds the whole model and averages gradients;
            the optimizer's state is shared out (`ZeroRedundancyOptimizer`, ZeRO stage 1)
sharded     FSDP2 (`fully_shard`): each process holds a part of every tensor, the frozen and
            quantized base included, and gathers one block at a time (ZeRO stage 3)

The gradient of a step is that of the sum of all ranks' losses over the number of their trained
tokens, whatever the number of ranks.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import Annotated, Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from eyas.data import Batch
from eyas.errors import UserError
from eyas.models import Model, State
from eyas.training.long import ChunkedRows
from eyas.training.loss import batch_loss
from eyas.training.ranks import Ranks

Strategy = Literal[
    "auto",
    "ddp",
    "fsdp",
    "deepspeed_stage_1",
    "deepspeed_stage_2",
    "deepspeed_stage_3",
    "deepspeed_stage_1_offload",
    "deepspeed_stage_2_offload",
    "deepspeed_stage_3_offload",
]
Library = Literal["torch", "deepspeed"]
_MOST = 2**20
# An adapter's start is the same on all ranks and is not to be sent with every batch.
_SYNC = {"broadcast_buffers", "forward_sync_buffers"} & {
    *signature(DistributedDataParallel).parameters
}
_BUFFERS_STAY: dict[str, Any] = {max(_SYNC): False}  # the second one is newer


@dataclass(frozen=True)
class EngineConfig:
    """On what a run computes, and how it is spread over it."""

    accelerator: Annotated[
        Literal["auto", "gpu", "cpu", "mps"], "what computes; auto: a GPU where there is one"
    ] = "auto"
    devices: Annotated[int, "processes on this machine, one a device"] = 1
    num_nodes: Annotated[int, "machines; the command runs on each of them"] = 1
    rendezvous: Annotated[
        str | None, "HOST:PORT of one of several machines, where all meet; the same on each"
    ] = None
    strategy: Annotated[
        Strategy, "ddp: the whole model on each device; fsdp: a part of it; auto: ddp"
    ] = "auto"
    engine: Annotated[
        Library, "deepspeed: its stages run on DeepSpeed itself, with the extra eyas[deepspeed]"
    ] = "torch"

    def __post_init__(self) -> None:
        if self.engine == "deepspeed" and self.strategy in ("ddp", "fsdp"):
            raise ValueError(
                f"strategy = {self.strategy}: is PyTorch's own; leave --engine out, or take "
                "deepspeed_stage_1 (for ddp) or deepspeed_stage_3 (for fsdp)"
            )
        for name in ("devices", "num_nodes"):
            value = getattr(self, name)
            if not 0 < value <= _MOST:
                raise ValueError(f"{name} = {value} must be above 0 and at most {_MOST}")
        if self.num_nodes > 1 and not self.rendezvous:
            raise ValueError("num_nodes needs a rendezvous; add --rendezvous HOST:PORT")

    @property
    def world(self) -> int:
        """The processes that take part."""
        return self.devices * self.num_nodes

    @property
    def offload(self) -> bool:
        """Whether what is not in use waits in main memory."""
        return self.strategy.endswith("_offload")

    @property
    def sharded(self) -> bool:
        """Whether each process holds a part of the weights."""
        if self.engine == "deepspeed":
            return self.zero_stage == 3
        return self.strategy == "fsdp" or "stage_3" in self.strategy or self.offload

    @property
    def zero_stage(self) -> int:
        """DeepSpeed's stage."""
        return next((stage for stage in (2, 3) if f"stage_{stage}" in self.strategy), 1)

    @property
    def gathers_again(self) -> bool:
        """Whether a block's weights are let go after its forward; else after its backward."""
        return not ("stage_1" in self.strategy or "stage_2" in self.strategy)

    def what(self) -> str:
        """What the strategy is here, in words."""
        if self.engine == "deepspeed":
            waiting = "weights and optimizer" if self.sharded else "the optimizer"
            waits = f", {waiting} in main memory" if self.offload else ""
            return f"DeepSpeed's ZeRO stage {self.zero_stage}{waits}"
        if self.sharded:
            again = ", gathered again for the backward" if self.gathers_again else ""
            waits = ", waiting in main memory" if self.offload else ""
            return f"FSDP2: weights, gradients and optimizer sharded{again}{waits}"
        return "DDP: the model on each device, the optimizer's state shared out"


def backend_for(config: EngineConfig) -> str:
    """What the ranks talk by: nccl between GPUs (and gloo for what is on the CPU), else gloo."""
    if config.accelerator == "cpu" or not torch.cuda.is_available():
        return "gloo"
    return "cpu:gloo,cuda:nccl"


def share_threads(config: EngineConfig, ranks: Ranks) -> None:
    """Several processes that compute on one machine's CPU take a part of its cores each."""
    if ranks.beside > 1 and backend_for(config) == "gloo":
        torch.set_num_threads(max(1, torch.get_num_threads() // ranks.beside))


def device_of(config: EngineConfig, ranks: Ranks) -> torch.device:
    """The device of this process. Raises UserError where there is none of that kind."""
    kind = config.accelerator
    if kind == "auto":
        kind = "gpu" if torch.cuda.is_available() else "cpu"
    if kind == "cpu":
        return torch.device("cpu")
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("--accelerator mps: PyTorch finds none here; take cpu, or leave it out")
        return torch.device("mps")
    if not torch.cuda.is_available():
        raise UserError(
            "--accelerator gpu: PyTorch finds no GPU here; leave it out to train on the CPU, or "
            "install PyTorch for your GPU (pytorch.org says how)"
        )
    if ranks.local >= torch.cuda.device_count():
        raise UserError(
            f"--devices {config.devices}: this machine has {torch.cuda.device_count()} GPUs; "
            "ask for no more than that"
        )
    return torch.device("cuda", ranks.local)


@dataclass(frozen=True)
class Engine:
    """A model in its place among the ranks, ready to train."""

    model: Model
    module: nn.Module  # what is called for the loss of a batch
    ranks: Ranks = field(default_factory=Ranks)
    sharded: bool = False
    chunked: ChunkedRows | None = None
    apart: Sequence[Tensor] = ()  # trained, and whole on each rank though the model is sharded

    @property
    def shares_optimizer(self) -> bool:
        """Whether each rank keeps a part of the optimizer's state for a model that all hold."""
        return self.ranks.world > 1 and not self.sharded

    def value(self, batch: Batch) -> float:
        """The loss on this rank's batch, summed over its trained positions."""
        with torch.no_grad():
            if self.chunked:
                value = self.chunked.value(self._loss, batch)
            else:
                value = self._loss(batch)[0].item()
        if self.sharded:
            self._let_go()
        return value

    def backward(self, batch: Batch, factor: float, last: bool = True) -> float:
        """Adds `factor` times the gradient of that loss; gives the loss.

        The ranks' gradients meet in the last batch of a step.
        """
        if self.chunked:
            value = self.chunked.backward(
                self._loss,
                batch,
                factor,
                lambda nearest: self._meeting(last and nearest),
                state_bytes(self.model) * len(batch.tokens),
            )
        else:
            with self._meeting(last):
                loss, _ = self._loss(batch)
                (loss * factor).backward()
            # Behind the backward: a GPU has work in hand while the CPU waits for the number.
            value = loss.item()
        if last:
            self._average_apart()
        return value

    def _average_apart(self) -> None:
        for parameter in self.apart:
            if parameter.grad is None:  # no document of this rank begins in the batch
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
            parameter.grad /= self.ranks.world

    def _let_go(self) -> None:
        """Lets go of gathered weights after a forward that no backward follows."""
        for module in (self.module, *self.model.layers()):
            module.reshard()  # type: ignore[operator]

    def _loss(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        out: tuple[Tensor, State] = self.module(batch, state)
        return out

    @contextmanager
    def _meeting(self, last: bool) -> Iterator[None]:
        """For a forward and its backward, in which gradients meet or do not yet."""
        if self.sharded:
            self.module.set_requires_gradient_sync(last)  # type: ignore[operator]
        if isinstance(self.module, DistributedDataParallel) and not last:
            with self.module.no_sync():
                yield
        else:
            yield

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The full tensors, on all ranks, of what may be sharded. All ranks have to call it."""
        return {name: full(tensor) for name, tensor in tensors.items()}


def state_bytes(model: Model) -> int:
    """Of a row's state, told by the shape: the weights may be sharded."""
    s, item = model.shape, model.dtype.itemsize
    wkv = s.num_heads * s.head_size**2 * torch.promote_types(model.dtype, torch.float32).itemsize
    return s.num_layers * (wkv + 2 * s.width * item)


class BatchLoss(nn.Module):
    """The loss of a batch as a module, which is what DDP, FSDP2 and DeepSpeed wrap."""

    def __init__(self, model: Model, logit_l2: float, recompute: bool) -> None:
        super().__init__()
        self.model, self.logit_l2, self.recompute = model, logit_l2, recompute

    def forward(self, batch: Batch, state: State | None) -> tuple[Tensor, State]:
        return batch_loss(self.model, batch, self.logit_l2, self.recompute, state)


def spread(
    model: Model,
    config: EngineConfig,
    ranks: Ranks,
    logit_l2: float = 0.0,
    recompute: bool = False,
    chunked: ChunkedRows | None = None,
) -> Engine:
    """Puts a model, whose adapter is attached and which is on its device, among the ranks.

    The process group is there already. Sharding changes the model's own parameters.
    """
    module = BatchLoss(model, logit_l2, recompute)
    if config.sharded and (ranks.world > 1 or config.offload):
        return Engine(model, module, ranks, True, chunked, _shard(module, config, ranks))
    if ranks.world == 1:
        return Engine(model, module, ranks, chunked=chunked)
    # All ranks have read the same base. What DDP does not know it does not send around at the
    # start, and it may lie elsewhere, as an embedding in main memory does.
    frozen = [name for name, p in module.named_parameters() if not p.requires_grad]
    frozen += [name for name, _ in module.named_buffers()]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, frozen)
    replicated = DistributedDataParallel(
        module, gradient_as_bucket_view="stage_2" in config.strategy, **_BUFFERS_STAY
    )
    return Engine(model, replicated, ranks, chunked=chunked)


def _shard(module: BatchLoss, config: EngineConfig, ranks: Ranks) -> list[nn.Parameter]:
    """Gives what trains and is whole on each rank all the same."""
    # Half a second of imports, for those who need it.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

    # RWKV-7's blocks hand on layer 0's values as they got them, which FSDP2's hooks have made a
    # view. It warns of changing such a view in place, which nothing does.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    device = module.model.ln_out.weight.device.type
    if not dist.is_initialized():  # one process, whose weights wait in main memory
        meet_alone()
    mesh = init_device_mesh(device, (ranks.world,))
    offload = CPUOffloadPolicy(pin_memory=device == "cuda") if config.offload else OffloadPolicy()
    states = _initial_states(module)
    for block in module.model.layers():
        fully_shard(
            block,
            mesh=mesh,
            reshard_after_forward=config.gathers_again,
            offload_policy=offload,
            ignored_params=states,
        )
    fully_shard(module, mesh=mesh, offload_policy=offload, ignored_params=states)
    return [p for p in module.parameters() if p in states and p.requires_grad]


def _initial_states(module: BatchLoss) -> set[nn.Parameter]:
    """What is read before the block it lies in is gathered, and so is not sharded.

    Raises UserError where other weights train beside them: they would share an optimizer.
    """
    named = [(name.endswith(".time_state"), p) for name, p in module.named_parameters()]
    if len({held for held, p in named if p.requires_grad}) > 1:
        raise UserError(
            "--strategy: the model's initial states cannot train together with sharded weights; "
            "take --strategy ddp, or --method state, which trains the states alone"
        )
    return {p for held, p in named if held}


def meet_alone() -> None:
    """Makes a process group of this process, for what shards over a group and nothing else."""
    dist.init_process_group(init_method="tcp://localhost:0", rank=0, world_size=1)


def full(tensor: Tensor) -> Tensor:
    """The tensor itself, gathered where it is sharded (a DTensor)."""
    gather = getattr(tensor, "full_tensor", None)
    return gather() if gather else tensor


def norm_of(tensors: Sequence[Tensor]) -> float:
    """The 2-norm of all of them together, of the whole tensors where they are sharded.

    Summed in float64, so that the result is the same float32 however they are sharded.
    """
    if not tensors:
        return 0.0
    parts = [getattr(tensor, "to_local", lambda t=tensor: t)() for tensor in tensors]
    dtype = torch.float32 if parts[0].device.type == "mps" else torch.float64
    if all(part.is_cuda and part.numel() for part in parts):  # a few kernels, not one for each
        norms = list(torch._foreach_norm(parts, 2, dtype))
    else:
        norms = [torch.linalg.vector_norm(part, dtype=dtype) for part in parts]
    square = torch.stack(norms).square().sum().cpu()
    if any(hasattr(tensor, "full_tensor") for tensor in tensors):
        dist.all_reduce(square)
    return square.sqrt().item()
