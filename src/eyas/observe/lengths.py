"""How long documents are: as bars of text for the terminal, and as a picture."""

from collections.abc import Iterator
from itertools import pairwise
from math import floor, log10
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from eyas.files import atomic_path

_BARS = 12
_WIDE = 8  # lengths that differ by more than this factor are shown by powers of two
_PERCENTILES = (50, 90, 99)


def text_histogram(
    lengths: Int64[np.ndarray, "documents"], ctx: int, width: int = 40
) -> Iterator[str]:
    """Lines of plain ASCII: a range of lengths, how many documents have them, a bar.

    `lengths` are tokens, at least one document's; a document fits the context `ctx` with up to
    ctx + 1 tokens, and a line of its own says where that is.
    """
    cut = ctx + 2
    edges = _edges(int(lengths.min()), int(lengths.max()), cut)
    counts = np.histogram(lengths, [*edges[:-1], edges[-1] - 0.5])[0].tolist()
    border = f"context {ctx:,}" if cut in edges[1:-1] else ""
    ranges = [
        f"{low:,}" if high == low + 1 else f"{low:,} - {high - 1:,}"
        for low, high in pairwise(edges)
    ]
    left, middle = max(map(len, [*ranges, border])), max(len(f"{count:,}") for count in counts)
    for low, shown, count in zip(edges, ranges, counts, strict=False):
        if border and low == cut:
            yield f"{border:>{left}} " + "-" * (middle + width + 2)
        bar = "#" * -(-count * width // max(counts))
        yield f"{shown:>{left}}  {count:>{middle},} {bar}".rstrip()


def described(lengths: Int64[np.ndarray, "documents"]) -> str:
    """The lengths of at least one document in a line."""
    middle, most, nearly = np.percentile(lengths, _PERCENTILES, method="inverted_cdf").tolist()
    return (
        f"{lengths.min():,} to {lengths.max():,} tokens, mean {lengths.mean():,.0f}; half have at "
        f"most {middle:,}, 90 % at most {most:,}, 99 % at most {nearly:,}"
    )


def draw_lengths(lengths: Int64[np.ndarray, "documents"], ctx: int, out_path: Path) -> None:
    """Draws at least one document's lengths as a PNG file, written atomically."""
    # Imported here: it takes half a second. A figure of its own needs no global backend.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(
        xlabel="tokens", ylabel="documents", title=f"{len(lengths):,} documents"
    )
    low, high = int(lengths.min()), int(lengths.max())
    wide = high > _WIDE * low
    spread = np.geomspace if wide else np.linspace
    axes.hist(lengths, np.unique(spread(low, high + 1, 60).round()).tolist())
    axes.axvline(ctx + 1, color="C1", label=f"context {ctx:,}")
    if wide:
        axes.set_xscale("log")
    axes.legend()
    axes.grid(alpha=0.3)
    with atomic_path(out_path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _edges(low: int, high: int, cut: int) -> list[int]:
    """Where the bars begin, and one behind the last; a bar begins at `cut` where it lies within."""
    if high > _WIDE * max(low, 1):
        edges = [2**power for power in range((high + 1).bit_length() + 1)]
    else:
        step = _nice((high + 1 - low) / _BARS)
        edges = list(range(low // step * step, high + step + 1, step))
    first = max(edge for edge in [0, *edges] if edge <= low)
    last = min(edge for edge in edges if edge > high)
    if not first < cut < last:
        return [first, *(edge for edge in edges if first < edge < last), last]
    inner = {edge for edge in edges if first < edge < last and abs(edge - cut) > cut // 16}
    return sorted({first, cut, last} | inner)


def _nice(least: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, … that is at least as large."""
    if least <= 1:
        return 1
    ten = 10 ** floor(log10(least))
    return int(next(step * ten for step in (1, 2, 5, 10) if step * ten >= least))
