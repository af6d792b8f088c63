"""A model's forward for generating, which reads tokens that come one at a time by the library.

A token is a product with every matrix and some hundred operations on small vectors. The products
are bound by memory; the vectors take as long again where each operation is one of PyTorch's, and
almost no time in one call for the whole token.
"""

from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from eyas.models import LayerState, Linear, Model, State
from eyas.native import library, matvec, operators, token7
from eyas.quant import QuantizedLinear

AnyModel = TypeVar("AnyModel", bound=nn.Module)


def compiled(model: AnyModel) -> "AnyModel | CompiledTokens":
    """The model, reading single tokens by the library where it can.

    It can for RWKV-7 on the CPU in float32, dense or quantized, whose blocks have no layers of
    adapters. What it reads are the weights as they are now: make it again when they have changed
    or moved.
    """
    if not isinstance(model, Model) or not _suits(model):
        return model
    found = {path: _stored(module) for path, module in _products(model).items()}
    stored = {path: weight for path, weight in found.items() if weight is not None}
    return CompiledTokens(model, stored) if len(stored) == len(found) else model


def _suits(model: Model) -> bool:
    size = model.shape.head_size
    return (
        model.shape.version == "x070"
        and library() is not None
        and model.dtype == torch.float32
        and all(parameter.is_cpu for parameter in model.parameters())
        and size % 4 == 0
        and size <= token7.MAX_HEAD
    )


def _products(model: Model) -> dict[str, nn.Module]:
    """The layers that must be plain products, by their path."""
    own = {"att": ("receptance", "key", "value", "output"), "ffn": ("key", "value")}
    paths = [f"{part}.{name}" for part, names in own.items() for name in names]
    blocks = [f"blocks.{i}.{path}" for i in range(model.shape.num_layers) for path in paths]
    return {path: model.get_submodule(path) for path in blocks}


def _stored(module: nn.Module) -> matvec.Stored | None:
    if type(module) is Linear:
        return matvec.plain(module.weight.detach())
    if type(module) is QuantizedLinear:
        return module.quantizer.stored(dict(module.named_parameters(recurse=False)))
    return None


class CompiledTokens(nn.Module):
    """`model(tokens, state) -> (logits, state)`, `hidden` and `head` as the model's, no gradient.

    stored: the weights of `_products`.
    """

    def __init__(self, model: Model, stored: dict[str, matvec.Stored]) -> None:
        super().__init__()
        self.model = model
        self._stored = stored
        self._own: list[Tensor] = []  # copies that the library reads
        shape = model.shape
        layers = [self._layer(number) for number in range(shape.num_layers)]
        self._native = token7.Model(
            *(shape.num_layers, shape.width, shape.num_heads, shape.ffn_width),
            (token7.Layer * len(layers))(*layers),
            self._vector(model.ln_out.weight),
            self._vector(model.ln_out.bias),
        )

    @property
    def head(self) -> nn.Module:
        return self.model.head

    @torch.inference_mode()
    def forward(
        self, tokens: Int[Tensor, "B T"], state: State | None = None
    ) -> tuple[Float[Tensor, "B T V"], State]:
        """Logits of the token after each one, and the state after the last."""
        hidden, state = self.hidden(tokens, state)
        return self.head(hidden), state

    @torch.inference_mode()
    def hidden(
        self, tokens: Int[Tensor, "B T"], state: State | None = None
    ) -> tuple[Float[Tensor, "B T C"], State]:
        """What the head reads; longer pieces and more than 32 rows go to the model itself."""
        batch, length = tokens.shape
        if length != 1 or not 0 < batch <= matvec.MAX_ROWS:
            return self.model.hidden(tokens, state)
        shape = self.model.shape
        before = self.model.initial_state(batch) if state is None else state
        x = F.embedding(tokens[:, 0].cpu(), self.model.emb.weight).float().contiguous()
        inputs = x.new_empty(2, shape.num_layers, batch, shape.width)
        head = shape.num_heads, shape.head_size, shape.head_size
        wkv = x.new_empty(shape.num_layers, batch, *head)
        after = tuple(map(LayerState, inputs[0].unbind(), wkv.unbind(), inputs[1].unbind()))
        hidden = x.new_empty(batch, 1, shape.width)
        read = _readable(before, after)
        token7.read_token(
            self._native,
            operators.best_target(),
            torch.get_num_threads(),
            batch,
            x.data_ptr(),
            [tensor.data_ptr() for tensor in read],
            [tensor.data_ptr() for layer in after for tensor in layer],
            hidden.data_ptr(),
        )
        return hidden, after

    def _layer(self, number: int) -> token7.Layer:
        block = f"blocks.{number}."
        found = dict(self.model.get_submodule(block[:-1]).named_parameters())
        unused = ("v0", "v1", "v2") if number == 0 else ()
        paths = {name: _path(name) for name in token7.VECTORS if name not in unused}
        vectors = {name: self._vector(found[p]) for name, p in paths.items() if p in found}
        matrices = {}
        for name in token7.MATRICES:
            path = _path(name)
            if block + path in self._stored:
                module: Any = self.model.get_submodule(block + path)
                sizes = module.in_features, module.out_features
                matrices[name] = token7.matrix(self._stored[block + path], *sizes)
            elif name not in unused:
                matrices[name] = self._low_rank(found[path])
        return token7.layer(vectors, matrices)

    def _vector(self, tensor: Tensor) -> int:
        self._own.append(tensor.detach().float().contiguous())
        return self._own[-1].data_ptr()

    def _low_rank(self, tensor: Float[Tensor, "I O"]) -> token7.Matrix:
        self._own.append(tensor.detach().t().contiguous())
        weight = matvec.plain(self._own[-1])
        assert weight is not None
        return token7.matrix(weight, *tensor.shape)


def _readable(state: State, like: State) -> list[Tensor]:
    """The tensors of a state for the library, which of wrong ones would read other memory."""
    tensors = [tensor.float().contiguous() for layer in state for tensor in layer]
    shapes = [tensor.shape for layer in like for tensor in layer]
    assert [tensor.shape for tensor in tensors] == shapes, "the state is another model's"
    return tensors


def _path(name: str) -> str:
    """Of a tensor or a linear in a block, by its name in the library."""
    if name.startswith("ln_x_"):
        return "att.ln_x." + name.removeprefix("ln_x_")
    if name.startswith("ln"):
        return name.replace("_", ".")
    return "ffn." + name.removeprefix("ffn_") if name.startswith("ffn_") else "att." + name
