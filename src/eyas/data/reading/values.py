"""Values of records: what they are, in words, and the checks that they pass."""

import json
from collections.abc import Mapping
from typing import Any

from eyas.data.reading.mistakes import RecordError


def text_value(value: object, what: str) -> str:
    """A text that is not blank; `what` names it in errors. Raises RecordError."""
    if not isinstance(value, str):
        raise RecordError(f"{what} is {kind_of(value)}, not a string; make it one")
    if not value or value.isspace():
        raise RecordError(f"{what} is empty; remove it or fill it in")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RecordError(
            f"{what} has half a surrogate pair ({value[error.start]!a}) at character "
            f"{error.start + 1}; write the whole character or remove it"
        ) from error
    return value


def list_value(value: object, what: str, example: str) -> list[Any]:
    """A list that is not empty, or a text that is one in JSON. Raises RecordError."""
    value = unpacked(value)
    if not isinstance(value, list) or not value:
        raise RecordError(f"{what} is {kind_of(value)}, not a list; it must be {example}")
    return value


def objects(value: object, what: str) -> tuple[Mapping[str, Any], ...]:
    """A list of objects, or a text that is one in JSON; none where it is null or empty."""
    if value is None or not (value := unpacked(value)):
        return ()
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in items):
        raise RecordError(f"{what} is {kind_of(value)}, not a list of objects; make it one")
    return tuple(without_nulls(item) for item in items)


def unpacked(value: object) -> object:
    """A list or object that is written as a JSON text, as tables have it; else the value."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def without_nulls(value: Any) -> Any:
    """A value without the nulls that tables fill in for missing keys."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def kind_of(value: object) -> str:
    """What a value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string" if value else "empty"
    if isinstance(value, (list, dict)):
        return ("a list" if isinstance(value, list) else "an object") if value else "empty"
    return f"a value of type {type(value).__name__}"
