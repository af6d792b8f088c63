"""Histograms of lengths."""

import re
from pathlib import Path

import numpy as np
import pytest

from eyas.observe.lengths import described, draw_lengths, text_histogram


def rows(lengths: list[int], ctx: int, width: int = 40) -> list[tuple[int, int, int, int]]:
    """Each bar: from, to, documents, characters. The line of the context is left out."""
    found = []
    for line in text_histogram(np.array(lengths), ctx, width):
        if match := re.fullmatch(r"\s*([\d,]+)(?: - ([\d,]+))?\s+([\d,]+) ?(#*)", line):
            low, high, count = (
                int((part or match[1]).replace(",", "")) for part in match.groups()[:3]
            )
            found.append((low, high, count, len(match[4])))
        else:
            assert line.strip().startswith(f"context {ctx:,} ---")
    return found


@pytest.mark.parametrize("seed", range(20))
def test_every_document_is_in_the_bar_of_its_length(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = (random.lognormal(random.uniform(0, 6), random.uniform(0, 2), 300) + 1).astype(int)
    ctx = int(random.choice([16, 100, 512, 4096]))
    bars = rows(lengths.tolist(), ctx)
    for low, high, count, _ in bars:
        assert count == sum(low <= length <= high for length in lengths)
        assert not low <= ctx + 1 < high  # a bar is on one side of the context
    assert sum(count for _, _, count, _ in bars) == 300
    assert [high + 1 for _, high, _, _ in bars[:-1]] == [low for low, _, _, _ in bars[1:]]
    assert len(bars) <= 20
    assert max(size for *_, size in bars) == 40


def test_few_documents_have_a_bar_too() -> None:
    bars = rows([100] * 10_000 + [1000], 512)
    assert [size for *_, size in bars if size] == [40, 1]


def test_the_context_is_shown_where_documents_go_beyond_it() -> None:
    assert list(text_histogram(np.array([3, 3, 4, 9]), 3, 10)) == [
        "        3  2 ##########",
        "        4  1 #####",
        "context 3 -------------",
        "        5  0",
        "        6  0",
        "        7  0",
        "        8  0",
        "        9  1 #####",
    ]
    assert "context" not in "".join(text_histogram(np.array([3, 4]), 3))


def test_one_line() -> None:
    lengths = np.array([*range(1, 100), 1500])
    assert described(lengths) == (
        "1 to 1,500 tokens, mean 64; half have at most 50, 90 % at most 90, 99 % at most 99"
    )


@pytest.mark.parametrize("lengths", [[5], [3, 4, 5], [1, 20, 300, 4000, 50_000]])
def test_a_picture(tmp_path: Path, lengths: list[int]) -> None:
    path = tmp_path / "lengths.png"
    draw_lengths(np.array(lengths), 512, path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [inner.name for inner in tmp_path.iterdir()] == ["lengths.png"]
