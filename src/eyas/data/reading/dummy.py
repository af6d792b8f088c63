"""Data made here, to try things out with: sums such as `.12+144=156.`, as RWKV-LM made them."""

from collections.abc import Iterator

from eyas.data.reading.record import Item

_SUMS = 10_000  # after these RWKV-LM's repeat themselves


def dummy_sums() -> Iterator[Item]:
    """The same each time; a + a² % 10000 for each number a of up to four digits."""
    for first in range(_SUMS):
        second = first * first % _SUMS
        yield f"dummy {first + 1}", {"text": f".{first}+{second}={first + second}."}
