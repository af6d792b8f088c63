"""A conversation becomes a prompt in the model's own template, and says how the answer is read.

`reasoning_effort` is a mode of thinking of G1's template (`eyas.chat.wording`); none given leaves
it to the model whether it thinks.
"""

import dataclasses
from collections.abc import Sequence

from eyas.chat.wording import Thinking, prompt_of, stops_of, worded
from eyas.data.messages import Message, Template
from eyas.errors import UserError
from eyas.serving import transcript
from eyas.serving.errors import ApiError
from eyas.serving.requests import ChatMessage, Effort
from eyas.serving.transcript import Form

_MODES: dict[Effort | None, Thinking] = {
    None: "auto",
    "none": "off",
    "minimal": "off",
    "low": "short",
    "medium": "on",
    "high": "long",
    "xhigh": "long",
}
_READ: dict[Thinking, transcript.Thinking] = {"auto": "looked for", "off": "over"}


def prompted(
    template: Template,
    messages: Sequence[ChatMessage],
    effort: Effort | None,
    stop: tuple[str, ...],
) -> tuple[str, Form]:
    """The text that the model goes on from, and how what it writes is read.

    Raises ApiError where the template cannot write the conversation, or has no thinking.
    """
    mode = _MODES[effort]
    turns = [_turn(message) for message in messages]
    asked = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=None)
    if asked is not None:
        content = worded(turns[asked].content, mode)
        turns[asked] = dataclasses.replace(turns[asked], content=content)
    try:
        prompt = prompt_of(template, turns, mode)
        ends = stops_of(template)
    except UserError as error:
        raise ApiError(400, f"'messages': {error}", param="messages") from error
    return prompt, Form((*stop, *ends), True, _READ.get(mode, "begun"))


def _turn(message: ChatMessage) -> Message:
    role = "system" if message.role == "developer" else message.role
    return Message(role, message.content, message.reasoning_content, tuple(message.tool_calls))
