"""The chat template of the RWKV-7 G1 series, and which parts of a text are trained.

    System: …\\n\\nUser: …\\n\\nAssistant: …\\n\\nUser: …

A blank line separates turns and only turns. Trained is what the model has to write itself: what
follows `Assistant:`, the blank before it and the blank line after it included.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Mask = Literal["auto", "all", "answers"]

NAMES = {"system": "System", "user": "User", "assistant": "Assistant"}

_TURN = re.compile(r"(?:\A|(?<=\n\n)|(?<=\n\r\n))(System|User|Assistant):")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; the role is a key of `NAMES`."""

    role: str
    content: str


@dataclass(frozen=True)
class Span:
    """A part of a document's text."""

    text: str
    trained: bool


def clean(content: str) -> str:
    """A turn's content without blank lines, which would end the turn."""
    return re.sub(r"\n+", "\n", content.replace("\r\n", "\n")).strip()


def ask(question: str) -> str:
    """What a model reads before its answer to a question: the beginning of a conversation."""
    return f"{NAMES['user']}: {clean(question)}\n\n{NAMES['assistant']}:"


def render(messages: Sequence[Message]) -> tuple[Span, ...]:
    """A conversation as text, the assistant's part of it trained. Contents are cleaned."""
    spans = []
    for index, message in enumerate(messages, start=1):
        head = f"{NAMES[message.role]}:"
        rest = f" {clean(message.content)}" + ("\n\n" if index < len(messages) else "")
        spans += [Span(head, False), Span(rest, message.role == "assistant")]
    return _joined(spans)


def answer_spans(text: str) -> tuple[Span, ...]:
    """A text that is in the template's form already, the assistant's part of it trained.

    A marker counts at the start of the text and after a blank line. The spans join to `text`.
    """
    markers = list(_TURN.finditer(text))
    bounds = [*(marker.start() for marker in markers), len(text)]
    spans = [Span(text[: bounds[0]], False)]
    for marker, end in zip(markers, bounds[1:], strict=True):
        spans.append(Span(marker[0], False))
        spans.append(Span(text[marker.end() : end], marker[1] == "Assistant"))
    return _joined(spans)


def _joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same without empty spans, neighbors that agree made one."""
    texts: list[list[str]] = []
    flags: list[bool] = []
    for span in spans:
        if not span.text:
            continue
        if not flags or flags[-1] != span.trained:
            texts.append([])
            flags.append(span.trained)
        texts[-1].append(span.text)
    return tuple(Span("".join(parts), flag) for parts, flag in zip(texts, flags, strict=True))
