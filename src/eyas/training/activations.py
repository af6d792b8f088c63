"""What a block keeps for its backward, counted on a small model of the same make.

Per token these bytes are linear in the width C and in the width F of the channel mix,

    kept(C, F) = wide C + wider F + fixed

(head size and ranks are what they are). Three small models tell the three numbers, so that they
follow from the code that will run, whatever it fuses, keeps or makes again.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from eyas.adapters import Method, Part, attach
from eyas.adapters.outline import sketched
from eyas.errors import UserError
from eyas.models import Model, Shape, create
from eyas.quant import FrozenConfig
from eyas.wkv import Backend

_LENGTHS = 64, 128
_LAYERS = 3


@dataclass(frozen=True)
class Kept:
    """Bytes of one block for each token, by what they are proportional to."""

    wide: float  # C
    wider: float  # F
    fixed: float

    def bytes_of(self, shape: Shape, tokens: int) -> int:
        per_token = self.wide * shape.width + self.wider * shape.ffn_width + self.fixed
        return round(tokens * per_token)


def kept_by_block(
    shape: Shape,
    dtype: torch.dtype,
    method: Method,
    train_parts: tuple[Part, ...] = (),
    frozen: FrozenConfig = FrozenConfig(),
    backend: Backend | None = None,
    products: torch.dtype | None = None,
) -> Kept:
    """Counts it on the CPU. Raises UserError where the method fits no width of the model."""
    problem: UserError | None = None
    for width in _widths(shape):
        try:
            sizes = (width, 2 * width), (2 * width, 2 * width), (width, 4 * width)
            models = [
                _small(shape, *size, dtype, method, train_parts, frozen, backend) for size in sizes
            ]
            for model in models:
                model.products = products
            found = [_a_token(model) for model in models]
        except UserError as error:
            problem = error
        else:
            wide, wider = (found[1] - found[0]) / width, (found[2] - found[0]) / (2 * width)
            return Kept(wide, wider, found[0] - wide * width - wider * 2 * width)
    assert problem
    raise problem


def _widths(shape: Shape) -> Iterator[int]:
    """Of models that a method may fit where it fits the large one."""
    return (
        heads * shape.head_size
        for heads in range(1, shape.num_heads + 1)
        if shape.num_heads % heads == 0
    )


def _small(
    shape: Shape,
    width: int,
    ffn_width: int,
    dtype: torch.dtype,
    method: Method,
    train_parts: tuple[Part, ...],
    frozen: FrozenConfig,
    backend: Backend | None,
) -> Model:
    heads = width // shape.head_size
    small = dataclasses.replace(
        shape,
        num_layers=_LAYERS,
        width=width,
        num_heads=heads,
        ffn_width=ffn_width,
        vocab_size=8,
        ranks=_ranks(shape),
    )
    model = create(small, 0, backend)
    model.dtype = dtype
    # Codes are not kept for the backward, whichever they are.
    quant = FrozenConfig() if frozen.quant == "none" else FrozenConfig(quant="int8")
    attach(model, sketched(method), train_parts=train_parts, frozen=quant)
    return model


def _ranks(shape: Shape) -> dict[str, int]:
    """With one for the values of RWKV-7, which a model of a single layer has no use for."""
    if shape.version != "x070" or "v" in shape.ranks:
        return shape.ranks
    return {**shape.ranks, "v": shape.ranks.get("unused v", shape.ranks["a"])}


def _a_token(model: Model) -> float:
    """What the last block keeps for each token."""
    short, long = _LENGTHS
    with_last = _kept(model, long) - _kept(model, short)
    model.blocks = model.blocks[:-1]
    without = _kept(model, long) - _kept(model, short)
    return (with_last - without) / (long - short)


def _kept(model: Model, length: int) -> int:
    """Bytes of all that autograd keeps of a forward, but for the model's own tensors."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    found: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        found.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor), torch.enable_grad():
        hidden, _ = model.hidden(torch.zeros(1, length, dtype=torch.int64))
    del hidden
    return sum(t.untyped_storage().nbytes() for p, t in found.items() if p not in own)
