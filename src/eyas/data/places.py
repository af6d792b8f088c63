"""Where documents come from, without a string in memory for each of millions."""

from collections.abc import Sequence
from typing import overload

import numpy as np
from jaxtyping import Int64


class NumberedPlaces(Sequence[str]):
    """Places that differ in a number only, such as "data.bin document 17"."""

    def __init__(self, name: str, numbers: Int64[np.ndarray, "n"]) -> None:
        self.name = name
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "NumberedPlaces": ...
    def __getitem__(self, index: int | slice) -> "str | NumberedPlaces":
        if isinstance(index, slice):
            return NumberedPlaces(self.name, self.numbers[index])
        return f"{self.name} {self.numbers[index]}"


def chosen_places(places: Sequence[str], indices: Int64[np.ndarray, "n"]) -> Sequence[str]:
    """The places at some indices, in that order."""
    if isinstance(places, NumberedPlaces):
        return NumberedPlaces(places.name, places.numbers[indices])
    return tuple(places[index] for index in indices.tolist())
