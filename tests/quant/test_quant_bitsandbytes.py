"""NF4 and FP4 beside bitsandbytes itself, byte for byte, on the CPU."""

from fractions import Fraction

import pytest
import torch
from bitsandbytes import functional as peer
from tolerance import assert_close

from eyas.quant import FP4, NF4, Int8, QuantizedLinear, fastest
from eyas.quant.bitsandbytes import unpack
from eyas.quant.double import VALUES as DYNAMIC
from eyas.quant.nearest import nearest
from eyas.quant.nf4 import VALUES

BOTH = pytest.mark.parametrize("cls", [NF4, FP4])
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]
EVERYWHERE = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
SHAPES = [(64, 64), (320, 200), (33, 127), (5, 65), (1, 1)]


def middles(values):
    ascending = torch.tensor(sorted(values))
    return (ascending[1:] + ascending[:-1]) / 2


def with_ties(x):
    """Blocks of largest magnitude 1 that hold the middles between neighboring values."""
    flat = x.flatten().clone()
    places = torch.arange(len(flat)) % 64
    ties = torch.cat((torch.ones(1), middles(VALUES["nf4"]), middles(VALUES["fp4"])))
    return torch.where(places < len(ties), ties[places % len(ties)], flat * 0.1).view(x.shape)


KINDS = {
    "gaussian": lambda x: x * 0.02,
    "signs": torch.sign,
    "steps": lambda x: (x * 8).round() / 8,
    "ties": with_ties,
    "zero rows": lambda x: x * (torch.arange(len(x)) % 2)[:, None],
    "zero": torch.zeros_like,
    "heavy tails": lambda x: x**5,
    "tiny": lambda x: x * 1e-30,
    "below normal": lambda x: x * 1e-39,
    "huge": lambda x: x.clamp(-4, 4) * 2e37,
}


@BOTH
@DTYPES
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_are_those_of_bitsandbytes(cls, dtype, kind, shape):
    weight = KINDS[kind](torch.randn(shape, generator=torch.Generator().manual_seed(0))).to(dtype)
    weight = weight.clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max)
    codes, state = peer.quantize_4bit(weight, blocksize=64, quant_type=cls.name)
    single = cls(double=False).quantize(weight)
    assert torch.equal(single["codes"], codes.view(-1))
    assert torch.equal(single["scales"], state.absmax)

    tensors = cls().quantize(weight)
    assert torch.equal(tensors["codes"], codes.view(-1))
    exact = sum(map(Fraction, state.absmax.tolist())) / len(state.absmax)
    assert torch.equal(tensors["offset"], torch.tensor([float(exact)]))
    nested, nested_state = peer.quantize_blockwise(state.absmax - tensors["offset"], blocksize=256)
    assert torch.equal(tensors["scales"], nested)
    assert torch.equal(tensors["maxima"], nested_state.absmax)

    # With the mean that bitsandbytes took, one unit in the last place away at most.
    _, whole = peer.quantize_4bit(
        weight, blocksize=64, quant_type=cls.name, compress_statistics=True
    )
    if kind != "huge":  # there its sum overflows
        scale = tensors["offset"].abs().clamp(min=1e-30)
        assert_close(tensors["offset"] / scale, whole.offset[None] / scale)
    if torch.equal(whole.offset, tensors["offset"][0]):
        assert torch.equal(tensors["scales"], whole.absmax)
        assert torch.equal(tensors["maxima"], whole.state2.absmax)


@BOTH
@pytest.mark.parametrize("shape", [(64, 64), (300, 128), (512, 1088)])
def test_the_weight_is_the_one_bitsandbytes_makes_of_it(cls, shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    codes, state = peer.quantize_4bit(
        weight, blocksize=64, quant_type=cls.name, compress_statistics=True
    )
    tensors = {
        "codes": codes.view(-1),
        "scales": state.absmax,
        "maxima": state.state2.absmax,
        "offset": state.offset[None],
    }
    actual = cls().dequantize(tensors, shape, torch.bfloat16)
    assert torch.equal(actual, peer.dequantize_4bit(codes, state))


def test_tables_come_out_of_their_definitions():
    for name, values in VALUES.items():
        assert torch.equal(torch.tensor(values), peer.get_4bit_type(name, device="cpu"))
    dynamic = peer.create_dynamic_map()
    assert_close(torch.tensor(DYNAMIC), dynamic)
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):  # fused multiply-add
        assert torch.equal(torch.tensor(DYNAMIC), dynamic)


@pytest.mark.parametrize("name", VALUES)
def test_the_nearest_value_is_found_beside_every_bound(name):
    bounds = middles(VALUES[name])
    spread = torch.randn(10000, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    below, above = (bounds.nextafter(torch.tensor(end)) for end in (-2.0, 2.0))
    x = torch.cat((bounds, below, above, spread, torch.tensor([-1.0, 0.0, 1.0])))
    index = nearest(VALUES[name], torch.device("cpu"))(x).long()
    rank = torch.bucketize(x, bounds)  # the lower of two that are equally near
    assert torch.equal(torch.tensor(VALUES[name])[index], torch.tensor(sorted(VALUES[name]))[rank])


@EVERYWHERE
@BOTH
@DTYPES
def test_its_kernel_gives_the_same_bits_where_it_is_taken(cls, dtype, device):
    quick = fastest(cls(), torch.device(device))
    assert quick == cls()
    assert quick.unpack is unpack
    for shape in [(128, 192), (7, 64), (48, 80), (33, 63)]:
        weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        layer = QuantizedLinear.of(weight, cls()).to(device)
        same = QuantizedLinear(quick, shape, layer.state_dict())
        assert torch.equal(same.dense_weight(dtype), layer.dense_weight(dtype))
        assert torch.equal(same.dense_weight(torch.float64), layer.dense_weight(torch.float64))


def test_int8_has_no_faster_kernel():
    assert fastest(Int8(), torch.device("cpu")) == Int8()
