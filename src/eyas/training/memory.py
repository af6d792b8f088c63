"""The memory that a run will need, by part, before anything is loaded or computed.

    peak = process + weights + adapter + gradients + optimizer + states
           + max(at the loss:     activations of all blocks + logits + the head as it is multiplied,
                 in the backward: activations of all blocks + what one block makes on its way)

With recomputation the activations of all blocks are their inputs, and the backward adds one
block's. What a block keeps is counted (`activations`), what is held follows from the shapes
(`adapters.outline`); what is left to fit are the few numbers of `Machine`.
"""

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from eyas.adapters import Method, Part, adapter_tensors
from eyas.adapters.lora import LowRankLinear
from eyas.adapters.outline import outlined
from eyas.data import BatchConfig
from eyas.models import Linear, Model, Shape
from eyas.quant import FrozenConfig, QuantizedLinear, cast_frozen
from eyas.training.activations import Kept, kept_by_block
from eyas.training.long import kept_bytes
from eyas.training.loop import LoopConfig
from eyas.training.loss import block_rows
from eyas.wkv import Backend

_GRADIENT, _MOMENTS = 4, 8  # bytes of a trained number, float32


@dataclass(frozen=True)
class Machine:
    """What a device adds to what is held.

    process: bytes of Python and PyTorch, of CUDA's context. apart: of what is allocated and freed
    in turn, how much its memory takes where pieces stay free between others. block: what one block
    makes on its way back, in what it keeps.
    """

    process: int
    apart: float
    block: float


# Fitted by benchmarks/memory.py --fit to twelve peaks on a CPU; of GPUs none has confirmed it.
MACHINES = {
    "cpu": Machine(process=580 * 2**20, apart=1.1, block=0.5),
    "cuda": Machine(process=600 * 2**20, apart=1.05, block=1.0),
}


@dataclass(frozen=True)
class Plan:
    """What a run's memory follows from."""

    shape: Shape
    stored: torch.dtype  # of the weights in the file
    dtype: torch.dtype  # of the activations
    method: Method
    train_parts: tuple[Part, ...] = ()
    targets: tuple[str, ...] = ()
    frozen: FrozenConfig = field(default_factory=FrozenConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    longest: int | None = None  # tokens of the longest row there is, below the context
    device: str = "cpu"  # or cuda
    backend: Backend | None = None
    products: torch.dtype | None = None  # what the model multiplies in, if not in `dtype`

    def parts(self, machine: Machine | None = None) -> dict[str, int]:
        """Bytes at the peak of a step. Raises UserError where the method does not fit the model."""
        held, machine = self._held, machine or MACHINES[self.device]
        item = self.dtype.itemsize
        tokens = self.batch.micro_batch * min(self.row, self.loop.chunk or self.row)
        block = round(machine.apart * self._kept.bytes_of(self.shape, tokens))
        inputs = tokens * item * self.shape.width * self.shape.num_layers
        kept = inputs if self.loop.recompute else block * self.shape.num_layers
        again = block if self.loop.recompute else 0
        rows = min(tokens, block_rows(self.shape.vocab_size * 4))
        logits = 2 * rows * self.shape.vocab_size * 4 + 3 * tokens * self.shape.width * item
        on_the_way = again + round(machine.block * block)
        loss_is_peak = logits + held.head > on_the_way + held.widest
        return {
            "weights": held.weights,
            "adapter": held.adapter,
            "gradients": held.trained * _GRADIENT,
            "optimizer": held.trained * _MOMENTS,
            "activations": kept if loss_is_peak else kept + on_the_way,
            "logits": logits if loss_is_peak else 0,
            "states": self._states(item),
            "workspace": machine.process + (held.head if loss_is_peak else held.widest),
        }

    def total(self) -> int:
        return sum(self.parts().values())

    @cached_property
    def _held(self) -> "_Held":
        model = outlined(
            self.shape, self.stored, self.method, self.train_parts, self.targets, self.frozen
        )
        return _held(model, self)

    @cached_property
    def _kept(self) -> Kept:
        return kept_by_block(
            self.shape,
            self.dtype,
            self.method,
            self.train_parts,
            self.frozen,
            self.backend,
            self.products,
        )

    @property
    def row(self) -> int:
        """Tokens of the longest row."""
        return min(self.batch.ctx, self.longest or self.batch.ctx)

    def _states(self, item: int) -> int:
        if not self.loop.chunk:
            return 0
        s = self.shape
        wkv = s.width * s.head_size * max(item, 4)
        state = s.num_layers * (wkv + 2 * s.width * item) * self.batch.micro_batch
        return kept_bytes(-(-self.row // self.loop.chunk), state)

    def changed(self, **settings: object) -> "Plan":
        """The plan with other settings of its frozen part, batch or loop, by their names.

        What was worked out already and does not change is taken over.
        """
        new: dict[str, Any] = {}
        for name in ("frozen", "batch", "loop"):
            table: Any = getattr(self, name)
            own = {key: value for key, value in settings.items() if hasattr(table, key)}
            new[name] = dataclasses.replace(table, **own)
        plan = dataclasses.replace(self, **new)
        for known in ("_held", "_kept"):
            if known in self.__dict__ and (known == "_kept" or plan.frozen == self.frozen):
                plan.__dict__[known] = self.__dict__[known]
        return plan


@dataclass(frozen=True)
class _Held:
    """Bytes that a model holds, and how many numbers train."""

    weights: int
    adapter: int
    trained: int
    head: int  # what the head takes while it is multiplied, beyond how it is stored
    widest: int  # the same of the widest linear of the blocks


def _held(model: Model, plan: Plan) -> _Held:
    cast_frozen(model, plan.frozen)
    elsewhere = "emb.weight" if plan.frozen.embedding_on_cpu and plan.device != "cpu" else ""
    frozen = (
        p.nbytes for n, p in model.named_parameters() if not p.requires_grad and n != elsewhere
    )
    products = plan.products or plan.dtype
    linears = [m for m in model.blocks.modules() if isinstance(m, (Linear, QuantizedLinear))]
    return _Held(
        weights=sum(frozen),
        adapter=sum(t.nbytes for t in adapter_tensors(model).values())
        - _waiting(model, plan.device),
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        head=_copy(model.head, products),
        widest=max(_copy(linear, products) for linear in linears),
    )


def _waiting(model: Model, device: str) -> int:
    """Bytes of an adapter that are in main memory while a GPU trains."""
    layers = [m for m in model.modules() if isinstance(m, LowRankLinear)] if device != "cpu" else []
    return sum(t.nbytes for layer in layers for t in layer.unread().values() if t is not None)


def _copy(linear: nn.Module, dtype: torch.dtype) -> int:
    """Bytes of the weight in the type that is computed in, where it is not stored so."""
    if isinstance(linear, Linear) and linear.weight.dtype == dtype:
        return 0
    assert isinstance(linear, (Linear, QuantizedLinear))
    return linear.out_features * linear.in_features * dtype.itemsize
