"""Curves, as pictures and as a small chart of text for the terminal."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

from eyas.files import atomic_path

Points = Sequence[tuple[int | float, int | float]]


@dataclass(frozen=True)
class Curve:
    """One line of a picture: points (x, y). A faint one stays behind the others."""

    label: str
    points: Points
    faint: bool = False


def draw(curves: Sequence[Curve], out_path: Path, y_label: str) -> None:
    """Draws curves over optimizer steps as a PNG file, written atomically."""
    # Imported here: it takes half a second. A figure of its own needs no global backend.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="optimizer steps", ylabel=y_label)
    plot(axes, curves)
    with atomic_path(out_path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def plot(axes: Any, curves: Sequence[Curve]) -> None:
    """Draws curves into matplotlib's axes; only those with a label are explained."""
    for curve in curves:
        x, y = [x for x, _ in curve.points], [y for _, y in curve.points]
        width, alpha = (1.0, 0.35) if curve.faint else (2.0, 1.0)
        marker = "o" if len(x) == 1 else None
        axes.plot(x, y, label=curve.label, linewidth=width, alpha=alpha, marker=marker)
    axes.grid(alpha=0.3)
    if any(curve.label for curve in curves):
        axes.legend()


def text_chart(points: Points, width: int = 60, height: int = 10) -> str:
    """A curve of plain ASCII, `width` × `height` characters besides the numbers at its axes.

    Each column shows the mean of the points that fall on it, or lies on the line between its
    neighbors. Three characters tell three levels within a line: . low, - middle, ' high.
    """
    points = [(x, y) for x, y in points if isfinite(y)]
    if not points:
        return "(no points yet)"
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    column = (width - 1) / (right - left) if right > left else 0.0
    heights = _columns([(round((x - left) * column), y) for x, y in points])
    low, high = min(heights.values()), max(heights.values())
    level = (3 * height - 1) / (high - low) if high > low else 0.0
    rows = [[" "] * width for _ in range(height)]
    for x, y in heights.items():
        up = round((y - low) * level)
        rows[height - 1 - up // 3][x] = ".-'"[up % 3]
    numbers = [f"{high:.4g}", *[""] * (height - 2), f"{low:.4g}"]
    margin = max(map(len, numbers))
    body = [f"{n:>{margin}} |{''.join(row).rstrip()}" for n, row in zip(numbers, rows, strict=True)]
    ends = f"{left:g}" + f"{right:g}".rjust(width - len(f"{left:g}"))
    return "\n".join([*body, " " * margin + " +" + "-" * width, " " * margin + "  " + ends])


def _columns(points: list[tuple[int, int | float]]) -> dict[int, float]:
    """Mean height of each column, and the line between where columns have no points."""
    groups: dict[int, list[int | float]] = defaultdict(list)
    for x, y in points:
        groups[x].append(y)
    known = {x: sum(ys) / len(ys) for x, ys in sorted(groups.items())}
    between = {
        x: known[a] + (known[b] - known[a]) * (x - a) / (b - a)
        for a, b in pairwise(known)
        for x in range(a + 1, b)
    }
    return known | between
