"""The report of a run: everything on one page, which needs nothing and runs nothing."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from eyas.config import write_toml
from eyas.observe.average import Average
from eyas.observe.curves import draw_losses, loss_curves, panels_of
from eyas.observe.metrics import open_metrics, read_metrics
from eyas.observe.panels import thinned
from eyas.observe.report import at_the_end, write_report
from eyas.training.events import Event, Finished, Sampled, Step, Validated

HOSTILE = (
    "</pre><script>alert(1)</script><img src=http://x.y/z.png onerror='a()'>&amp;\x00\x1b\ud800"
)
FACTS = {"Data": {"documents": 12, "file <b>": HOSTILE}, "Hardware": {"processor": "某处理器"}}
FETCHING = {"script", "img", "link", "iframe", "object", "embed", "video", "audio", "base", "form"}


def step(number: int, loss: float = 2.5) -> Step:
    return Step(number, loss, 1e-4, 0.5, 100, 40, 0.25, 2**30)


def run(folder: Path, events: list[Event]) -> Path:
    folder.mkdir(exist_ok=True)
    write_toml({"seed": 3, "method": {"name": "pissa", "rank": 32}}, folder / "run.toml")
    with open_metrics(folder / "metrics.jsonl") as sink:
        for event in events:
            sink(event)
    return folder


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def page(folder: Path, facts: Any = FACTS) -> Page:
    write_report(folder, facts)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_everything_is_there(tmp_path: Path) -> None:
    events = [
        step(1),
        step(2, 2.0),
        Validated(2, 2.25, 30),
        Sampled(2, "User: hi\n\nAssistant:", " 你好 <b>"),
        step(3, 1.5),
        Validated(3, 2.375, 30),
        Finished(3, "steps done"),
    ]
    found = page(run(tmp_path / "跑 <1>", events))
    assert "svg" in [tag for tag, _ in found.tags]
    assert "跑 <1>" in found.text
    for said in (
        "ended steps done",
        "steps 3",
        "tokens 300, of which 120 trained",
        "time of the steps 0:00:01",
        "speed 400 tokens a second",
        "peak memory 1.00 GiB",
        "last loss 1.5",
        "lowest held-out loss 2.2500, after step 2",
        "loss (nats per token)",
        "User: hi Assistant: 你好 <b>",
        "Data documents 12",
        "Hardware processor 某处理器",
        "Settings seed 3 method.name pissa method.rank 32",
    ):
        assert said in re.sub(r"\s+", " ", found.text), said


def test_nothing_is_fetched_and_nothing_runs(tmp_path: Path) -> None:
    events = [step(1), Sampled(1, HOSTILE, HOSTILE), Finished(1, HOSTILE)]
    found = page(run(tmp_path / "run", events))
    assert not FETCHING & {tag for tag, _ in found.tags}
    names = {name for _, attributes in found.tags for name in attributes}
    assert not {name for name in names if name.startswith("on")} | names & {"src", "href"}
    values = [(n, v or "") for _, a in found.tags for n, v in a.items() if "xmlns" not in n]
    assert not [value for _, value in values if re.search("https?:|//", value)]
    assert all(value.startswith("#") for name, value in values if name == "xlink:href")
    assert "@import" not in found.text
    assert found.text.count("<script>alert(1)</script>") == 4
    assert "\x00" not in found.text
    assert "\\x1b" in found.text


def test_a_long_run_stays_small(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", [])
    line = (
        '{"event": "step", "time": 1.0, "step": %d, "loss": %r, "learning_rate": %r, '
        '"gradient_norm": %r, "tokens": 9, "trained_tokens": 9, "seconds": 1.0, "peak_bytes": 9, '
        '"tokens_per_second": %r, "mfu": %r}\n'
    )
    with (folder / "metrics.jsonl").open("w") as file:
        for i in range(30000):
            file.write(line % (i + 1, *(abs(math.sin(i * k)) for k in range(1, 6))))
    with open_metrics(folder / "metrics.jsonl", resume_step=30000) as sink:
        for i in range(300):
            sink(Sampled(30000, f"{i % 7}" + "<" * 10000, "&'\"" * 10000))
    write_report(folder, {"Data": {str(i): "<" * 5000 for i in range(20)}})
    assert (folder / "report.html").stat().st_size < 2**20


def test_the_first_and_the_last_samples_are_shown(tmp_path: Path) -> None:
    samples = [Sampled(i, f"prompt {i % 2}", f"text-{i}.") for i in range(1, 101)]
    text = page(run(tmp_path / "run", samples)).text
    shown = [int(number) for number in re.findall(r"text-(\d+)\.", text)]
    assert shown == [1, 2, *range(89, 101)]


@pytest.mark.parametrize("events", [[], [Finished(0, "interrupted")], [step(1, math.nan)]])
def test_a_run_that_has_hardly_begun(tmp_path: Path, events: list[Event]) -> None:
    folder = run(tmp_path / "run", events)
    (folder / "run.toml").unlink()
    assert "Settings" in page(folder, {}).text
    draw_losses(folder)


def test_it_comes_at_the_end_of_a_run(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", [step(1)])
    with at_the_end(lambda: write_report(folder, FACTS)) as sink:
        sink(step(2))
        assert not (folder / "report.html").exists()
        sink(Finished(2, "steps done"))
    assert (folder / "report.html").exists()


def test_the_picture_of_a_run(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", [step(1), step(2)])
    draw_losses(folder)
    assert matplotlib.image.imread(folder / "loss.png").ndim == 3


def test_the_curves_of_a_run(tmp_path: Path) -> None:
    losses = [3.0, 2.5, 2.0]
    events = [*(step(i, loss) for i, loss in enumerate(losses, 1)), Validated(3, 2.25, 9)]
    lines = read_metrics(run(tmp_path / "run", events) / "metrics.jsonl")
    average = Average()
    expected = {
        "each step": [(1, 3.0), (2, 2.5), (3, 2.0)],
        "smoothed": [(i, average.update(loss)) for i, loss in enumerate(losses, 1)],
        "held out": [(3, 2.25)],
    }
    assert {curve.label: curve.points for curve in loss_curves(lines)} == expected
    panels = {panel.title: panel.curves for panel in panels_of(lines)}
    assert panels["peak memory (GiB)"][0].points == [(1, 1.0), (2, 1.0), (3, 1.0)]
    assert panels["tokens a second"][0].points == [(1, 400.0), (2, 400.0), (3, 400.0)]
    assert "MFU" not in panels


def test_thinned_curves_keep_means() -> None:
    points = [(x, 2.0 * x) for x in range(1, 11)]
    assert thinned(points, 4) == [(2.0, 4.0), (5.0, 10.0), (8.0, 16.0), (10.0, 20.0)]
    assert thinned(points, 10) == points
    assert thinned([], 10) == []
