"""Standard errors, against formulas of another form and against resampling."""

import math

import numpy as np
import pytest

from eyas.evaluation.measured import Measured, difference, exponential, mean, ratio

CHANCE = np.random.default_rng(0)


def test_a_mean_has_the_textbooks_error() -> None:
    values = CHANCE.normal(size=50)
    found = mean(values)
    assert found.value == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(50))


def test_a_difference_has_the_error_of_the_pairs() -> None:
    base = CHANCE.normal(size=80)
    tuned = base + 0.1 * CHANCE.normal(size=80) - 0.3
    found = difference(mean(base), mean(tuned))
    pairs = tuned - base
    assert found.value == pytest.approx(pairs.mean())
    assert found.standard_error == pytest.approx(pairs.std(ddof=1) / math.sqrt(80))
    assert found.standard_error < mean(base).standard_error / 5


def resampled(function, *arrays: np.ndarray) -> float:
    """The spread of a function of documents that are drawn again."""
    count = len(arrays[0])
    drawn = (CHANCE.integers(count, size=count) for _ in range(2000))
    return float(np.std([function(*(array[rows] for array in arrays)) for rows in drawn]))


def test_a_ratio_and_its_exponential_agree_with_resampling() -> None:
    tokens = CHANCE.integers(5, 200, size=400).astype(float)
    base = tokens * CHANCE.normal(2.0, 0.3, size=400)
    tuned = 0.9 * base + tokens * CHANCE.normal(0.0, 0.05, size=400)

    def perplexities(tokens: np.ndarray, base: np.ndarray, tuned: np.ndarray) -> float:
        return math.exp(tuned.sum() / tokens.sum()) - math.exp(base.sum() / tokens.sum())

    loss = ratio(base, tokens)
    assert loss.value == pytest.approx(base.sum() / tokens.sum())
    spread = resampled(lambda b, t: b.sum() / t.sum(), base, tokens)
    assert loss.standard_error == pytest.approx(spread, rel=0.1)
    paired = difference(exponential(loss), exponential(ratio(tuned, tokens)))
    assert paired.value == pytest.approx(perplexities(tokens, base, tuned))
    assert paired.standard_error == pytest.approx(
        resampled(perplexities, tokens, base, tuned), rel=0.1
    )


def test_one_document_has_no_error() -> None:
    assert math.isnan(mean(np.ones(1)).standard_error)
    assert exponential(Measured(1e6, np.zeros(1))).value > 1e300
