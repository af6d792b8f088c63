"""Held-out loss against learning rate, a line for each method."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eyas.files import atomic_path
from eyas.sweep.results import Result

_WIDE = 10.0  # losses that differ by more than this factor are shown on a logarithmic scale


def draw_rates(panels: Mapping[str, Sequence[Result]], out_path: Path) -> None:
    """Draws the results under each title side by side as a PNG file, written atomically.

    The bars are the standard deviation over the seeds. At least one result must have a loss.
    """
    # Imported here: it takes half a second. A figure of its own needs no global backend.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 + 5 * len(panels), 5), layout="constrained")
    FigureCanvasAgg(figure)
    columns = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, results) in zip(columns, panels.items(), strict=True):
        _draw(axes, title, results)
    means = [r.held_out.mean for results in panels.values() for r in results if r.held_out]
    log = max(means) > _WIDE * min(means) > 0
    columns[0].set(ylabel="held-out loss (nats per token)", yscale="log" if log else "linear")
    with atomic_path(out_path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _draw(axes: Any, title: str, results: Sequence[Result]) -> None:
    for name in sorted({result.name for result in results}):
        points = sorted(
            (result.rate, result.held_out.mean, result.held_out.deviation or 0.0)
            for result in results
            if result.name == name and result.held_out
        )
        if points:
            rates, means, bars = zip(*points, strict=True)
            axes.errorbar(rates, means, bars, label=name, marker="o", capsize=3, elinewidth=1)
    axes.grid(alpha=0.3)
    axes.set(title=title, xlabel="learning rate")
    if axes.has_data():
        axes.set_xscale("log")  # set before, it would make nothing of a single rate's width
        axes.legend()
