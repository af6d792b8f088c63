"""The terminal's bar and the plain lines of a log file."""

import io
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.console import Console

from eyas.observe.average import Average
from eyas.observe.console import console
from eyas.observe.flops import Utilization
from eyas.training.events import Event, Finished, Sampled, Saved, Step, Validated


def step(number: int, seconds: float = 1.0, loss: float = 2.0) -> Step:
    return Step(number, loss, 2e-5, 0.5, 1000, 40, seconds, 3 * 2**30)


def shown(events: Iterable[Event], total: int, terminal: bool = False, width: int = 120) -> str:
    file = io.StringIO()
    out = Console(file=file, force_terminal=terminal, width=width, _environ={"TERM": "xterm"})
    with console(total, out) as sink:
        for event in events:
            sink(event)
    return file.getvalue()


def test_a_plain_line_says_everything() -> None:
    assert shown([step(25, seconds=0.5)], total=100) == (
        "step 25/100  loss 2.000 (2.000)  0:00:38 left  "
        "lr 2.0e-05  2,000 tok/s (80 trained)  3.0 GiB\n"
    )


def test_utilization_and_the_last_held_out_loss() -> None:
    file = io.StringIO()
    # 1000 tokens of 2 FLOPs in a second are a quarter of 8000.
    with console(100, Console(file=file), utilization=Utilization(2.0, 0.0, 8000.0)) as sink:
        sink(Validated(1, 2.25, 100))
        sink(step(2))
    assert file.getvalue().splitlines()[1] == (
        "step 2/100  loss 2.000 (2.000)  held out 2.250  0:01:38 left  "
        "lr 2.0e-05  1,000 tok/s (40 trained)  MFU 25%  3.0 GiB"
    )


def steps_said(output: str) -> list[int]:
    return [int(line.split()[1].split("/")[0]) for line in output.splitlines()]


@pytest.mark.parametrize(
    ("total", "seconds", "said"),
    [
        (100, 30.0, list(range(1, 101))),  # slow: every step
        (20, 1.0, [1, 11, 20]),  # quick: every ten seconds, and the last
        (3000, 1.0, [1, *range(31, 3000, 30), 3000]),  # every hundredth part
        (10**6, 200.0, [1, 3, 5]),  # a very long run: every five minutes, more or less
    ],
)
def test_plain_lines_come_at_sensible_intervals(
    total: int, seconds: float, said: list[int]
) -> None:
    last = min(total, 3000) if total < 10**6 else 6
    output = shown((step(i, seconds) for i in range(1, last + 1)), total)
    assert steps_said(output) == said


def test_other_events_have_lines_of_their_own() -> None:
    events = [
        Validated(10, 2.5, 100),
        Validated(20, 2.25, 100),
        Validated(30, 2.375, 100),
        Saved(30, Path("run") / "[checkpoint]"),
        Finished(30, "interrupted"),
    ]
    expected = [
        "step 10: held-out loss 2.5000, the lowest so far",
        "step 20: held-out loss 2.2500, the lowest so far",
        "step 30: held-out loss 2.3750",
        f"step 30: saved {Path('run') / '[checkpoint]'}",
        "step 30: interrupted",
    ]
    assert shown(events, total=30).splitlines() == expected
    on_terminal = shown(events, total=30, terminal=True)
    assert all(line in on_terminal for line in expected)


SAMPLE = Sampled(30, "User: a[b]\n\nAssistant:", " \x1b[31m[x]" + "y" * 1000)


def test_a_sample_is_a_block_that_cannot_steer_the_terminal() -> None:
    assert shown([SAMPLE], total=100).splitlines() == [
        "step 30: a sample",
        "  | User: a[b]",
        "  | ",
        "  | Assistant:[[ \\x1b[31m[x]" + "y" * 591 + " …]]",
    ]


def test_a_sample_is_dim_on_a_terminal() -> None:
    output = shown([SAMPLE], total=100, terminal=True)
    assert "\x1b[2m  | User: a[b]\x1b[0m" in output
    assert "\x1b[31m" not in output


def test_what_was_lowest_before_the_resume_counts() -> None:
    file = io.StringIO()
    with console(10, Console(file=file), lowest=2.0) as sink:
        sink(Validated(5, 2.5, 100))
        sink(Validated(6, 1.5, 100))
    assert file.getvalue().splitlines() == [
        "step 5: held-out loss 2.5000",
        "step 6: held-out loss 1.5000, the lowest so far",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_the_bar_shows_the_last_step(width: int) -> None:
    output = shown([step(1), step(300)], total=1000, terminal=True, width=width)
    assert "300/1000  loss 2.000 (2.000)  0:11:40 left" in output
    assert "lr 2.0e-05  1,000 tok/s (40 trained)  3.0 GiB" in output


def test_average_is_exact_for_equal_values_and_follows_new_ones() -> None:
    average = Average(memory=4)
    assert [average.update(3.0) for _ in range(3)] == pytest.approx([3.0] * 3)
    # Written out: weights 3/4, 1 for two values, normalized.
    average = Average(memory=4)
    average.update(1.0)
    assert average.update(2.0) == pytest.approx((0.75 * 1.0 + 2.0) / 1.75)
