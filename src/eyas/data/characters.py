"""A vocabulary of the characters of a text, for models trained from nothing.

RWKV-LM writes such a vocabulary as `vocab.json` beside the model: a JSON object id -> character in
UTF-16, the ids in the order of the characters. Token 0 ends a document in eyas, and there it is the
first character of the text. The two agree for a text that holds NUL, which comes before all others;
so NUL is always put into a vocabulary made here, as token 0, and the file is one of RWKV-LM's.

In a file of RWKV-LM's own, 0 is an ordinary character, most often the newline. It is encoded and
decoded as that; what eyas does at the end of a document, it does there too: documents are followed
by that character, and generating stops before it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from eyas.errors import UserError
from eyas.files import write_bytes

_END = "\0"
_BEGINNING = re.compile(r'\ufeff?\s*\{\s*"\d+"\s*:\s*"')
_SHOWN = 5


class Characters:
    """One token a character of the vocabulary, id -> character; `source` names it in errors."""

    name = "characters"

    def __init__(self, table: Mapping[int, str], source: str) -> None:
        self.vocab_size = max(table) + 1
        self._source = source
        self._characters = dict(table)
        codes = np.array([ord(character) for character in table.values()])
        # By code point; the last entry is that of all characters above.
        self._ids = np.full(codes.max() + 2, -1, np.int32)
        self._ids[codes] = list(table)

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Characters":
        """The vocabulary of some texts, or of one, and the end of a document."""
        found = {_END}
        for text in texts:
            found.update(text)
        return cls(dict(enumerate(sorted(found))), "the vocabulary of the training data")

    def save(self, path: Path) -> None:
        """Writes it as RWKV-LM does; errors as `eyas.files.write_bytes`."""
        form = {str(token): character for token, character in self._characters.items()}
        write_bytes(path, json.dumps(form, ensure_ascii=False).encode("utf-16-le"))

    def encode(self, text: str) -> list[int]:
        """Raises UserError where there are characters without a token."""
        ids: list[int] = self._encode(text).tolist()
        return ids

    def encode_bytes(self, data: bytes) -> Int32[np.ndarray, "T"]:
        """Raises UserError where there are characters without a token, or bytes not UTF-8."""
        try:
            return self._encode(data.decode())
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self._source} has no token for the byte 0x{data[error.start]:02x}, which is "
                "not UTF-8; give --encoding, or remove such bytes"
            ) from error

    def token_bytes(self, token: int) -> bytes:
        character = self._characters.get(token, "")
        return b"" if (token, character) == (0, _END) else character.encode()

    def _encode(self, text: str) -> Int32[np.ndarray, "T"]:
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        ids = self._ids[np.minimum(codes, len(self._ids) - 1)]
        if len(ids) and ids.min() < 0:
            missing = sorted({chr(code) for code in codes[ids < 0]})
            some = ", ".join(map(repr, missing[:_SHOWN])) + (", …" if missing[_SHOWN:] else "")
            raise UserError(
                f"{self._source} has no token for {len(missing)} characters of the text ({some}); "
                "remove them or give the vocabulary that the model was trained with"
            )
        return ids


def is_characters(path: Path) -> bool:
    """Whether a JSON file looks like such a vocabulary: its first entry is a number and a text."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return False
    return bool(_BEGINNING.match(head.decode(json.detect_encoding(head), errors="ignore")))


def read_characters(path: Path) -> Characters:
    """A `vocab.json` in UTF-8 or UTF-16. Raises UserError with the entries at fault."""
    try:
        form = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON; give another --tokenizer") from error
    if not isinstance(form, dict) or not form:
        raise UserError(f"{path}: holds no characters; give another --tokenizer")
    wrong = _wrong_entries(form)
    if wrong:
        some = "; ".join(f"{key}: {value!r:.40}" for key, value in wrong[:_SHOWN])
        raise UserError(
            f"{path}: {len(wrong)} entries are not an id and a character that no other has "
            f'({some}{"; …" if wrong[_SHOWN:] else ""}); an entry is like "7": "a"'
        )
    return Characters({int(key): character for key, character in form.items()}, path.name)


def _wrong_entries(form: Mapping[str, object]) -> list[tuple[str, object]]:
    wrong: list[tuple[str, object]] = []
    seen: set[object] = set()
    for key, value in form.items():
        is_id = key.isascii() and key.isdecimal() and len(key) < 8 and str(int(key)) == key
        if not is_id or not _is_character(value) or value in seen:
            wrong.append((key, value))
        else:
            seen.add(value)
    return wrong


def _is_character(value: object) -> bool:
    if not isinstance(value, str) or len(value) != 1:
        return False
    return not "\ud800" <= value <= "\udfff"  # half of a character
