"""Sampling against the `rwkv` package's, the one whose settings people know."""

import numpy as np
import pytest
import torch
from rwkv.utils import PIPELINE
from torch import Tensor

from eyas.generation.sampling import GREEDY, Sampling, chances, count, sample


def logits(seed: int, size: int = 50) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 2


def plain(temperature: float = 1.0, top_p: float = 1.0, top_k: int = 0) -> Sampling:
    return Sampling(temperature, top_p, top_k, presence_penalty=0.0, frequency_penalty=0.0)


def draw(scores: Tensor, sampling: Sampling, times: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = [sample(scores, sampling, {}, generator) for _ in range(times)]
    return torch.bincount(torch.tensor(drawn), minlength=len(scores))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_p", [0.0, 0.3, 0.85, 0.99])
@pytest.mark.parametrize("top_k", [0, 1, 5, 100])
def test_chances_equal_the_rwkv_packages(
    temperature: float, top_p: float, top_k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []

    def choice(a: int, p: np.ndarray) -> int:
        assert a == len(p)
        seen.append(p)
        return 0

    monkeypatch.setattr(np.random, "choice", choice)
    scores = logits(seed=3)
    PIPELINE.sample_logits(None, scores, temperature, top_p, top_k)
    ours = chances(scores, plain(temperature, top_p, top_k))
    torch.testing.assert_close(ours, torch.from_numpy(seen[0]).float())


def test_draws_follow_the_chances() -> None:
    scores, sampling, times = logits(seed=1, size=8), plain(1.3, 0.9), 20_000
    expected = chances(scores, sampling) * times
    sigma = (expected * (1 - chances(scores, sampling))).sqrt()
    assert ((draw(scores, sampling, times) - expected).abs() <= 4 * sigma).all()
    assert (expected == 0).any()


def test_temperature_zero_is_the_likeliest() -> None:
    scores = logits(seed=2)
    assert {sample(scores, GREEDY, {}, torch.Generator()) for _ in range(20)} == {
        int(scores.argmax())
    }


def test_tiny_temperatures_stay_finite() -> None:
    scores = logits(seed=2) * 100
    assert chances(scores, plain(1e-30)).argmax() == scores.argmax()


def test_everything_at_top_p_one() -> None:
    # Sums of many float32 probabilities may end below 1.
    scores = torch.zeros(100_000)
    assert (chances(scores, plain(top_p=1.0)) > 0).all()


def test_penalties_lower_what_occurred() -> None:
    scores = torch.tensor([1.0, 1.05, 0.0])
    sampling = Sampling(0.0, presence_penalty=0.1, frequency_penalty=0.2)
    assert sample(scores, sampling, {}, torch.Generator()) == 1
    assert sample(scores, sampling, {1: 0.0}, torch.Generator()) == 0
    assert sample(scores, sampling, {0: 1.0, 1: 0.5}, torch.Generator()) == 1
    assert sample(scores, sampling, {0: 9.0, 1: 9.0}, torch.Generator()) == 2
    assert scores.tolist() == torch.tensor([1.0, 1.05, 0.0]).tolist()


def test_occurrences_decay_and_grow() -> None:
    first = count({}, 5, 1.0, 0.5)
    second = count(first, 7, 1.0, 0.5)
    third = count(second, 5, 1.0, 0.5)
    assert (first, second, third) == ({5: 1.0}, {5: 0.5, 7: 1.0}, {5: 1.25, 7: 0.5})


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": 1e-300},
        {"presence_penalty": float("inf")},
        {"frequency_penalty": float("-inf")},
        {"frequency_penalty": float("nan")},
        {"top_p": 1.1},
        {"top_p": -0.1},
        {"top_k": -1},
        {"penalty_decay": 2.0},
    ],
)
def test_ranges(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} = .* must be"):
        Sampling(**wrong)  # type: ignore[arg-type]


def test_extreme_settings_stay_finite() -> None:
    scores = logits(seed=2)
    uniform = chances(scores, plain(1e30))
    assert (uniform == uniform[0]).all()
    strong = Sampling(presence_penalty=1e30, frequency_penalty=1e30)
    for occurred in ({0: 3.0}, dict.fromkeys(range(len(scores)), 3.0)):
        assert 0 <= sample(scores, strong, occurred, torch.Generator()) < len(scores)


def test_low_precision_logits() -> None:
    assert sample(torch.tensor([0.0, 9.0]).bfloat16(), plain(), {}, torch.Generator()) == 1
