"""What checks the annotated shapes and types of eyas's functions while its tests run."""

from collections.abc import Callable
from typing import Any

from beartype import beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its check. Without one where it lies inside another function: it is made
    anew at each call of that one, and so would be its check, which costs more than most tests.
    """
    inside = "<locals>" in getattr(function, "__qualname__", "")
    return function if inside else beartype(function)
