"""Options are declared once: a frozen dataclass whose fields carry their help.

    @dataclass(frozen=True)
    class Schedule:
        warmup_steps: Annotated[int, "steps of rising learning rate"] = 0

From that come TOML reading and writing (here) and the command line with its help (`cli.options`).
`None` as a default means that the value follows from the weights, the data or the machine.
"""

import dataclasses
import math
import sys
import types
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import tomli_w

from eyas.errors import UserError
from eyas.files import write_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")

_PLAIN: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
}


class Field(NamedTuple):
    """One option: its type without Annotated; `dataclasses.MISSING` where there is no default."""

    name: str
    type: Any
    default: Any
    help: str


class _MistakesError(Exception):
    """All that is wrong with one value, each with the key it belongs to."""

    def __init__(self, *texts: str) -> None:
        super().__init__(*texts)
        self.texts = texts


def fields_of(cls: type[Any]) -> list[Field]:
    """The fields of a dataclass, in the order of their declaration."""
    hints = get_type_hints(cls, include_extras=True)
    return [_field(field, hints[field.name]) for field in dataclasses.fields(cls)]


def from_mapping(cls: type[T], values: Mapping[str, object], where: str) -> T:
    """Builds the dataclass `cls`, nested ones included, from plain values.

    Strict: unknown and missing keys and wrong types are mistakes. Only an int for a float, a
    text for a path and a list for a tuple are taken. Raises one UserError that names every
    mistake and begins with `where` (a file, "the command line"). A ValueError of a dataclass's
    `__post_init__`, whose text begins with the field's name, is such a mistake.
    """
    try:
        return cast(T, _build(cls, values, ""))
    except _MistakesError as mistakes:
        raise UserError(f"{where}: {_one_line(mistakes.texts)}") from None


def to_mapping(config: Any) -> dict[str, object]:
    """What TOML can hold of a dataclass: paths as text, tuples as lists, None left out."""
    values = ((field.name, getattr(config, field.name)) for field in dataclasses.fields(config))
    return {name: _plain(value) for name, value in values if value is not None}


def read_toml(path: Path) -> dict[str, object]:
    """Reads a TOML file; a file that is missing or not TOML is a UserError with the line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not TOML: {error}; mend that line") from error


def write_toml(mapping: Mapping[str, object], path: Path) -> None:
    """Writes a TOML file atomically."""
    write_bytes(path, tomli_w.dumps(mapping).encode())


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the choice nearest to `word`, or nothing where none is near."""
    spelled = {choice.lower(): choice for choice in choices}
    near = get_close_matches(word.lower(), spelled, n=1)
    return f"; did you mean '{spelled[near[0]]}'?" if near else ""


def _field(field: "dataclasses.Field[Any]", hint: Any) -> Field:
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if get_origin(hint) is not Annotated:
        return Field(field.name, hint, default, "")
    bare, help_text = get_args(hint)[:2]
    return Field(field.name, bare, default, help_text)


def _build(cls: type[Any], values: Mapping[str, object], prefix: str) -> Any:
    fields = {field.name: field for field in fields_of(cls)}
    wrong = [
        f"unknown key '{prefix}{key}'{did_you_mean(key, fields)}"
        for key in values
        if key not in fields
    ]
    made: dict[str, object] = {}
    for name, field in fields.items():
        if name not in values:
            if field.default is dataclasses.MISSING:
                wrong.append(f"{prefix}{name} is missing")
            continue
        try:
            made[name] = _convert(field.type, values[name], prefix + name)
        except _MistakesError as mistakes:
            wrong.extend(mistakes.texts)
    if wrong:
        raise _MistakesError(*wrong)
    try:
        return cls(**made)
    except ValueError as error:
        raise _MistakesError(f"{prefix}{error}") from error


def _convert(kind: Any, value: object, key: str) -> object:
    """`value` as the type `kind`; raises _MistakesError that begin with `key`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _convert_union(inner, value, key)
    if origin is Literal:
        return _convert_choice(inner, value, key)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_convert(inner[0], item, f"{key}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return _build(cast(type[Any], kind), value, f"{key}.")
    if kind is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    if kind is Path and type(value) is str and value:
        return Path(value)
    if _fits(kind, value):
        return value
    raise _MistakesError(f"{key} = {_shown(value)} must be {_described(kind)}")


def _convert_union(members: tuple[Any, ...], value: object, key: str) -> object:
    """The member that `value` is already, or else the first that it can become."""
    for member in members:
        if _fits(member, value):
            return value
    wanted = [member for member in members if member is not types.NoneType]
    if len(wanted) == 1:
        return _convert(wanted[0], value, key)
    for member in wanted:
        try:
            return _convert(member, value, key)
        except _MistakesError:
            continue
    described = " or ".join(map(_described, wanted))
    raise _MistakesError(f"{key} = {_shown(value)} must be {described}")


def _convert_choice(choices: tuple[Any, ...], value: object, key: str) -> object:
    # 1 == True == 1.0: the type must agree too.
    if any(value == choice and type(value) is type(choice) for choice in choices):
        return value
    hint = did_you_mean(value, map(str, choices)) if isinstance(value, str) else ""
    raise _MistakesError(f"{key} = {_shown(value)} must be {_described(Literal[choices])}{hint}")


def _fits(kind: Any, value: object) -> bool:
    if get_origin(kind) is not None or not isinstance(value, kind):
        return False
    if isinstance(value, bool):  # an int to Python, and to nobody who writes an option
        return kind is bool
    return not (isinstance(value, float) and math.isnan(value))


def _described(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return "a list"
    return "a table" if dataclasses.is_dataclass(kind) else _PLAIN[kind]


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _one_line(texts: tuple[str, ...]) -> str:
    if len(texts) == 1:
        return texts[0]
    return " ".join(f"({number}) {text}" for number, text in enumerate(texts, 1))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value):
        return to_mapping(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def check_at_least_1(config: object, *names: str) -> None:
    """Raises ValueError that begins with the field's name where one of these is smaller."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} = {getattr(config, name)} must be at least 1")
