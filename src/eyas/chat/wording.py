"""A conversation in the words of the training template: what asks for an answer, what ends one.

    prompt    all of the conversation up to what the template trains of the next answer
    stop      what it trains behind an answer

Both are found by rendering, so that they hold for G1's template and for one of the user's own.
The thinking modes are G1's, source as of `eyas.data.template`:

    auto    Assistant:                          the model decides
    on      Assistant: <think
    off     Assistant: <think>\\n</think>
    short   User: … (think a bit)               and as on
    long    User: … (think a lot)               and as on
"""

import re
from collections.abc import Sequence
from typing import Literal

from eyas.data.messages import Message, Template
from eyas.data.spans import Span
from eyas.data.template import G1, ask
from eyas.errors import UserError

Thinking = Literal["auto", "on", "off", "short", "long"]

_LENGTHS = {"short": " (think a bit)", "long": " (think a lot)"}
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>(.*)", re.DOTALL)
_PROBE, _NEXT = "x", "y"


def worded(question: str, thinking: Thinking) -> str:
    """The question as the model reads it."""
    return question + _LENGTHS.get(thinking, "")


def cue(thinking: Thinking) -> str:
    """What G1's template puts before the answer; it belongs to the answer."""
    wanted = None if thinking == "auto" else thinking != "off"
    return ask(_PROBE, wanted).removeprefix(ask(_PROBE))


def check_thinking(template: Template, thinking: Thinking) -> None:
    """Raises UserError where the template does not know the mode."""
    if thinking != "auto" and not isinstance(template, G1):
        raise UserError(
            f"think {thinking}: the modes of thinking are those of G1's template, and this run "
            "was trained with one of its own; take auto"
        )


def text_of(template: Template, messages: Sequence[Message]) -> str:
    """The text of a conversation, as in training."""
    return "".join(span.text for span in _spans(template, messages))


def prompt_of(template: Template, messages: Sequence[Message], thinking: Thinking) -> str:
    """What the model reads before its answer to the last message.

    Raises UserError where the template cannot write the conversation, or does not know the mode.
    """
    check_thinking(template, thinking)
    spans = _spans(template, [*messages, Message("assistant", _PROBE)])
    return "".join(span.text for span in spans[: _last_trained(spans)]) + cue(thinking)


def stops_of(template: Template) -> tuple[str, ...]:
    """The texts that end an answer, besides the end of the document."""
    spans = _spans(
        template,
        [Message("user", _NEXT), Message("assistant", _PROBE), Message("user", _NEXT)],
    )
    last = _last_trained(spans)
    trained = spans[last].text.partition(_PROBE)[2]
    if trained.strip() or "\n\n" in trained:
        return (trained.strip() or "\n\n",)
    # An answer may hold a line end, and a model was never trained to say what is not its own.
    after = trained + "".join(span.text for span in spans[last + 1 :]).partition(_NEXT)[0]
    return (after.rstrip(),) if after.strip() else ()


def lead_of(template: Template) -> str:
    """What the template puts before an answer and trains with it, as G1's blank."""
    spans = _spans(template, [Message("user", _NEXT), Message("assistant", _PROBE)])
    return spans[_last_trained(spans)].text.partition(_PROBE)[0]


def spoken(template: Template, text: str) -> Message:
    """The assistant's turn from what follows `Assistant:`, the cue included."""
    found = _THOUGHT.fullmatch(text) if isinstance(template, G1) else None
    if not found:
        return Message("assistant", text.strip())
    return Message("assistant", found[2].strip(), found[1].strip())


def _spans(template: Template, messages: Sequence[Message]) -> Sequence[Span]:
    try:
        return template.render(messages)
    except ValueError as error:
        raise UserError(str(error)) from error


def _last_trained(spans: Sequence[Span]) -> int:
    trained = [index for index, span in enumerate(spans) if span.trained]
    if not trained:
        raise UserError("the template trains nothing of an answer, so that it cannot ask for one")
    return trained[-1]
