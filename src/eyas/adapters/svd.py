"""The largest singular values of a weight and their vectors: where PiSSA and its kin start.

Block Lanczos bidiagonalization (Golub, Luk and Overton 1981) from a random block: orthonormal
rows Q_i and P_i, `width` of them at a time, with square R_i and lower triangular L_i,

    Q_i W   = R_i P_{i-1} + L_i P_i
    P_i W^T = L_i^T Q_i + R_{i+1}^T Q_{i+1}

or, for all rows together, Q W = B P with B block bidiagonal. From the decomposition of the small
B = X S Y^T come the best approximations that the space of Q holds (Rayleigh-Ritz):

    U = Q^T X        V = P^T Y

Every product with W both widens the space and projects on it, so that 4 r rows cost 0.8 of the
products of `torch.svd_lowrank(q=r, niter=4)`; in blocks of r / 2 they hold polynomials in W of
degree 15 instead of 9. Working with W, not with W W^T, keeps singular values down to the rounding
of the largest one. Only Q, the shorter side, is orthogonalized in full (Simon and Zha 2000).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

_EXACT_ROWS = 256  # a full decomposition takes milliseconds
_WIDTH, _SPACE = 16, 96  # least rows of a block (fewer save no time), and of the whole space
_FRESH, _WEAK = 0.1, 1000  # see `_extend`: least share of new, and least size in roundings
_CLEAR = 100  # roundings of the largest square that a square must exceed to be told from them


def principal_part(
    weight: Float[Tensor, "O I"], rank: int, niter: int | None, generator: torch.Generator
) -> tuple[Float[Tensor, "O R"], Float[Tensor, " R"], Float[Tensor, "I R"]]:
    """U, S, V of the `rank` largest singular values, descending, in float32 at least.

    niter: that of `torch.svd_lowrank`; None for the space described above, or all of the matrix
    where it is small. Draws come from the generator alone and are then moved to the weight.
    Raises ValueError where the matrix has fewer than `rank` singular values.
    """
    rows, columns = weight.shape
    if not 1 <= rank <= min(rows, columns):
        raise ValueError(f"rank {rank} is not between 1 and {min(rows, columns)}, the shorter side")
    if rows > columns:
        V, S, U = principal_part(weight.mT, rank, niter, generator)
        return U, S, V
    W = weight.to(torch.promote_types(weight.dtype, torch.float32))
    if niter is not None:
        return _subspace_iteration(W, rank, niter, generator)
    if rows <= _EXACT_ROWS or 4 * rank > rows:
        return _exact(W, rank)
    return _lanczos(W, rank, generator)


def _exact(W: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    P, L = _orthonormal(W)
    U, S, Yh = _svd(L)
    return U[:, :rank], S[:rank], (Yh[:rank] @ P).mT


def _lanczos(W: Tensor, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """From a space of 4 `rank` rows, or somewhat fewer than that where it is over half of W."""
    rows, columns = W.shape
    width = max(_WIDTH, rank // 2)
    size = width * math.ceil(min(max(_SPACE, 4 * rank), 2 * rank + rows // 4) / width)
    Q, P, B = W.new_empty(size, rows), W.new_empty(size, columns), W.new_zeros(size, size)
    ahead = _draw(width, columns, W, generator) @ W.mT
    unit = torch.finfo(W.dtype).eps * ahead.abs().amax().item()
    for start in range(0, size, width):
        here, last = slice(start, start + width), slice(max(0, start - width), start)
        if start > 0:
            ahead = P[last] @ W.mT - B[last, last].mT @ Q[last]
        Q[here], R = _extend(Q[:start], ahead, unit, generator)
        found = Q[here] @ W
        if start > 0:
            B[here, last] = R
            found -= R @ P[last]
        P[here], B[here, here] = _orthonormal(found)
    X = _leading(B, rank)
    V, L = _orthonormal((X.mT @ B) @ P)
    U, S, Yh = _svd(L)
    return Q.mT @ (X @ U), S, (Yh @ V).mT


def _extend(
    Q: Tensor, ahead: Tensor, unit: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Orthonormal rows, orthogonal to those of Q, and their R with ahead = R^T rows.

    Once is enough where all rows ahead are mostly new. Else (singular values that differ greatly,
    a low rank, few distinct values) what was taken away leaves its rounding, or nothing is left:
    noise of the size of a rounding, `unit`, fills the rows up, and the search goes on from there.
    """
    rows, L = _orthonormal(_without(Q, ahead))
    if L.diagonal().abs().amin() > max(_FRESH * ahead.abs().amax().item(), _WEAK * unit):
        return rows, L.mT
    rows = ahead + _draw(len(ahead), Q.shape[1], Q, generator) * (unit or 1.0)
    for _ in range(3):
        rows, _ = _orthonormal(_without(Q, rows))
    return rows, rows @ ahead.mT


def _without(Q: Tensor, rows: Tensor) -> Tensor:
    """What of the rows is orthogonal to those of Q."""
    return rows - (rows @ Q.mT) @ Q


def _subspace_iteration(
    W: Tensor, rank: int, niter: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """`torch.svd_lowrank` (Halko et al. 2009, algorithms 4.4 and 5.1) with draws of one's own."""
    Q, _ = _orthonormal(_draw(rank, W.shape[0], W, generator) @ W)
    for _ in range(niter):
        Q, _ = _orthonormal(Q @ W.mT)
        Q, _ = _orthonormal(Q @ W)
    U, S, Xh = torch.linalg.svd(W @ Q.mT, full_matrices=False)
    return U, S, (Xh @ Q).mT


def _leading(B: Float[Tensor, "K K"], rank: int) -> Float[Tensor, "K R"]:
    """The first left singular vectors: from B B^T, in half the time, unless squares hide them."""
    scaled = (B / B.abs().amax().clamp_min(torch.finfo(B.dtype).tiny)).cpu()
    squares, X = torch.linalg.eigh(scaled @ scaled.mT)
    if squares[-rank] <= _CLEAR * torch.finfo(B.dtype).eps * squares[-1]:
        return _svd(B)[0][:, :rank]
    leading: Tensor = X[:, -rank:].to(B.device)
    return leading


def _svd(square: Float[Tensor, "K K"]) -> tuple[Tensor, Tensor, Tensor]:
    """On the CPU, wherever the matrix is: faster at these sizes."""
    U, S, Vh = torch.linalg.svd(square.cpu())
    return U.to(square.device), S.to(square.device), Vh.to(square.device)


def _draw(count: int, length: int, like: Tensor, generator: torch.Generator) -> Tensor:
    draws = torch.randn(length, count, generator=generator, dtype=like.dtype)
    return draws.mT.to(like.device)


def _orthonormal(rows: Float[Tensor, "K N"]) -> tuple[Float[Tensor, "K N"], Float[Tensor, "K K"]]:
    """Orthonormal Q and lower triangular L with rows = L Q."""
    Q, R = torch.linalg.qr(rows.mT)
    return Q.mT, R.mT
