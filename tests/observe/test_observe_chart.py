"""Pictures of curves, for files and for terminals."""

from pathlib import Path

import matplotlib.image
import pytest
from matplotlib.figure import Figure

from eyas.observe.chart import Curve, draw, loss_png, text_chart
from eyas.observe.metrics import open_metrics
from eyas.training.events import Event, Saved, Step, Validated


def test_loss_png_draws_three_labeled_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Event] = [Step(i, 4 / i, 1e-4, 0.5, 100, 40, 0.25, 0) for i in range(1, 50)]
    with open_metrics(tmp_path / "metrics.jsonl") as sink:
        for event in [*steps, Validated(20, 0.5, 9), Validated(40, 0.25, 9), Saved(40, tmp_path)]:
            sink(event)
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: figures.append(self) or save(self, *a, **k)
    )
    loss_png(tmp_path / "metrics.jsonl", tmp_path / "loss.png")
    axes = figures[0].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("optimizer steps", "loss (nats per token)")
    raw, smoothed, held_out = axes.get_lines()
    assert raw.get_alpha() < 1
    assert list(raw.get_ydata()) == [4 / i for i in range(1, 50)]
    assert len(smoothed.get_ydata()) == 49
    assert list(held_out.get_xydata().flatten()) == [20, 0.5, 40, 0.25]
    assert matplotlib.image.imread(tmp_path / "loss.png").ndim == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["loss.png", "metrics.jsonl"]


def test_a_run_without_steps_gives_an_empty_picture(tmp_path: Path) -> None:
    loss_png(tmp_path / "metrics.jsonl", tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 0


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
