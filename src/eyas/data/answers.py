"""Which parts of a text are trained, found by markers in the text itself.

Decided on the text and never on tokens: a marker that the tokenizer merges with its neighbor is
found all the same, and so is the end of a Chinese turn, whose first line end belongs to `。\\n`.

| mask | trained |
| --- | --- |
| all, none, pad | everything: padding is never trained, so that the tutorial's two are one |
| answers | what follows `Assistant:`, where turns are parted by blank lines, or `Response:` |
| qa | the tutorial's: from a line's `Assistant:` to the next line that begins `User:` |
| se | from the first marker of `mask_id` to the second |
| auto | everything, of conversations the answers |
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from eyas.data.instructions import instruction_spans
from eyas.data.spans import Span, joined

Mask = Literal["auto", "all", "answers", "none", "pad", "qa", "se"]

_TURN = re.compile(r"(?:\A|(?<=\n\n)|(?<=\n\r\n))(System|User|Assistant):")
_LINE = re.compile(r"^(User|Assistant):", re.MULTILINE)


def spans_of(text: str, mask: Mask, mask_id: Sequence[str] = ()) -> tuple[Span, ...]:
    """A text with its trained parts; the spans join to it. `mask_id`: the markers of `se`."""
    if mask == "answers":
        return instruction_spans(text) or answer_spans(text)
    if mask == "qa":
        return line_answer_spans(text)
    if mask == "se":
        return marker_spans(text, *marker_pair(mask_id))
    return (Span(text, True),) if text else ()


def masked(spans: Iterable[Span], mask: Mask, mask_id: Sequence[str] = ()) -> tuple[Span, ...]:
    """A rendered conversation: its own trained parts, or everything, or those of `se`."""
    if mask in ("auto", "answers", "qa"):
        return tuple(spans)
    return spans_of("".join(span.text for span in spans), mask, mask_id)


def answer_spans(text: str) -> tuple[Span, ...]:
    """A text in the G1 template's form, the assistant's part of it trained.

    A marker counts at the start of the text and after a blank line. The blank line that ends an
    answer is trained: it is how the model ends its turn.
    """
    return _spoken(text, _TURN)


def line_answer_spans(text: str) -> tuple[Span, ...]:
    """The tutorial's `qa`: trained is what follows `Assistant:` up to the next `User:`.

    As `answer_spans` in well-formed texts. Here a marker counts at the start of any line: data
    with one line end between turns works, and an answer that holds a line `User: …` is cut there;
    `System:` ends nothing. RWKV-PEFT trained the word `Assistant:` too, and the whole of a
    document without markers; here nothing of such a document is trained.
    """
    return _spoken(text, _LINE)


def marker_spans(text: str, begin: str, end: str) -> tuple[Span, ...]:
    """Trained from each `begin`, which is not, to the next `end`, which is, or to the text's end.

    The model has to write `end` itself: without it, it would not learn to stop.
    """
    spans: list[Span] = []
    place = 0
    while (found := text.find(begin, place)) >= 0:
        start = found + len(begin)
        stop = text.find(end, start)
        stop = len(text) if stop < 0 else stop + len(end)
        spans += [Span(text[place:start], False), Span(text[start:stop], True)]
        place = stop
    return joined([*spans, Span(text[place:], False)])


def marker_pair(mask_id: Sequence[str]) -> tuple[str, str]:
    """The markers where training begins and where it ends; ValueError unless there are two."""
    if len(mask_id) != 2 or not all(mask_id):
        raise ValueError(
            "mask se needs two markers, where training begins and where it ends, such as mask_id "
            f"<answer>,</answer>; it has {', '.join(map(repr, mask_id)) or 'none'}"
        )
    return mask_id[0], mask_id[1]


def _spoken(text: str, marker: re.Pattern[str]) -> tuple[Span, ...]:
    """Markers not trained, and what follows them trained where they are the assistant's."""
    markers = list(marker.finditer(text))
    bounds = [*(found.start() for found in markers), len(text)]
    spans = [Span(text[: bounds[0]], False)]
    for found, end in zip(markers, bounds[1:], strict=True):
        spans.append(Span(found[0], False))
        spans.append(Span(text[found.end() : end], found[1] == "Assistant"))
    return joined(spans)
