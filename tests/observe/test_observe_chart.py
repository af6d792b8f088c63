"""Pictures of curves, for files and for terminals."""

from pathlib import Path

import matplotlib.image
import pytest

from eyas.observe.chart import Curve, draw, text_chart


def test_draws_any_curves(tmp_path: Path) -> None:
    curves = [Curve("pissa", [(0, 0.0), (10, 0.5)]), Curve("lora", [(0, 0.0), (10, 0.25)])]
    draw(curves, tmp_path / "exact.png", "exact match")
    assert matplotlib.image.imread(tmp_path / "exact.png").ndim == 3


def test_text_chart_of_a_line() -> None:
    points = [(float(x), float(x)) for x in range(12)]
    assert text_chart(points, width=12, height=4).splitlines() == [
        "11 |         .-'",
        "   |      .-'",
        "   |   .-'",
        " 0 |.-'",
        "   +------------",
        "    0         11",
    ]


def test_text_chart_fills_between_few_points() -> None:
    lines = text_chart([(0, 0.0), (100, 1.0)], width=30, height=5).splitlines()
    assert sum(len(line[3:].replace(" ", "")) for line in lines[:5]) == 30


def test_text_chart_takes_the_mean_of_crowded_columns() -> None:
    points = [(x, float(x % 2)) for x in range(1000)]
    lines = text_chart(points, width=10, height=3).splitlines()
    assert len(lines) == 5
    assert "0.5" in lines[0]


@pytest.mark.parametrize(
    "points", [[(5, 2.0)], [(1, 2.0), (9, 2.0)], [(1, float("nan")), (2, 2.0)]]
)
def test_text_chart_of_flat_curves(points: list[tuple[int, float]]) -> None:
    lines = text_chart(points, width=10, height=3).splitlines()
    assert len(lines) == 5
    assert lines[2].startswith("2 |.")


def test_text_chart_of_nothing() -> None:
    assert text_chart([]) == "(no points yet)"


def test_text_chart_is_ascii() -> None:
    assert text_chart([(x, x**0.5) for x in range(500)]).isascii()
