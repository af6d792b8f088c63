"""Data files seen more or less often than once a pass."""

import numpy as np
from jaxtyping import Float, Int64


def times_seen(
    weights: Float[np.ndarray, "documents"], seed: int, epoch: int
) -> Int64[np.ndarray, "documents"]:
    """How often each document is seen in pass `epoch`.

    A document of weight w is seen floor((epoch + 1) w + u) - floor(epoch w + u) times, with a
    phase u in [0, 1) of its own: w times a pass in the mean, never more than one above or below.
    The phases of the documents of one weight are spread evenly, so that every pass sees w times
    as many as there are, to within one.
    """
    chance = np.random.Generator(np.random.PCG64(seed))
    phases = np.empty(len(weights))
    for weight in np.unique(weights):
        same = np.flatnonzero(weights == weight)
        phases[same] = (chance.permutation(len(same)) + 0.5) / len(same)
    before, after = np.floor(epoch * weights + phases), np.floor((epoch + 1) * weights + phases)
    return (after - before).astype(np.int64)
