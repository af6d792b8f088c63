"""A measure over documents, its standard error, and the difference of two on the same documents.

Every measure here is a ratio of sums over documents, or a function of one:

    m = sum_i v_i / sum_i w_i        influence_i = (v_i - m w_i) / sum_j w_j

(w = 1: a mean). The influences sum to 0, and the standard error is

    sqrt(n / (n - 1) sum_i influence_i^2)

Documents are the sample, as tokens of one document are not independent. For a difference of two
models the influences are subtracted first, document by document: what both find hard cancels.
Sources: Cochran, Sampling Techniques (1977), section 2.11;
Miller, Adding Error Bars to Evals (2024).
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Measured:
    """A value, and what each document contributes to its error."""

    value: float
    influence: Float[np.ndarray, "documents"]

    @property
    def standard_error(self) -> float:
        """NaN for a single document."""
        count = len(self.influence)
        if count < 2:
            return math.nan
        return math.sqrt(count / (count - 1) * float(np.square(self.influence).sum()))


def ratio(
    values: Float[np.ndarray, "documents"], weights: Float[np.ndarray, "documents"]
) -> Measured:
    """sum of values / sum of weights; the weights sum to more than 0."""
    total = weights.sum()
    value = float(values.sum() / total)
    return Measured(value, (values - value * weights) / total)


def mean(values: Float[np.ndarray, "documents"]) -> Measured:
    return ratio(values, np.ones(len(values)))


def exponential(measured: Measured) -> Measured:
    """exp of a measure, to first order in the errors."""
    value = math.exp(min(measured.value, 700.0))  # a float has no more
    return Measured(value, value * measured.influence)


def difference(base: Measured, tuned: Measured) -> Measured:
    """tuned - base, both over the same documents."""
    return Measured(tuned.value - base.value, tuned.influence - base.influence)
