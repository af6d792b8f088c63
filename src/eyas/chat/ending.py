"""Where an answer ends: at the first stop text behind what was thought.

Models think in paragraphs, and a blank line, which ends an answer in G1's template, is none there.
"""

from collections.abc import Generator, Iterable, Iterator
from itertools import chain

from eyas.generation.stream import open_end, until_stop

_BEGIN, _END = "<think>", "</think>"


def until_end(pieces: Iterable[str], stop: tuple[str, ...], cue: str) -> Iterator[str]:
    """The pieces of an answer up to the first text of `stop`, what was thought included.

    `cue`: what the prompt ends with of the answer itself; the whole prompt says as much.
    """
    source, cue = iter(pieces), cue.rstrip()
    if cue.endswith(_END):
        first = yield from _blanks(source)
    elif cue.endswith((_BEGIN, _BEGIN[:-1])):
        first = yield from _thought("", source)
    else:
        head = _head(source, stop)
        thinks = head.lstrip().startswith(_BEGIN)
        first = (yield from _thought(head, source)) if thinks else head
    yield from until_stop(chain([first], source), stop)


def as_shown(pieces: Iterable[str], cue: str) -> Iterator[str]:
    """The pieces without the blanks before them, and from <think> on where the cue begins that."""
    begun = "" if cue.endswith(_END) else cue
    blank = True
    for piece in chain([begun], pieces):
        text = piece.lstrip() if blank else piece
        blank = blank and not text
        if text:
            yield text


def _head(source: Iterator[str], stop: tuple[str, ...]) -> str:
    """What is said up to where it is certain whether it begins with <think>."""
    head = ""
    for piece in source:
        head += piece
        begun = head.lstrip()
        if begun == _BEGIN or not _BEGIN.startswith(begun) or any(text in head for text in stop):
            break
    return head


def _thought(head: str, source: Iterator[str]) -> Generator[str, None, str]:
    """Yields the thinking with its end and the blanks after it; gives what follows already."""
    held = ""
    for piece in chain([head], source):
        held += piece
        at = held.find(_END)
        certain = at + len(_END) if at >= 0 else len(held) - open_end(held, (_END,))
        if certain:
            yield held[:certain]
        held = held[certain:]
        if at >= 0:
            return (yield from _blanks(chain([held], source)))
    return held


def _blanks(source: Iterable[str]) -> Generator[str, None, str]:
    """Yields white space; gives the beginning of what follows it."""
    for piece in source:
        rest = piece.lstrip()
        if len(rest) < len(piece):
            yield piece[: len(piece) - len(rest)]
        if rest:
            return rest
    return ""
