"""`report.html`: a run on one page that needs nothing else, made from the run's own files."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from eyas.config import read_toml
from eyas.files import write_bytes
from eyas.observe.curves import Lines, panels_of, series
from eyas.observe.documents import visible
from eyas.observe.lines import as_bytes
from eyas.observe.metrics import METRICS, Sink, read_metrics
from eyas.observe.page import PAGE
from eyas.observe.panels import svg
from eyas.training.events import Event, Finished

Facts = Mapping[str, Mapping[str, object]]
_SETTINGS = "run.toml"
_MOST_SAMPLES = 24
_LONGEST = 2000  # characters of a sample or a value


@contextmanager
def at_the_end(write: Callable[[], None]) -> Iterator[Sink]:
    """A sink that writes a file of what others have written, and so has to come after them."""

    def sink(event: Event) -> None:
        if isinstance(event, Finished):
            write()

    yield sink


def write_report(folder: Path, facts: Facts) -> None:
    """Writes `report.html` into a run's folder.

    facts: tables of what the files do not say, each by its title: data, hardware, versions.
    """
    import jinja2

    lines = read_metrics(folder / METRICS)
    settings = read_toml(folder / _SETTINGS) if (folder / _SETTINGS).exists() else {}
    sections = {**facts, "Settings": dict(_flat(settings))}
    page = jinja2.Environment(autoescape=True, trim_blocks=True).from_string(PAGE)
    text = page.render(
        title=_shown(folder.name),
        summary={name: _shown(value) for name, value in _summary(lines).items()},
        curves=svg(panels_of(lines)),
        samples=_samples(lines),
        sections={
            name: {key: _shown(value) for key, value in values.items()}
            for name, values in sections.items()
        },
    )
    write_bytes(folder / "report.html", as_bytes(text))


def _summary(lines: Lines) -> dict[str, object]:
    steps = [line for line in lines if line["event"] == "step"]
    held_out = series(lines, "validated", "loss")
    found: dict[str, object] = {}
    if ended := [line["reason"] for line in lines if line["event"] == "finished"]:
        found["ended"] = ended[-1]
    if steps:
        seconds = sum(line["seconds"] for line in steps)
        tokens, trained = (sum(line[n] for line in steps) for n in ("tokens", "trained_tokens"))
        found |= {
            "steps": f"{steps[-1]['step']:,}",
            "tokens": f"{tokens:,}, of which {trained:,} trained",
            "time of the steps": timedelta(seconds=round(seconds)),
            "speed": f"{tokens / max(seconds, 1e-9):,.0f} tokens a second{_mfu(lines)}",
            "peak memory": f"{max(line['peak_bytes'] for line in steps) / 2**30:.2f} GiB",
            "last loss": steps[-1]["loss"],
        }
    if held_out:
        step, loss = min(held_out, key=lambda point: point[1])
        found["lowest held-out loss"] = f"{loss:.4f}, after step {step:,}"
    return found


def _mfu(lines: Lines) -> str:
    shares = [share for _, share in series(lines, "step", "mfu")]
    return f", MFU {sum(shares) / len(shares):.0%}" if shares else ""


def _samples(lines: Lines) -> list[dict[str, Any]]:
    """The first sample of each prompt, and the last ones."""
    samples = [line for line in lines if line["event"] == "sampled"]
    first = {line["prompt"]: number for number, line in reversed([*enumerate(samples)])}
    early = sorted(first.values())[: _MOST_SAMPLES // 2]
    late = range(max(0, len(samples) - _MOST_SAMPLES // 2), len(samples))
    chosen = [samples[number] for number in sorted({*early, *late})]
    texts = ("prompt", "text")
    return [{"step": line["step"], **{t: _shown(line[t]) for t in texts}} for line in chosen]


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _shown(value: object) -> str:
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return visible(text if len(text) <= _LONGEST else text[:_LONGEST] + " …")
