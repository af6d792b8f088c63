"""In which encoding text was written that is no UTF-8."""

import codecs

_MOST = 1 << 16
# Where several fit equally well, the first one.
_KNOWN = ("gb18030", "big5", "cp932", "euc_jp", "cp949", "cp1251", "koi8_r", "cp1252")
_WIDE = ("utf_16", "utf_16_le", "utf_16_be")
# Short texts hardly tell Chinese from the others, and data for RWKV are rather Chinese.
_FAVOR = {"gb18030": 0.03}
_RARE = 50


def guess_encoding(data: bytes) -> str | None:
    """The encoding that makes the most likely text of `data`, as Python names it.

    None where it is no text in any of them. Of long data the beginning is looked at.
    """
    # Imported here: it takes a while, and most data are UTF-8.
    from charset_normalizer import from_bytes

    # UTF-16 of most texts has NUL bytes, in its spaces and line ends; other encodings hardly any.
    wide = data.count(b"\0", 0, _MOST) * _RARE > len(data[:_MOST])
    data, known = (_even(data), _WIDE) if wide else (_whole_lines(data), _KNOWN)
    found = from_bytes(data, cp_isolation=list(known))
    scores = {match.encoding: match.coherence - match.chaos for match in found}
    fitting = [name for name in known if name in scores and _fits(data, name)]
    return max(fitting, key=lambda name: scores[name] + _FAVOR.get(name, 0.0), default=None)


def _fits(data: bytes, encoding: str) -> bool:
    """Whether all of it can be decoded; the library looks at samples."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return False
    return True


def _even(data: bytes) -> bytes:
    return data[: min(len(data), _MOST) // 2 * 2]


def _whole_lines(data: bytes) -> bytes:
    """The beginning of long data, up to a line end, so that no character is cut."""
    end = data.rfind(b"\n", 0, _MOST) if len(data) > _MOST else -1
    return data[:end] if end >= 0 else data[:_MOST]
