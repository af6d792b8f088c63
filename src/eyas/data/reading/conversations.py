"""Records become texts and conversations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from eyas.config import did_you_mean
from eyas.data.messages import Message
from eyas.data.reading.fields import Fields, shown
from eyas.data.reading.mistakes import EmptyError, RecordError
from eyas.data.reading.turns_of_records import messages_of, thinking_of
from eyas.data.reading.values import kind_of, list_value, objects, text_value

_PAIRS = '[["question", "answer"], ...]'


@dataclass(frozen=True)
class Conversation:
    """Turns, and the tools that the assistant may call."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()


def content_of(record: Mapping[str, Any], fields: Fields) -> str | Conversation:
    """What a record with these fields holds. Raises RecordError."""
    if (name := fields.text) is not None:
        text = _there(record, name)
        if isinstance(text, str) and not text.strip():
            raise EmptyError(f'"{name}" is empty; remove it or fill it in')
        return text_value(text, f'"{name}"')
    tools = fields.tools
    told = objects(record.get(tools), f'"{tools}"') if tools else ()
    if (name := fields.messages) is not None:
        messages = messages_of(_there(record, name), name)
        return Conversation((*_system(record, fields, messages), *messages), told)
    return Conversation(tuple(_turns(record, fields)), told)


def _system(
    record: Mapping[str, Any], fields: Fields, messages: Sequence[Message]
) -> list[Message]:
    """The system turn that a field beside the turns holds, unless they have one themselves."""
    name = fields.system
    if name is None or not record.get(name) or messages[0].role == "system":
        return []
    return [Message("system", text_value(record[name], f'"{name}"'))]


def _turns(record: Mapping[str, Any], fields: Fields) -> list[Message]:
    """Fields that follow each other and are said by the same are one turn."""
    messages: list[Message] = []
    thinking: str | None = None
    for target, group in groupby(fields.mapped, key=lambda mapped: mapped.target):
        names = [name for name, _ in group]
        if target == "thinking":
            thinking = thinking_of(record, names)
        elif target != "tools" and (target != "system" or _given(record, names)):
            if target == "user" and fields.history:
                messages += _earlier(record.get(fields.history), fields.history)
            messages += _said(record, names, target, thinking)
            thinking = None
    return messages


def _said(
    record: Mapping[str, Any], names: Sequence[str], role: str, thinking: str | None
) -> list[Message]:
    """The turn of some fields, each on a line; or the turns that the only one of them holds."""
    given = _given(record, names) or names[:1]
    if isinstance(value := _there(record, given[0]), list) and len(given) == 1:
        return messages_of(value, given[0])
    text = "\n".join(text_value(record[name], f'"{name}"') for name in given)
    return [Message(role, text, thinking if role == "assistant" else None)]


def _there(record: Mapping[str, Any], name: str) -> object:
    """A field that must be there, whatever it holds."""
    if name not in record:
        hint = did_you_mean(name, record)
        raise RecordError(f'has no "{name}" ({shown(record)}); give it{hint}')
    return record[name]


def _given(record: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [name for name in names if record.get(name) not in (None, "")]


def _earlier(history: object, name: str) -> list[Message]:
    """Earlier questions with their answers."""
    if history in (None, "", []):
        return []
    messages = []
    for number, pair in enumerate(list_value(history, f'"{name}"', _PAIRS), start=1):
        if not isinstance(pair, list) or len(pair) != 2:
            raise RecordError(f'"{name}" has {kind_of(pair)} at {number}; it must be {_PAIRS}')
        for role, said in zip(("user", "assistant"), pair, strict=True):
            messages.append(Message(role, text_value(said, f'"{name}" at {number}')))
    return messages
