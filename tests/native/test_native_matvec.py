"""Products of few vectors with a stored weight, with every set of instructions there is here."""

import os
import threading

import pytest
import torch
from tolerance import assert_close
from torch import Tensor
from torch.nn import functional as F

from eyas.models import Linear
from eyas.native import library, matvec, operators
from eyas.quant import FP4, NF4, Int8, QuantizedLinear

TARGETS = operators.targets() if library() else ()
pytestmark = pytest.mark.skipif(not TARGETS, reason="no library")

PLAIN = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
QUANTIZED = {
    "int8": Int8(),
    "int8, wide scales": Int8(),
    "nf4": NF4(),
    "nf4, single": NF4(double=False),
    "fp4": FP4(),
}
KINDS = [*PLAIN, *QUANTIZED]
# out and in: whole vectors and blocks, and neither; blocks that go on in the next row; many groups.
SIZES = [(1, 1), (3, 5), (8, 64), (9, 33), (13, 70), (29, 192), (64, 128), (40, 200), (300, 320)]


def weight(kind: str, out: int, in_: int) -> tuple[matvec.Stored, Tensor]:
    """As the kernels read it, and the dense weight that it stands for, in float64."""
    g = torch.Generator().manual_seed(out + in_)
    dense = torch.randn(out, in_, generator=g)
    if kind in PLAIN:
        kept = dense.to(PLAIN[kind])
        stored, dense = matvec.plain(kept), kept
    else:
        dense = dense * 1e-7 if kind == "int8, wide scales" else dense
        quantizer = QUANTIZED[kind]
        tensors = quantizer.quantize(dense)
        stored, dense = quantizer.stored(tensors), quantizer.dequantize(tensors, (out, in_))
    assert stored is not None
    return stored, dense.double()


def vectors(rows: int, in_: int) -> Tensor:
    return torch.randn(rows, in_, generator=torch.Generator().manual_seed(rows))


@pytest.mark.parametrize("target", range(len(TARGETS)), ids=TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_product_with_the_dense_weight(kind, target):
    for out, in_ in SIZES:
        stored, dense = weight(kind, out, in_)
        for rows in (1, 2, 3, 5, 16):
            x = vectors(rows, in_)
            exact = F.linear(x.double(), dense)
            scale = exact.abs().max()
            assert_close(matvec.product(x, stored, out, target) / scale, exact / scale)


@pytest.mark.parametrize("target", range(len(TARGETS)), ids=TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_neither_threads_nor_other_vectors_change_a_bit(kind, target):
    for out, in_ in SIZES:
        stored, _ = weight(kind, out, in_)
        x = vectors(7, in_)
        together = matvec.product(x, stored, out, target, threads=1)
        assert torch.equal(matvec.product(x, stored, out, target, threads=5), together)
        for row in range(7):
            alone = matvec.product(x[row], stored, out, target, threads=2)
            assert torch.equal(alone, together[row])


def test_every_number_of_16_bits_is_widened_exactly():
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        kept = every.view(dtype)
        kept = kept[kept.isfinite()].view(-1, 1)
        for target in range(len(TARGETS)):
            got = matvec.product(torch.ones(1, 1), matvec.plain(kept), len(kept), target)
            assert torch.equal(got[0], kept[:, 0].float())


@pytest.mark.parametrize("kind", [*PLAIN, "int8", "nf4"])
def test_layers_use_it_where_no_gradient_is_needed(kind, monkeypatch):
    dense = Linear(70, 50).requires_grad_(False)
    torch.nn.init.normal_(dense.weight)
    if kind in PLAIN:
        layer = dense.to(PLAIN[kind])
    else:
        layer = QuantizedLinear.of(dense.weight, QUANTIZED[kind])
    calls, product = [], matvec.product
    monkeypatch.setattr(matvec, "product", lambda *args: calls.append(1) or product(*args))
    x = vectors(16, 70)
    exact = F.linear(x, layer.dense_weight().float())
    assert_close(layer(x), exact)
    assert_close(layer(x[:, None]), exact[:, None])
    assert len(calls) == 2
    wanted = x.clone().requires_grad_()
    assert_close(layer(wanted), exact)
    (grad,) = torch.autograd.grad(layer(wanted).sum(), wanted)
    assert_close(grad, layer.dense_weight().float().sum(0).expand(16, 70))
    assert_close(layer(torch.cat((x, x, x))), torch.cat((exact, exact, exact)))
    assert_close(layer(x.double()).float(), exact)
    monkeypatch.setattr(matvec, "library", lambda: None)
    assert_close(layer(x), exact)
    assert len(calls) == 2


def test_a_weight_that_trains_gets_its_gradient():
    layer = Linear(8, 4)
    torch.nn.init.normal_(layer.weight)
    x = vectors(2, 8)
    layer(x).sum().backward()
    assert_close(layer.weight.grad, x.sum(0).expand(4, 8))


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(RuntimeError, match="shapes"), torch.no_grad():
        Linear(8, 4)(torch.zeros(1, 16))


def test_calls_from_several_threads_do_not_mix():
    stored, _ = weight("bf16", 512, 640)
    x = vectors(8, 640)
    expected = matvec.product(x, stored, 512, threads=1)
    wrong = []

    def work(row: int) -> None:
        for _ in range(50):
            if not torch.equal(matvec.product(x[row], stored, 512, threads=3), expected[row]):
                wrong.append(row)

    workers = [threading.Thread(target=work, args=(row,)) for row in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_threads_of_its_own():
    stored, _ = weight("bf16", 512, 640)
    x = vectors(1, 640)
    expected = matvec.product(x, stored, 512, threads=3)
    child = os.fork()
    if child == 0:
        same = all(
            torch.equal(matvec.product(x, stored, 512, threads=3), expected) for _ in range(20)
        )
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
