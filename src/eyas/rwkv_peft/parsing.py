"""From the words of a command line to the values of its flags, all mistakes told together."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from eyas.config import did_you_mean
from eyas.errors import UserError
from eyas.rwkv_peft.flags import Flag, Given, Kind, given_by
from eyas.rwkv_peft.mangled import list_of, settings_of

_SHOWN = 5


def parse(flags: Sequence[Flag], words: Sequence[str], program: str, about: str = "") -> Given:
    """The values of the flags.

    Raises UserError for unknown flags and values that are none; SystemExit after `--help`.
    """
    # What a flag takes is decided below: a shell may have made any number of words of it.
    parser = argparse.ArgumentParser(program, description=about, allow_abbrev=False)
    for flag in flags:
        names = [f"--{name}" for name in (flag.name, *flag.also)]
        # bash makes --flag={a,b} two flags; any other that comes twice counts the last time.
        action = "extend" if flag.kind == "settings" else "store"
        takes: dict[str, Any] = {"action": action, "nargs": "*", "metavar": _metavar(flag)}
        if flag.kind == "switch":
            takes = {"action": "store_true", "default": None}
        parser.add_argument(*names, dest=flag.name, help=_help(flag), **takes)
    found, strange = parser.parse_known_args(words)
    wrong = [_stranger(word, flags) for word in strange if word.startswith("-")]
    values: dict[str, Any] = {}
    for flag in flags:
        typed = getattr(found, flag.name)
        if typed is not None and not (flag.may_be_empty and typed in ([], [""])):
            try:
                values[flag.name] = _value(flag, typed)
            except ValueError as error:
                wrong.append(f"--{flag.name} {error}")
    if not wrong and strange:
        wrong = [f"{strange[0]!r} follows no flag"]
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise UserError("; ".join(wrong[:_SHOWN]) + more)
    return given_by(flags, values)


def _value(flag: Flag, typed: Any) -> Any:
    if flag.kind == "switch":
        return typed
    value = _READ[flag.kind](typed)
    if flag.kind == "settings" and (strange := [key for key in value if key not in flag.keys]):
        known = ", ".join(flag.keys)
        raise ValueError(
            f"knows no {strange[0]!r}{did_you_mean(strange[0], flag.keys)}; there are {known}"
        )
    return value


def _stranger(word: str, flags: Sequence[Flag]) -> str:
    """What to say of an unknown flag."""
    name = word.lstrip("-").partition("=")[0].replace("-", "_")
    if owner := next((flag for flag in flags if name in flag.keys), None):
        return f"{word} goes into the JSON of --{owner.name}"
    known = (f"--{spelling}" for flag in flags for spelling in (flag.name, *flag.also))
    return f"no flag {word}{did_you_mean(f'--{name}', known)}"


def _one(words: Sequence[str], what: str) -> str:
    if not words:
        raise ValueError(
            "has no value: the variable behind it is empty, or of another name in the script"
        )
    if len(words) > 1:
        raise ValueError(f"takes one {what} and got {len(words)} ({' '.join(words)}); quote it")
    return words[0]


def _int(words: Sequence[str]) -> int:
    word = _one(words, "number")
    try:
        return int(word)
    except ValueError:
        raise ValueError(f"{word!r} is not a whole number") from None


def _float(words: Sequence[str]) -> float:
    word = _one(words, "number")
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"{word!r} is not a number") from None


def _settings(words: Sequence[str]) -> dict[str, object]:
    _one(words[:1], "object")
    try:
        return settings_of(words)
    except ValueError as error:
        raise ValueError(f"{error}; write it between single quotes") from None


_READ: dict[Kind, Callable[[Sequence[str]], Any]] = {
    "text": lambda words: _one(words, "text"),
    "int": _int,
    "float": _float,
    "list": list_of,
    "settings": _settings,
}


def _metavar(flag: Flag) -> str:
    return "JSON" if flag.kind == "settings" else flag.kind.upper()


def _help(flag: Flag) -> str:
    default = "" if flag.kind == "switch" or flag.left_out in ("", ()) else flag.left_out
    shown = f" [default: {default}]" if default != "" else ""
    return f"{flag.here}{shown}".replace("%", "%%")
