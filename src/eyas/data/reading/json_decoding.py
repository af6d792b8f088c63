"""JSON with a meaning: a key that is there twice is an error."""

import json
import re

from eyas.data.reading.mistakes import RecordError

SINGLE_QUOTED = "bad JSON: single quotes, as Python prints them; write it with json.dumps"

_EXCERPT = 20


class DuplicateKeyError(ValueError):
    """An object has a key twice, so that nobody knows which of its values is meant."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DuplicateKeyError(f"has the key {shortened(key)} twice; keep one of them")
            seen.add(key)
    return values


STRICT = json.JSONDecoder(object_pairs_hook=_object)
LAX = json.JSONDecoder()
"""For finding out where a value ends that STRICT refused."""


def decoded(text: str) -> object:
    """The value of a whole text. Raises RecordError."""
    try:
        return STRICT.decode(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(json_problem(error, text)) from error


def json_problem(error: Exception, text: str) -> str:
    """What is wrong with `text`, on one line with what to do."""
    if isinstance(error, DuplicateKeyError):
        return str(error)
    if not isinstance(error, json.JSONDecodeError):
        return "bad JSON: a number or a nesting too large; make it smaller"
    if is_single_quoted(text[: error.pos + 1]):
        return SINGLE_QUOTED
    # The decoder may have gone over the line's end before it found that something is missing.
    column = min(error.pos, len(text.rstrip())) + 1
    where = f"bad JSON ({error.msg.removesuffix(' at')} at column {column})"
    if error.msg == "Extra data":
        return f"{where}; each line holds one record: begin another line there"
    return f"{where}; mend it there"


def is_single_quoted(text: str) -> bool:
    """Whether what the decoder took, and the character that it refused, is a Python dict's."""
    return bool(re.fullmatch(r"\s*[{\[]?\s*'", text[-_EXCERPT:])) or text.endswith((": '", "{'"))


def shortened(text: str) -> str:
    """A text in quotes, its middle left out where it is long."""
    return repr(text if len(text) <= 2 * _EXCERPT else f"{text[:_EXCERPT]}…{text[-_EXCERPT:]}")
