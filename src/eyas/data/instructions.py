"""Texts in the old form of instructions, as RWKV and Alpaca had it.

Instruction: …            ### Instruction:
Input: …                  …
Response: …               ### Response:
"""

import re

from eyas.data.spans import Span, joined

_INSTRUCTION = re.compile(r"^(?:#+ *)?Instruction:", re.MULTILINE)
_RESPONSE = re.compile(r"^(?:#+ *)?Response:", re.MULTILINE)


def instruction_spans(text: str) -> tuple[Span, ...]:
    """Such a text with its responses trained; () for one of another form.

    A response goes on to the next instruction. Both begin a line.
    """
    begins = [found.start() for found in _INSTRUCTION.finditer(text)]
    if not begins:
        return ()
    spans = [Span(text[: begins[0]], False)]
    for begin, end in zip(begins, [*begins[1:], len(text)], strict=True):
        response = _RESPONSE.search(text, begin, end)
        answer = response.end() if response else end
        spans += [Span(text[begin:answer], False), Span(text[answer:end], True)]
    found = joined(spans)
    return found if any(span.trained for span in found) else ()
