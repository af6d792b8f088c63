"""Several pictures of curves side by side, as SVG for a page."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from eyas.observe.chart import Curve, Points, plot


@dataclass(frozen=True)
class Panel:
    """One of the pictures: what stands above it, and its curves."""

    title: str
    curves: Sequence[Curve]


def svg(panels: Sequence[Panel], columns: int = 2) -> str:
    """One <svg> element, which needs nothing from outside. There is at least one panel."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    rows = -(-len(panels) // columns)
    written = io.BytesIO()
    # Text stays text, and the names inside are the same every time.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "eyas"}):
        figure = Figure(figsize=(5 * columns, 3 * rows), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        for number, panel in enumerate(panels, start=1):
            axes = figure.add_subplot(rows, columns, number, title=panel.title)
            plot(axes, panel.curves)
        canvas.print_svg(written, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = written.getvalue().decode()
    return text[text.index("<svg") :]  # without the reference to a DTD before it


def thinned(points: Points, most: int) -> Points:
    """At most `most` points, each the mean of as many that follow one another."""
    size = max(1, -(-len(points) // most))
    groups = (points[start : start + size] for start in range(0, len(points), size))
    return [(_mean([x for x, _ in group]), _mean([y for _, y in group])) for group in groups]


def _mean(values: Sequence[int | float]) -> float:
    return sum(values) / len(values)
