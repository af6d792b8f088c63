"""Conversations in records: lists of turns, in OpenAI's form and in ShareGPT's.

    {"role": "user", "content": "…"}            {"from": "human", "value": "…"}

A content may be a list of parts, `{"type": "text", "text": "…"}`. An assistant may have
`reasoning_content` (or `reasoning`, `thinking`), `tool_calls` (or the older `function_call`), and
`weight`: 0 where its turn is not trained.
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
_CALL = "function_call"  # OpenAI's first; LLaMA-Factory's role: the call is the content
_THINKING = ("reasoning_content", "reasoning", "thinking")


def messages_of(value: object, field: str) -> list[Message]:
    """The checked turns; empty system turns are left out, which mean that there is none."""
    messages = []
    for number, turn in enumerate(list_value(value, f'"{field}"', EXAMPLE), start=1):
        try:
            message = _message(turn)
        except RecordError as error:
            raise RecordError(f"message {number}: {error}") from error
        if message.content or message.role != "system":
            messages.append(message)
    if not messages:
        raise RecordError(f'"{field}" holds nothing but an empty system message; add turns')
    return messages


def thinking_of(fields: Mapping[str, Any], names: Sequence[str] = _THINKING) -> str | None:
    """What an assistant thinks, in the first of these fields; "" where it is told not to."""
    for name in names:
        if (thought := fields.get(name)) is not None:
            return "" if thought == "" else text_value(thought, f'"{name}"')
    return None


def _message(turn: object) -> Message:
    if not isinstance(turn, dict):
        raise RecordError(f"is {reprlib.repr(turn)}, not an object; a turn is {EXAMPLE[1:-6]}")
    said, told = ("role", "content") if "role" in turn else ("from", "value")
    if said not in turn or not {told, "tool_calls", _CALL} & turn.keys():
        found = reprlib.repr(list(turn))
        raise RecordError(f'has no "role" and "content" (found: {found}); give both')
    role = _role(turn[said])
    calls: tuple[Mapping[str, Any], ...] = ()
    thinking, trained = None, True
    if role == "assistant":
        field = "tool_calls" if turn.get("tool_calls") else _CALL
        calls, thinking = objects(turn.get(field), f'"{field}"'), thinking_of(turn)
        trained = _is_trained(turn)
    content = turn.get(told)
    if isinstance(content, list):
        content = _joined(content)
    if turn[said] == _CALL:
        calls, content = objects(content, f'"{told}"'), ""
    if content in (None, "") and (calls or role == "system"):
        return Message(role, "", thinking, calls, trained)
    return Message(role, text_value(content, f'"{told}"'), thinking, calls, trained)


def _is_trained(turn: Mapping[str, Any]) -> bool:
    weight = turn.get("weight")
    if weight not in (None, 0, 1):
        raise RecordError(f'"weight" is {reprlib.repr(weight)}; it must be 1, trained, or 0')
    return weight != 0


def _role(given: object) -> str:
    name = given.strip().lower() if isinstance(given, str) else ""
    if name in _ROLE_OF:
        return _ROLE_OF[name]
    raise RecordError(
        f"has the role {reprlib.repr(given)}; accepted are {', '.join(_ROLES)}"
        f"{did_you_mean(name, _ROLE_OF)}"
    )


def _joined(parts: list[Any]) -> str:
    """The text of a content in parts."""
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            kind = repr(part.get("type")) if isinstance(part, dict) else kind_of(part)
            raise RecordError(f"has a part that is no text ({kind}); keep texts only")
        texts.append(text)
    return "".join(texts)
