"""Where documents come from, without a string in memory for each of millions."""

import re
from array import array
from collections.abc import Sequence
from typing import overload

import numpy as np
from jaxtyping import Int, Int32, Int64

# A number that would not come back as it was written ("file 007") is a part of the name.
_NUMBERED = re.compile(r"(.*\D|)(0|[1-9]\d{0,17})", re.DOTALL)
_NO_NUMBER = -1


class NamedPlaces(Sequence[str]):
    """Places that are a name and, mostly, a number, such as "data.jsonl:17": 12 bytes each.

    `which` are positions in `names`; a number of -1 stands for none.
    """

    def __init__(
        self,
        names: Sequence[str],
        which: Int32[np.ndarray, "n"],
        numbers: Int64[np.ndarray, "n"],
    ) -> None:
        self.names = names
        self.which = which
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "NamedPlaces": ...
    def __getitem__(self, index: int | slice) -> "str | NamedPlaces":
        if isinstance(index, slice):
            return NamedPlaces(self.names, self.which[index], self.numbers[index])
        number = self.numbers[index]
        return f"{self.names[self.which[index]]}{'' if number == _NO_NUMBER else number}"

    def at(self, indices: Int[np.ndarray, "m"]) -> "NamedPlaces":
        return NamedPlaces(self.names, self.which[indices], self.numbers[indices])


def numbered(name: str, numbers: Int64[np.ndarray, "n"]) -> NamedPlaces:
    """Places that differ in a number only, such as "data.bin document 17"."""
    return NamedPlaces([f"{name} "], np.broadcast_to(np.int32(0), numbers.shape), numbers)


class GrowingPlaces:
    """Places one by one, kept as `NamedPlaces` keeps them."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._which = array("i")
        self._numbers = array("q")

    def append(self, place: str) -> None:
        match = _NUMBERED.fullmatch(place)
        name, number = (match[1], int(match[2])) if match else (place, _NO_NUMBER)
        self._which.append(self._names.setdefault(name, len(self._names)))
        self._numbers.append(number)

    def places(self) -> NamedPlaces:
        return NamedPlaces(
            tuple(self._names),
            np.array(self._which, np.int32),
            np.array(self._numbers, np.int64),
        )


def chosen_places(places: Sequence[str], indices: Int64[np.ndarray, "n"]) -> Sequence[str]:
    """The places at some indices, in that order."""
    if isinstance(places, NamedPlaces):
        return places.at(indices)
    return tuple(places[index] for index in indices.tolist())
