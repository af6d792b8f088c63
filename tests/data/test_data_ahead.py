"""Items made ahead: the same items, errors in their place, and no thread left behind."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from eyas.data.ahead import made_ahead


def test_the_same_items_in_order() -> None:
    assert list(made_ahead(range(100))) == list(range(100))
    assert list(made_ahead([])) == []


def test_items_are_made_before_they_are_asked_for() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for item in range(9):
            made.append(item)
            yield item

    ahead = made_ahead(items(), count=2)
    assert next(ahead) == 0
    wait_for(lambda: len(made) >= 4)
    assert len(made) == 4  # one taken, two lying ready, one that waits for its place
    ahead.close()


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("row 2")

    ahead = made_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="row 2"):
        next(ahead)


def test_closing_ends_the_thread() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 0

    ahead = made_ahead(endless())
    next(ahead)
    assert running()
    ahead.close()
    assert not running()


def test_the_end_of_the_process_ends_it() -> None:
    code = """
import itertools, torch
from eyas.data.ahead import made_ahead
ahead = made_ahead(torch.randn(200, 200) @ torch.randn(200, 200) for _ in itertools.count())
next(ahead)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def running() -> bool:
    return any(thread.name == "made ahead" for thread in threading.enumerate())


def wait_for(what) -> None:
    until = time.monotonic() + 10
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)
