"""What a flag is: one declaration, from which parsing, help, the docs and the tests come."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Kind = Literal["text", "int", "float", "list", "settings", "switch"]
"""settings: a JSON object; switch: stands alone."""


@dataclass(frozen=True)
class Sets:
    """Its value is that of a setting of eyas, `table.name`."""

    setting: str
    convert: Callable[[Any], object] = lambda value: value


@dataclass(frozen=True)
class OfFile:
    """Says what the model file says itself, under this name of `eyas.models.Shape`."""

    what: str
    unknown: int | None = None  # the value that leaves it to the program


@dataclass(frozen=True)
class Only:
    """Has one meaning here; every other value is refused."""

    values: tuple[object, ...]


@dataclass(frozen=True)
class Idle:
    """There is nothing for it to do."""


@dataclass(frozen=True)
class Handled:
    """What it does takes more than a line, in `eyas.rwkv_peft.meaning`."""


Does: TypeAlias = Sets | OfFile | Only | Idle | Handled


@dataclass(frozen=True)
class Flag:
    """A flag of RWKV-PEFT, or one of ours beside them (which has no meaning there)."""

    name: str
    kind: Kind
    default: Any  # there
    does: Does
    there: str
    here: str
    ours: Any = None  # the default here, where it is another one
    also: tuple[str, ...] = ()  # other spellings
    keys: tuple[str, ...] = ()  # of settings: the names that may be in it
    may_be_empty: bool = False  # typed without a value it is as if it were left out

    @property
    def left_out(self) -> Any:
        """Its value where it is not typed."""
        return self.default if self.ours is None else self.ours


@dataclass(frozen=True)
class Given:
    """What was typed. A flag that was not has its default."""

    values: Mapping[str, Any]
    typed: frozenset[str]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def __contains__(self, name: str) -> bool:
        return name in self.typed


def given_by(flags: Sequence[Flag], typed: Mapping[str, Any]) -> Given:
    """The values of all flags."""
    return Given({**{flag.name: flag.left_out for flag in flags}, **typed}, frozenset(typed))


def idle_lines(flags: Sequence[Flag], given: Given) -> list[str]:
    """A line on each flag that was typed and does nothing."""
    return [
        f"--{flag.name}{'' if flag.kind == 'switch' else f' {given[flag.name]}'}: "
        f"nothing to do ({flag.here})"
        for flag in flags
        if isinstance(flag.does, (Only, Idle)) and flag.name in given
    ]
