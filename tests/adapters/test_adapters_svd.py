"""The principal part against exact decompositions (Eckart and Young) and torch's own."""

from functools import cache

import pytest
import torch
from tolerance import assert_close

from eyas.adapters.svd import principal_part

POWERS = {"i^-0.5": -0.5, "i^-1": -1.0}
PROMISED = {"i^-0.5": 1.001, "i^-1": 1.001, "flat": 1.002}  # residual over the optimal one
DEFICIT = 1e-4  # captured energy lost, on power laws
ROWS, COLUMNS = 320, 400  # beyond what is decomposed in full


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


@cache
def orthonormal(rows, columns):
    return torch.linalg.qr(normal(rows, columns, seed=rows))[0]


def with_singular_values(S, rows=ROWS, columns=COLUMNS):
    S = torch.as_tensor(S, dtype=torch.float64)
    return (orthonormal(rows, len(S)) * S) @ orthonormal(columns, len(S)).mT


def indices(count=ROWS):
    return torch.arange(1, count + 1, dtype=torch.float64)


def matrix(spectrum, shape):
    if spectrum == "flat":
        return normal(*shape)
    return with_singular_values(indices(min(shape)) ** POWERS[spectrum], *shape)


def check_decomposition(weight, U, S, V):
    """Orthonormal factors, S descending, and the best that the space of the shorter side holds."""
    identity = torch.eye(len(S), dtype=torch.float64)
    assert_close(U.mT @ U, identity)
    assert_close(V.mT @ V, identity)
    assert (S >= 0).all()
    assert (S[1:] <= S[:-1]).all()
    if len(U) <= len(V):
        assert_close(U.mT @ weight, S[:, None] * V.mT)
    else:
        assert_close(weight @ V, U * S)


@pytest.mark.parametrize("shape", [(300, 400), (600, 300), (300, 300)])
@pytest.mark.parametrize("spectrum", PROMISED)
@pytest.mark.parametrize("rank", [1, 8, 64])
def test_reaches_the_optimal_truncation(shape, spectrum, rank):
    weight = matrix(spectrum, shape)
    for dtype in (torch.float32, torch.float64):
        U, S, V = principal_part(weight.to(dtype), rank, None, seeded())
        assert U.dtype == S.dtype == V.dtype == dtype
        assert (U.shape, S.shape, V.shape) == ((shape[0], rank), (rank,), (shape[1], rank))
        squares = torch.linalg.svdvals(weight).square()
        left = (weight - (U * S).double() @ V.double().mT).square().sum()
        assert left.sqrt() <= PROMISED[spectrum] * squares[rank:].sum().sqrt()
        if spectrum != "flat":
            assert left - squares[rank:].sum() <= DEFICIT * squares[:rank].sum()
    check_decomposition(weight, U, S, V)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (40, 30), (200, 600), (256, 256), (300, 320)])
def test_is_exact_where_the_matrix_is_small_or_the_rank_is_large(shape):
    weight, rank = normal(*shape), min(shape) if max(shape) < 300 else 100
    U, S, V = principal_part(weight, rank, None, seeded())
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    assert_close(S, values[:rank])
    assert_close((U * S) @ V.mT, (left[:, :rank] * values[:rank]) @ right[:rank])
    check_decomposition(weight, U, S, V)


ODD = {
    "zero": torch.zeros(ROWS, COLUMNS),
    "one entry": torch.zeros(ROWS, COLUMNS).index_put(
        (torch.tensor(3), torch.tensor(5)), torch.tensor(2.0)
    ),
    "all ones": torch.ones(ROWS, COLUMNS),
    "rank 1": with_singular_values([3.0]),
    "rank 5": with_singular_values([5.0, 4.0, 3.0, 2.0, 1.0]),
    "rank 20": with_singular_values(indices(20)),
    "equal columns": normal(ROWS, 10).repeat(1, COLUMNS // 10),
    "equal rows": normal(10, COLUMNS).repeat(ROWS // 10, 1),
    "equal blocks": torch.kron(normal(4, 4), torch.ones(ROWS // 4, COLUMNS // 4)),
    "identity": torch.eye(ROWS, COLUMNS),
    "orthogonal": with_singular_values(torch.ones(ROWS)),
    "30 equal": with_singular_values([10.0] * 30 + [1.0] * (ROWS - 30)),
    "steep": with_singular_values(0.5 ** indices()),
    "i^-4": with_singular_values(indices() ** -4),
    "a step": with_singular_values([1.0] * 4 + [1e-7] * (ROWS - 4)),
    "an outlier": with_singular_values([1e6]) + 1e-3 * with_singular_values(indices() ** -1),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("turned", [False, True])
def test_holds_for_odd_matrices(name, turned):
    weight = ODD[name].double()
    weight = weight.mT if turned else weight
    exact = torch.linalg.svdvals(weight)
    for rank in (4, 24):
        U, S, V = principal_part(weight, rank, None, seeded())
        check_decomposition(weight, U, S, V)
        assert_close(S, exact[:rank])
    U, S, V = principal_part(weight.float(), 24, None, seeded())
    assert_close(S, exact[:24])
    # As much of V as belongs to a singular value, but for roundings of the largest one.
    lost = (U * S) @ V.mT @ V - U * S
    assert lost.abs().max() <= 1e-6 * max(1.0, exact[0])


@pytest.mark.parametrize("scale", [1e-30, 1e20])
@pytest.mark.parametrize("spectrum", POWERS)  # in a flat one the space follows from roundings
def test_any_scale_is_the_same(scale, spectrum):
    weight = matrix(spectrum, (ROWS, COLUMNS)).float()
    U, S, V = principal_part(weight, 16, None, seeded())
    scaled_U, scaled_S, scaled_V = principal_part(weight * scale, 16, None, seeded())
    assert_close(scaled_S / scale, S)
    assert_close((scaled_U * (scaled_S / scale)) @ scaled_V.mT, ((U * S) @ V.mT).double())


@pytest.mark.parametrize("shape", [(40, 30), (300, 280), (320, 400)])
@pytest.mark.parametrize("niter", [0, 1, 4])
def test_niter_is_that_of_torch(shape, niter):
    weight = normal(*shape)
    U, S, V = principal_part(weight, 6, niter, seeded(5))
    torch.manual_seed(5)
    their_U, their_S, their_V = torch.svd_lowrank(weight, q=6, niter=niter)
    assert_close(S, their_S)
    assert_close((U * S) @ V.mT, (their_U * their_S) @ their_V.mT)


@pytest.mark.parametrize("niter", [None, 2])
def test_follows_from_the_seed_and_leaves_the_global_generator_alone(niter):
    weight = normal(ROWS, COLUMNS).float()
    before = torch.get_rng_state()
    first, again, other = (principal_part(weight, 8, niter, seeded(s)) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert torch.equal(before, torch.get_rng_state())


def test_a_narrow_weight_is_worked_in_float32():
    weight = normal(ROWS, COLUMNS).bfloat16()
    narrow, wide = (principal_part(w, 8, None, seeded()) for w in (weight, weight.float()))
    assert all(torch.equal(a, b) for a, b in zip(narrow, wide, strict=True))


@pytest.mark.parametrize("niter", [None, 4])
@pytest.mark.parametrize("rank", [0, 31])
def test_a_rank_that_the_matrix_does_not_have_is_refused(rank, niter):
    with pytest.raises(ValueError, match=f"rank {rank} .* 30"):
        principal_part(torch.zeros(40, 30), rank, niter, seeded())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("niter", [None, 4])
def test_a_gpu_weight_stays_there_and_gives_the_same(niter):
    weight = normal(ROWS, COLUMNS)
    found = principal_part(weight.cuda(), 16, niter, seeded())
    assert all(factor.is_cuda for factor in found)
    (U, S, V), (U_cpu, S_cpu, V_cpu) = found, principal_part(weight, 16, niter, seeded())
    assert_close(S.cpu(), S_cpu)
    assert_close(((U * S) @ V.mT).cpu(), (U_cpu * S_cpu) @ V_cpu.mT)
