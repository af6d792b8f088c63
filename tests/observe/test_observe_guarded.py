"""A sink that fails says so once, in one line, and the run goes on."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from eyas.errors import UserError
from eyas.observe.guarded import guarded
from eyas.observe.metrics import Sink
from eyas.training.events import Event, Validated

EVENTS = [Validated(i, 2.0, 10) for i in range(5)]


@contextmanager
def failing(
    seen: list[Event],
    opening: Exception | None = None,
    eating: Exception | None = None,
    closing: Exception | None = None,
) -> Iterator[Sink]:
    """A sink that fails where it is told to; while eating, only before the fourth event."""
    if opening:
        raise opening

    def sink(event: Event) -> None:
        if eating and event.step < 3:
            raise eating
        seen.append(event)

    yield sink
    if closing:
        raise closing


@pytest.mark.parametrize(
    ("broken", "seen"),
    [
        ({"opening": OSError(28, "No space left on device")}, []),
        ({"eating": OSError(28, "No space left on device")}, EVENTS[3:]),
        ({"closing": OSError(28, "No space left on device")}, EVENTS),
        ({"eating": RuntimeError("first"), "closing": RuntimeError("second")}, EVENTS[3:]),
        ({}, EVENTS),
    ],
)
def test_it_is_said_once(broken: dict[str, Exception], seen: list[Event]) -> None:
    said: list[str] = []
    eaten: list[Event] = []
    with guarded(failing(eaten, **broken), "log", said.append) as sink:
        for event in EVENTS:
            sink(event)
    reason = str(next(iter(broken.values()), ""))
    assert said == ([f"log failed: {reason}; the run goes on"] if broken else [])
    assert eaten == seen


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 1000), "x" * 200 + "…"),
    ],
)
def test_it_is_one_short_line(error: Exception, reason: str) -> None:
    said: list[str] = []
    with guarded(failing([], eating=error), "log", said.append) as sink:
        sink(EVENTS[0])
    assert said == [f"log failed: {reason}; the run goes on"]


def test_a_mistake_to_be_mended_first_comes_out() -> None:
    missing = failing([], opening=UserError("not installed"))
    with pytest.raises(UserError, match="not installed"), guarded(missing, "log"):
        pass


def test_the_end_of_the_run_by_an_error_reaches_the_sink_and_comes_out() -> None:
    told: list[BaseException] = []

    @contextmanager
    def opened() -> Iterator[Sink]:
        try:
            yield lambda _: None
        except BaseException as error:
            told.append(error)
            raise

    with pytest.raises(KeyboardInterrupt), guarded(opened(), "log"):
        raise KeyboardInterrupt
    assert [type(error) for error in told] == [KeyboardInterrupt]


def test_standard_error_gets_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    with guarded(failing([], eating=RuntimeError("gone")), "log") as sink:
        sink(EVENTS[0])
    assert capsys.readouterr() == ("", "log failed: gone; the run goes on\n")
