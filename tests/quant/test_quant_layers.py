"""Every quantizer, and the linear made of it; a new one is tested by being in QUANTIZERS."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from tolerance import assert_close
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from eyas.quant import NF4, QUANTIZERS, Int8, QuantizedLinear, codes_hash, int8

EVERY = pytest.mark.parametrize(
    "quantizer", [*dict.fromkeys(QUANTIZERS.values()), NF4(double=False)], ids=repr
)
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]
EVERYWHERE = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
SHAPES = [(64, 128), (48, 80), (33, 63), (7, 5)]  # blocks end with rows, inside rows, short

# Relative error on Gaussian weights: of a real model's worst matrix (int8, nf4), and the best
# 16 levels cannot reach (fp4).
WORST_ERROR = {"int8": 0.008, "nf4": 0.098, "fp4": 0.13}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relative_error(quantizer, weight):
    dense = quantizer.dequantize(quantizer.quantize(weight), tuple(weight.shape)).double()
    return ((dense - weight.double()).norm() / weight.double().norm()).item()


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@EVERY
@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e30])
def test_error_is_bounded_at_any_size(quantizer, size):
    assert relative_error(quantizer, random(256, 320) * size) <= WORST_ERROR[quantizer.name]


@pytest.mark.parametrize("size", [1e-37, 1e-7, 0.02, 1e8, 1e38])
def test_int8_is_off_by_half_a_step_at_most(size):
    weight = (random(20, 96) * size).clamp(-3e38, 3e38)
    weight[3] *= 1e-5
    dense = Int8().dequantize(Int8().quantize(weight), (20, 96))
    steps = weight.view(-1, 64).abs().amax(1, keepdim=True).double() / 127
    off = (dense.view(-1, 64).double() - weight.view(-1, 64).double()).abs()
    assert (off <= steps / 2 * (1 + torch.finfo(torch.float16).eps)).all()


def test_int8_gives_back_what_lies_on_its_grid():
    weight = torch.randint(-127, 128, (10, 64), generator=torch.Generator().manual_seed(0)) / 1024
    weight[:, 7] = -127 / 1024
    assert torch.equal(Int8().dequantize(Int8().quantize(weight), (10, 64)), weight)


def test_int8_scales_are_narrow_where_nothing_is_lost():
    weight = random(16, 64)
    assert Int8().quantize(weight)["scales"].dtype == torch.float16
    weight[5] *= 1e-4  # below the normal range of float16
    assert Int8().quantize(weight)["scales"].dtype == torch.float32
    weight[5] = 0
    assert Int8().quantize(weight)["scales"].dtype == torch.float16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_int8_in_one_kernel_has_the_same_bits(dtype):
    tensors = Int8().quantize(random(40, 128))
    dense = int8._in_one_kernel(tensors["codes"], tensors["scales"], dtype)
    assert torch.equal(dense.view(40, 128), Int8().dequantize(tensors, (40, 128), dtype))


@EVERY
@pytest.mark.parametrize("shape", SHAPES)
def test_a_narrow_weight_is_quantized_as_its_values_are(quantizer, shape):
    for dtype in (torch.bfloat16, torch.float16):
        weight = random(*shape).to(dtype)
        narrow, wide = quantizer.quantize(weight), quantizer.quantize(weight.float())
        assert all(torch.equal(narrow[name], wide[name]) for name in wide)


@EVERY
def test_zero_stays_zero(quantizer):
    weight = random(6, 150)
    weight[2:] = 0  # whole blocks, and the short one
    dense = quantizer.dequantize(quantizer.quantize(weight), (6, 150))
    assert not dense[2:].any()
    assert dense[:2].any()


@EVERY
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_finite_is_refused(quantizer, value, dtype):
    for place in ((0, 0), (50, 3), (64, 64)):
        weight = random(65, 65).to(dtype)
        weight[place] = value
        with pytest.raises(ValueError, match="NaN or inf"):
            QuantizedLinear.of(weight, quantizer)


@EVERYWHERE
@EVERY
@pytest.mark.parametrize("shape", [(512, 1030), (33, 63)])
def test_bits_depend_on_neither_threads_nor_device(quantizer, shape, device):
    weight = random(*shape)
    with threads(1):
        expected = quantizer.quantize(weight)
        dense = quantizer.dequantize(expected, shape, torch.bfloat16)
    with threads(2):
        tensors = quantizer.quantize(weight.to(device))
        again = quantizer.dequantize(tensors, shape, torch.bfloat16)
    assert all(torch.equal(tensors[name].cpu(), expected[name]) for name in expected)
    assert torch.equal(again.cpu(), dense)


class LargestAllocation(TorchDispatchMode):
    """The bytes of the largest storage that any operation returned."""

    def __init__(self, known: torch.Tensor) -> None:
        super().__init__()
        self.known, self.bytes = known.untyped_storage().data_ptr(), 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage.data_ptr() != self.known:
                    self.bytes = max(self.bytes, storage.nbytes())
        return result


@EVERY
def test_nothing_of_the_size_of_the_weight_is_made(quantizer):
    weight = random(2048, 2048)
    with LargestAllocation(known=weight) as largest:
        quantizer.quantize(weight)
    assert largest.bytes <= weight.nbytes / 4  # int8's codes


@EVERYWHERE
@EVERY
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_forward_is_a_linear_with_the_dense_weight(quantizer, shape, dtype, device):
    layer = QuantizedLinear.of(random(*shape), quantizer).to(device)
    assert (layer.out_features, layer.in_features) == shape
    x = random(2, 17, shape[1], seed=1).to(device, dtype)  # for fewer: native/test_native_matvec
    weight = layer.dense_weight(dtype)
    assert weight.dtype == dtype
    assert torch.equal(weight, layer.dense_weight().to(dtype))
    assert torch.equal(layer(x), F.linear(x, weight))
    with torch.inference_mode():
        assert torch.equal(layer(x), F.linear(x, weight))


@EVERYWHERE
@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_of_x_is_that_of_a_linear(quantizer, dtype, device):
    layer = QuantizedLinear.of(random(48, 80), quantizer).to(device)
    x = random(5, 80, seed=1).to(device, dtype).requires_grad_()
    upstream = random(5, 48, seed=2).to(device, dtype)
    (actual,) = torch.autograd.grad(layer(x), x, upstream)
    (expected,) = torch.autograd.grad(F.linear(x, layer.dense_weight(dtype)), x, upstream)
    assert_close(actual, expected, "gradient")
    again = checkpoint(layer, x, use_reentrant=False)
    assert torch.equal(torch.autograd.grad(again, x, upstream)[0], actual)
    assert not any(parameter.requires_grad for parameter in layer.parameters())


@EVERY
def test_gradient_in_float64(quantizer):
    layer = QuantizedLinear.of(random(5, 7), quantizer)
    x = random(3, 7, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


@EVERY
def test_autograd_keeps_codes_alone(quantizer):
    layer = QuantizedLinear.of(random(64, 128), quantizer)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        layer(random(2, 128).requires_grad_())
    own = {parameter.data_ptr() for parameter in layer.parameters()}
    assert saved
    assert {tensor.data_ptr() for tensor in saved} == own


@EVERY
def test_state_dict_round_trip(quantizer):
    layer = QuantizedLinear.of(random(33, 63), quantizer)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    other = QuantizedLinear.of(random(33, 63, seed=1), quantizer)
    other.load_state_dict(torch.load(io.BytesIO(file.getvalue())))
    assert torch.equal(layer.dense_weight(), other.dense_weight())
    assert codes_hash(layer) == codes_hash(other)
    rebuilt = QuantizedLinear(quantizer, (33, 63), layer.state_dict())
    assert torch.equal(layer.dense_weight(), rebuilt.dense_weight())


@EVERY
def test_casting_a_model_leaves_the_codes_as_they_are(quantizer):
    model = nn.Sequential(QuantizedLinear.of(random(64, 128), quantizer), nn.LayerNorm(64))
    before = {name: tensor.clone() for name, tensor in model[0].state_dict().items()}
    for cast in (model.bfloat16, model.half, model.double, model.float):
        cast()
        model.to("cpu", torch.bfloat16)
        assert model[1].weight.dtype == torch.bfloat16
        for name, tensor in model[0].state_dict().items():
            assert tensor.dtype == before[name].dtype
            assert torch.equal(tensor, before[name])
    model.to("meta", torch.float64)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model[0].codes.dtype == before["codes"].dtype


def test_the_hash_is_of_every_bit_and_name():
    def model(seed=0, names=("a", "b")):
        layers = (QuantizedLinear.of(random(8, 64, seed=seed + i), NF4()) for i in (0, 1))
        return nn.ModuleDict(dict(zip(names, layers, strict=True)))

    assert codes_hash(model()) == codes_hash(model())
    hashes = {codes_hash(model()), codes_hash(model(1)), codes_hash(model(names=("a", "c")))}
    changed = model()
    changed["b"].offset.data.view(torch.int32)[0] += 1
    assert len(hashes | {codes_hash(changed), codes_hash(nn.Linear(2, 2))}) == 5
