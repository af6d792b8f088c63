"""Text that was decoded with the wrong encoding ("cafÃ©" for "café"), and what it was meant to be.

What was read as a one-byte encoding is found and mended by ftfy; UTF-8 that was read as GBK
("浣犲ソ" for "你好"), which ftfy does not know, is tried here.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from heapq import merge

_LONGEST = 20_000  # characters that are mended together
_C1 = "\x80-\x9f"
_BYTES = {2: range(0xC2, 0xE0), 3: range(0xE0, 0xF0), 4: range(0xF0, 0xF5)}
# What the beginnings of "，" and of "。" become in GBK, and hardly any text holds otherwise.
_GBK = re.compile("[锛銆]")


def mojibake(text: str) -> Iterator[tuple[int, int, str]]:
    """Where a line of `text` is mojibake: its beginning, its end, and what was meant.

    Very long lines come in parts.
    """
    if text.isascii():
        return
    end = 0
    for suspect in _suspects(text):
        if suspect < end:
            continue
        start = max(text.rfind("\n", end, suspect) + 1, end)
        start += (suspect - start) // _LONGEST * _LONGEST
        stop = text.find("\n", suspect, start + _LONGEST)
        end = stop if stop >= 0 else min(start + _LONGEST, len(text))
        meant = _meant(text[start:end])
        if meant != text[start:end]:
            yield start, end, meant


def demojibaked(text: str) -> str:
    """The text as it was meant."""
    parts, done = [], 0
    for start, end, meant in mojibake(text):
        parts += [text[done:start], meant]
        done = end
    return "".join([*parts, text[done:]]) if parts else text


def _suspects(text: str) -> Iterator[int]:
    patterns = [_latin()] if "锛" not in text and "銆" not in text else [_latin(), _GBK]
    return merge(*((match.start() for match in pattern.finditer(text)) for pattern in patterns))


def _meant(line: str) -> str:
    # Imported here: it takes a while, and most data never come here.
    from ftfy import fix_encoding

    return _from_gbk(line) if _GBK.search(line) else fix_encoding(line)


def _from_gbk(line: str) -> str:
    try:
        data = line.encode("gb18030")
    except UnicodeError:
        return line
    # Windows reads the byte 0x80 as the euro sign, which GB 18030 writes in two bytes.
    for possible in (data, data.replace("€".encode("gb18030"), b"\x80")):
        with suppress(UnicodeError):
            return possible.decode()
    return line


@cache
def _latin() -> re.Pattern[str]:
    """What may be UTF-8 read as a one-byte encoding.

    ftfy's own test reads 8 to 30 MB/s, this one ten times as much.
    """
    from ftfy.chardata import CHARMAP_ENCODINGS

    alphabets = [name for name in CHARMAP_ENCODINGS if name not in ("macroman", "cp437")]
    rest = _characters(range(0x80, 0xC0), alphabets)
    leads = {width: _characters(values, alphabets) for width, values in _BYTES.items()}
    branches = [f"(?<=[{lead}])[{rest}]{{{width - 1}}}" for width, lead in leads.items()]
    branches += [f"(?<=[{_C1}])", "(?<=[ÃÂ]) ", "(?<=[√‚├Γ])[^\x00-\x7f─]"]
    return re.compile(f"[{''.join(leads.values())}{_C1}√‚├Γ](?:{'|'.join(branches)})")


def _characters(values: range, encodings: list[str]) -> str:
    """What these bytes are in some encodings."""
    found = {char for name in encodings for char in bytes(values).decode(name)}
    return "".join(map(re.escape, sorted(found)))
