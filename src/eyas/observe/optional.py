"""Libraries that eyas does without, until they are asked for."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any


def optional(name: str) -> Any:
    """The library of that name, which is also that of eyas's extra.

    Raises ModuleNotFoundError, which says how it is installed, where it is not.
    """
    if find_spec(name) is None:
        raise ModuleNotFoundError(f"{name} is not installed; say: pip install 'eyas[{name}]'")
    return import_module(name)
