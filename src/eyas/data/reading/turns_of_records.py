"""Conversations in records: lists of turns, in OpenAI's form and in ShareGPT's.

    {"role": "user", "content": "…"}            {"from": "human", "value": "…"}

A content may be a list of parts, `{"type": "text", "text": "…"}`. An assistant may have
`reasoning_content` (or `reasoning`, `thinking`) and `tool_calls`.
"""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from eyas.config import did_you_mean
from eyas.data.messages import Message
from eyas.data.reading.mistakes import RecordError
from eyas.data.reading.values import kind_of, list_value, objects, text_value

EXAMPLE = '[{"role": "user", "content": "..."}, ...]'

_ROLES = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "bot", "model", "ai", "function_call"),
    "tool": ("tool", "function", "observation", "ipython", "function_response", "tool_response"),
}
_ROLE_OF = {name: role for role, names in _ROLES.items() for name in names}
_THINKING = ("reasoning_content", "reasoning", "thinking")


def messages_of(value: object, field: str) -> list[Message]:
    """The checked turns; empty system turns are left out, which mean that there is none."""
    turns = list_value(value, f'"{field}"', EXAMPLE)
    messages = [_message(turn, f"message {i}") for i, turn in enumerate(turns, start=1)]
    kept = [message for message in messages if message.content or message.role != "system"]
    if not kept:
        raise RecordError(f'"{field}" holds nothing but an empty system message; add turns')
    return kept


def _message(turn: object, which: str) -> Message:
    fields: Mapping[str, Any] = turn if isinstance(turn, dict) else {}
    names = ("role", "content") if "role" in fields else ("from", "value")
    if names[0] not in fields:
        found = reprlib.repr(list(turn) if isinstance(turn, dict) else turn)
        raise RecordError(f'{which} has no "role" and "content" (found: {found}); give both')
    given = fields[names[0]]
    role = _role(given, which)
    calls = objects(fields.get("tool_calls"), f"{which}'s tool_calls")
    content = _text(fields.get(names[1]), f"{which}'s content")
    if given == "function_call":
        calls, content = objects(content, f"{which}'s content"), ""
    thinking = thinking_of(fields) if role == "assistant" else None
    if (calls or role == "system") and content in (None, ""):
        return Message(role, "", thinking, calls)
    if content is None and names[1] not in fields:
        found = reprlib.repr(list(fields))
        raise RecordError(f'{which} has no "{names[1]}" (found: {found}); give it')
    text = text_value(content, f"{which}'s content")
    return Message(role, text, thinking, calls)


def _role(given: object, which: str) -> str:
    role = _ROLE_OF.get(given.strip().lower()) if isinstance(given, str) else None
    if role is None:
        hint = did_you_mean(given, _ROLE_OF) if isinstance(given, str) else ""
        raise RecordError(
            f"{which} has the role {reprlib.repr(given)}; accepted are {', '.join(_ROLES)}{hint}"
        )
    return role


def _text(content: object, what: str) -> object:
    """The text of a content in parts; any other as it is."""
    if not isinstance(content, list) or not content:
        return content
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, dict) else kind_of(part)
            raise RecordError(f"{what} has a part that is no text ({kind!r}); keep texts only")
        texts.append(text)
    return "".join(texts)


def thinking_of(fields: Mapping[str, Any], names: Sequence[str] = _THINKING) -> str | None:
    """What an assistant thinks, in the first of these fields; "" where it is told not to."""
    for name in names:
        if (thought := fields.get(name)) is not None:
            return "" if thought == "" else text_value(thought, f'"{name}"')
    return None
