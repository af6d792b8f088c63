"""The chat template of the RWKV-7 G1 series.

    System: …\\n\\nUser: …\\n\\nAssistant: …\\n\\nUser: …

A blank line separates turns and only turns. Trained is what the model has to write itself: what
follows `Assistant:`, the blank before it and the blank line after it included.

    Assistant: <think>\\n…\\n</think>\\n…                     thinking, trained with the answer
    Assistant: <think>\\n</think>\\n…                        explicitly none
    System: Tools:\\n[\\n{…},\\n{…}\\n]\\nReturn only a JSON function call.
    Assistant: ```json\\n{"name":…,"arguments":{…}}\\n```    a call
    User: Function output:\\n{…}                            what it gave back

Source: RWKV-v7/RWKV7-G1x-templates.txt of BlinkDL/RWKV-LM. A template file of the user's own
takes its place: `eyas.data.jinja`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eyas.data.answers import Mask, answer_spans, marker_spans, masked, spans_of
from eyas.data.messages import NAMES, Message, Template, plain_call, whole_text
from eyas.data.spans import Span, joined

__all__ = [
    "G1",
    "NAMES",
    "Mask",
    "Message",
    "Span",
    "Template",
    "answer_spans",
    "ask",
    "clean",
    "marker_spans",
    "masked",
    "open_template",
    "render",
    "spans_of",
    "tool_call_content",
    "tools_system",
]

# The lookbehind keeps it linear in a long run of \r.
_LINE_ENDS = re.compile(r"(?:(?<!\r)\r*\n)+")


class G1:
    """The template of the RWKV-7 G1 series. Contents and thinking are cleaned."""

    def render(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[Span, ...]:
        """A conversation; tools stand in its system turn, before what that says."""
        if tools:
            messages = _with_tools(messages, tools)
        spans = []
        for index, message in enumerate(messages, start=1):
            body = _body(message)
            rest = (f" {body}" if body else "") + ("\n\n" if index < len(messages) else "")
            spans += [
                Span(f"{NAMES[message.role]}:", False),
                Span(rest, message.role == "assistant" and message.trained),
            ]
        return joined(spans)


def open_template(path: Path | None) -> Template:
    """The template of a Jinja file; G1's without one. Raises UserError for a file that is none."""
    if path is None:
        return G1()
    from eyas.data.jinja import JinjaTemplate  # jinja2 is loaded by those who use it

    return JinjaTemplate(path)


def clean(content: str) -> str:
    """A turn's content without blank lines, which would end the turn."""
    if "\n\n" not in content and "\r" not in content:
        return content.strip()  # most turns, in a tenth of the time
    return _LINE_ENDS.sub("\n", content).strip()


def ask(question: str, thinking: bool | None = None) -> str:
    """What a model reads before its answer to a question: the beginning of a conversation.

    `thinking`: whether the answer begins with thinking; None leaves that to the model.
    """
    cue = {None: "", True: " <think", False: " <think>\n</think>"}[thinking]
    return f"{NAMES['user']}: {clean(question)}\n\n{NAMES['assistant']}:{cue}"


def render(messages: Sequence[Message]) -> tuple[Span, ...]:
    """A conversation in the G1 template."""
    return G1().render(messages)


def tools_system(tools: Sequence[Mapping[str, Any]]) -> str:
    """The system text that tells of tools; of OpenAI's descriptions what the model needs."""
    listed = ",\n".join(_json(_described(tool)) for tool in tools)
    return f"Tools:\n[\n{listed}\n]\nReturn only a JSON function call."


def tool_call_content(calls: Sequence[Mapping[str, Any]]) -> str:
    """The content of an assistant's turn that calls tools: one call, or a list of several.

    Raises ValueError for a call without a name.
    """
    lines = [_json(plain_call(call)) for call in calls]
    body = lines[0] if len(lines) == 1 else "[\n" + ",\n".join(lines) + "\n]"
    return f"```json\n{body}\n```"


def _with_tools(
    messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]
) -> Sequence[Message]:
    given = bool(messages) and messages[0].role == "system"
    told = f"\n{messages[0].content}" if given else ""
    return [Message("system", tools_system(tools) + told), *messages[given:]]


def _body(message: Message) -> str:
    content = message.content.strip()
    if message.role == "tool":
        content = f"Function output:\n{content}"
    if message.tool_calls:
        content = f"{content}\n{tool_call_content(message.tool_calls)}"
    if message.thinking is not None:
        content = f"<think>\n{message.thinking.strip()}\n</think>\n{content}"
    return clean(content)


def _described(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as G1 knows it: name, description, arguments. One without a schema stays as it is.

    Raises ValueError for a schema that is none.
    """
    function = tool.get("function", tool)
    schema = function.get("parameters") if isinstance(function, Mapping) else None
    if not isinstance(schema, Mapping):
        return dict(function if isinstance(function, Mapping) else tool)
    described = {key: function[key] for key in ("name", "description") if key in function}
    described["arguments"] = arguments = schema.get("properties") or {}
    if not isinstance(arguments, Mapping):
        raise ValueError('a tool\'s "properties" are no object; give {"x": {"type": "..."}, ...}')
    required = schema.get("required")
    if isinstance(required, list) and any(name not in required for name in arguments):
        described["required"] = required
    return described


def _json(value: object) -> str:
    return whole_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
