"""Tokens become what the client reads: thinking and answer, whole characters, no stop text.

    <think>\\n…\\n</think>\\n…        what stands between the marks is the thinking

The blanks around both belong to the template and are left out. Stop texts count in the answer
alone: blank lines, which end a turn, are common in what models think.
"""

import codecs
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from eyas.generation.stream import Stops, open_end

_BEGIN, _END = "<think>", "</think>"

Thinking = Literal["none", "looked for", "begun", "over"]
"""Whether an answer may begin with thinking.

`begun`: the prompt ends with `<think`. `over`: it ends with `</think>`.
"""


@dataclass(frozen=True)
class Form:
    """How what a model writes is read."""

    stop: tuple[str, ...] = ()
    trimmed: bool = False  # without the blanks before the answer
    thinking: Thinking = "none"


@dataclass(frozen=True)
class Said:
    """What has become certain."""

    reasoning: str = ""
    content: str = ""


class _Phase(Enum):
    HEAD = auto()  # it may begin with <think>
    THINKING = auto()
    ANSWER = auto()


_FIRST = {"looked for": _Phase.HEAD, "begun": _Phase.THINKING}


class Transcript:
    """One answer while it is written. `ended`: a stop text was found, and nothing may follow."""

    def __init__(self, form: Form) -> None:
        self.ended = False
        self.decoded = 0  # characters so far
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._form = form
        self._phase = _FIRST.get(form.thinking, _Phase.ANSWER)
        self._held = ""  # of head or thinking, not yet certain
        self._stops = Stops(form.stop)
        self._cue_open = form.thinking == "begun"  # its > is still to come
        self._blank_before = form.trimmed  # nothing of this part was said yet
        self._after_thinking = form.thinking == "over"

    @property
    def settled(self) -> int:
        """How many of the decoded characters are said, or left out for good."""
        return self.decoded - len(self._held) - len(self._stops.held)

    def feed(self, data: bytes) -> Said:
        """What is certain with the bytes of one more token."""
        text = self._decoder.decode(data)
        self.decoded += len(text)
        if not text:
            return Said()
        if self._phase is _Phase.HEAD:
            return self._head(text)
        if self._phase is _Phase.THINKING:
            return self._think(text)
        return Said(content=self._answer(text))

    def finish(self) -> Said:
        """What was held back, where the answer ends without a stop text."""
        held, self._held = self._held, ""
        if self._phase is _Phase.THINKING:
            return Said(reasoning=held.rstrip())
        said = self._answer(held) + ("" if self.ended else self._stops.held)
        self._stops.held = ""
        return Said(content=said.lstrip() if self._blank_before else said)

    def _head(self, text: str) -> Said:
        self._held += text
        begun = self._held.lstrip()
        if begun.startswith(_BEGIN):
            self._phase, self._held = _Phase.THINKING, ""
            return self._think(begun[len(_BEGIN) :])
        if _BEGIN.startswith(begun):
            # A blank line at once is an empty answer.
            self.ended = any(stop in self._held for stop in self._form.stop)
            return Said()
        text, self._held, self._phase = self._held, "", _Phase.ANSWER
        return Said(content=self._answer(text))

    def _think(self, text: str) -> Said:
        held = self._held + text
        if self._cue_open:
            held, self._cue_open = held.removeprefix(">"), False
        end = held.find(_END)
        done = held[: end if end >= 0 else len(held) - open_end(held, (_END,))].rstrip()
        reasoning = done.lstrip() if self._blank_before else done
        self._blank_before = self._blank_before and not reasoning
        if end < 0:
            self._held = held[len(done) :]
            return Said(reasoning)
        self._phase, self._held = _Phase.ANSWER, ""
        self._blank_before = self._after_thinking = True
        return Said(reasoning, self._answer(held[end + len(_END) :]))

    def _answer(self, text: str) -> str:
        if self._after_thinking:
            text = text.lstrip()
            if not text:
                return ""
            self._after_thinking = False
        certain = self._stops.feed(text)
        self.ended = self._stops.ended
        if self._blank_before:
            certain = certain.lstrip()
            self._blank_before = not certain
        return certain
