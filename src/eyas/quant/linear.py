"""A frozen linear whose weight is kept as codes: y = x dequantize(codes)^T.

The dense weight exists only during a product. The backward, dx = dy dequantize(codes), makes it
again, so that what autograd keeps from the forward is the codes alone.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, TypeAlias, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from eyas.models.products import product_type
from eyas.native import matvec


@runtime_checkable
class Quantizer(Protocol):
    """A way of keeping a weight in fewer bytes: a frozen dataclass."""

    name: ClassVar[str]

    def quantize(self, weight: Float[Tensor, "O I"]) -> dict[str, Tensor]:
        """The tensors kept instead of the weight (bf16, fp16, fp32), each one-dimensional.

        The same bits on every machine and for any number of threads. Raises ValueError where
        the weight holds NaN or inf.
        """
        ...

    def dequantize(
        self,
        tensors: Mapping[str, Tensor],
        shape: tuple[int, int],
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "O I"]:
        """The weight that these tensors stand for, rounded from float32 to dtype."""
        ...

    def stored(self, tensors: Mapping[str, Tensor]) -> matvec.Stored | None:
        """These tensors for the compiled product of few vectors, if it reads them."""
        ...


class QuantizedLinear(nn.Module):
    """y = x W^T without bias, W = dequantize(codes), computed in the type of x.

    The quantizer's tensors are frozen parameters under their own names. They keep their types
    when a model is cast, as `model.to(torch.bfloat16)` does: a rounded scale is another weight.
    """

    def __init__(
        self, quantizer: Quantizer, shape: tuple[int, int], tensors: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = shape
        self.quantizer = quantizer
        for name, tensor in tensors.items():
            self.register_parameter(name, nn.Parameter(tensor, requires_grad=False))

    @classmethod
    def of(cls, weight: Float[Tensor, "O I"], quantizer: Quantizer) -> "QuantizedLinear":
        """Quantizes the weight. Raises ValueError where it holds NaN or inf."""
        rows, columns = weight.shape
        return cls(quantizer, (rows, columns), quantizer.quantize(weight))

    def forward(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        if matvec.fits(x, self.in_features):
            stored = self.quantizer.stored(cast(dict[str, Tensor], self._parameters))
            if stored is not None:
                return matvec.product(x, stored, self.out_features)
        names, tensors = zip(*self.named_parameters(recurse=False), strict=True)
        shape = self.out_features, self.in_features
        how = self.quantizer, shape, names, product_type(x)
        out: Tensor = _Product.apply(x, how, *tensors)
        return out

    def dense_weight(self, dtype: torch.dtype = torch.float32) -> Float[Tensor, "O I"]:
        """The weight as this layer uses it where x has that type."""
        tensors = {name: tensor.detach() for name, tensor in self.named_parameters(recurse=False)}
        return self.quantizer.dequantize(tensors, (self.out_features, self.in_features), dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "QuantizedLinear":
        def moved(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            return result if result.dtype == tensor.dtype else tensor.to(result.device)

        super()._apply(moved, recurse)
        return self


_How: TypeAlias = tuple[Quantizer, tuple[int, int], tuple[str, ...], torch.dtype]


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, how: _How, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        ctx.how = how
        quantizer, shape, names, dtype = how
        weight = quantizer.dequantize(dict(zip(names, tensors, strict=True)), shape, dtype)
        return F.linear(x.to(dtype), weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        quantizer, shape, names, dtype = ctx.how
        tensors = dict(zip(names, ctx.saved_tensors, strict=True))
        weight = quantizer.dequantize(tensors, shape, dtype)
        return (grad.to(dtype) @ weight).to(grad.dtype), None, *(None for _ in names)


def codes_hash(model: nn.Module) -> str:
    """SHA-256 over name, type, shape and bytes of every quantized layer's tensors, by name."""
    layers = {name: m for name, m in model.named_modules() if isinstance(m, QuantizedLinear)}
    tensors = {f"{path}.{k}": t for path, m in layers.items() for k, t in m.named_parameters()}
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.view(torch.uint8).numpy().data)
    return digest.hexdigest()
