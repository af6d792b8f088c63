"""A conversation as records hold it: its turns, and the calls of tools in them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from eyas.data.spans import Span

NAMES = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "User"}


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; the role is a key of `NAMES`.

    `thinking` is what the assistant thinks before the answer; "" says that it does not think, None
    says nothing about it. `tool_calls` are the assistant's, as OpenAI's records have them:
    `{"function": {"name": …, "arguments": …}}`; the bare `{"name": …, "arguments": …}` will do.
    `trained`: an assistant's turn that is not is only read.
    """

    role: str
    content: str
    thinking: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    trained: bool = True


@runtime_checkable
class Template(Protocol):
    """How conversations become text."""

    def render(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[Span, ...]:
        """The conversation in spans; trained is what the assistant has to write itself.

        `tools`: descriptions of what it may call, as OpenAI's records have them.
        Raises ValueError, its text one line, for a conversation the template cannot write.
        """


def plain_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call as `{"name": …, "arguments": {…}}`; arguments that are a JSON text are parsed.

    Raises ValueError where it names no tool.
    """
    function = call.get("function", call)
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name:
        raise ValueError('a tool call has no "name"; give {"name": "...", "arguments": {...}}')
    return {"name": name, "arguments": _parsed(function.get("arguments", {}))}


def whole_text(text: str) -> str:
    """The text itself; ValueError where it holds half a surrogate pair, which JSON can spell."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the conversation holds half a surrogate pair ({text[error.start]!a}); write the "
            "whole character or remove it"
        ) from error
    return text


def _parsed(arguments: Any) -> Any:
    """Arguments as an object; a text that is no JSON stays what it is."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
