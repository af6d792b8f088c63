"""The curves of a run, from the lines of its metrics."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eyas.observe.average import Average
from eyas.observe.chart import Curve, Points, draw
from eyas.observe.metrics import METRICS, read_metrics
from eyas.observe.panels import Panel, thinned

Lines = Sequence[Mapping[str, Any]]
_MOST_POINTS = 500  # of a curve, which is more than a picture can show
_TITLES = {
    "learning_rate": "learning rate",
    "gradient_norm": "gradient norm",
    "tokens_per_second": "tokens a second",
    "mfu": "MFU",
    "peak_bytes": "peak memory (GiB)",
}


def draw_losses(folder: Path) -> None:
    """Draws `loss.png` into a run's folder, from its metrics."""
    lines = read_metrics(folder / METRICS)
    draw(loss_curves(lines), folder / "loss.png", "loss (nats per token)")


def loss_curves(lines: Lines) -> list[Curve]:
    """The loss of the steps, the same smoothed, and the held-out loss, if there are such."""
    loss, held_out = series(lines, "step", "loss"), series(lines, "validated", "loss")
    average = Average()
    smoothed = [(step, average.update(value)) for step, value in loss]
    curves = [
        Curve("each step", thinned(loss, _MOST_POINTS), faint=True),
        Curve("smoothed", thinned(smoothed, _MOST_POINTS)),
        Curve("held out", thinned(held_out, _MOST_POINTS)),
    ]
    return [curve for curve in curves if curve.points]


def panels_of(lines: Lines) -> list[Panel]:
    """All that was measured at the steps, the losses first."""
    found = {name: series(lines, "step", name) for name in _TITLES}
    found["peak_bytes"] = [(step, size / 2**30) for step, size in found["peak_bytes"]]
    return [
        Panel("loss (nats per token)", loss_curves(lines)),
        *(
            Panel(_TITLES[name], [Curve("", thinned(points, _MOST_POINTS))])
            for name, points in found.items()
            if points
        ),
    ]


def series(lines: Lines, event: str, name: str) -> Points:
    """A number of those events over the steps; what was not finite is left out."""
    known = (line for line in lines if line["event"] == event and line.get(name) is not None)
    return [(line["step"], line[name]) for line in known]
