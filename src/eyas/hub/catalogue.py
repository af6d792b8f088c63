"""The released models that go by a short name: the file models.toml."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from eyas.config import from_mapping, read_toml

_FILE = Path(__file__).with_name("models.toml")


@dataclass(frozen=True)
class Released:
    """A released model: where it lies, and what is known of its file."""

    name: str
    repo: str  # on Hugging Face
    file: str
    version: str  # as `Shape` has it
    parameters: str  # such as 0.1B
    layers: int
    width: int
    ctx: int  # tokens it was trained with
    size: int  # bytes
    sha256: str
    trains_in: int  # bytes that training it takes, predicted
    modelscope: str | None = None  # the repository there


@dataclass(frozen=True)
class _Catalogue:
    models: tuple[Released, ...]


@cache
def released() -> tuple[Released, ...]:
    """All that are known, in the order of the file."""
    return from_mapping(_Catalogue, read_toml(_FILE), str(_FILE)).models


def released_as(name: str) -> Released | None:
    """The model of this short name, or of this file name, in upper or lower case."""
    lower = name.lower()
    return next((m for m in released() if lower in (m.name, m.file.lower())), None)
