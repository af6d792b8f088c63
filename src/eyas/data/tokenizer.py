"""From text to token ids and from ids to bytes. Token 0 ends a document in every vocabulary."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32

from eyas.config import did_you_mean
from eyas.data.characters import is_characters, read_characters
from eyas.data.huggingface import HuggingFace
from eyas.data.world import WORLD_VOCAB_SIZE, World, open_world
from eyas.errors import UserError

# A vocabulary is padded to a round number of rows; more unused rows than this mean another one.
_UNUSED_ROWS = 512
_NEOX_VOCAB_SIZE = 50277
_NEOX_URL = "https://huggingface.co/EleutherAI/gpt-neox-20b/resolve/main/tokenizer.json"
_FILES = ("rwkv_vocab*.txt", "tokenizer.json", "20B_tokenizer.json", "vocab.json")


@runtime_checkable
class Tokenizer(Protocol):
    """What every tokenizer offers; read-only."""

    @property
    def name(self) -> str:
        """`world`, `world-file`, `bytes`, `world-bytes`, `characters`, `hf` or `ids`."""

    @property
    def vocab_size(self) -> int:
        """One more than the highest id; the world vocabulary counts 65536, as its models do."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a text without surrogates. Nothing is put before or after them."""

    def encode_bytes(self, data: bytes) -> Int32[np.ndarray, "T"]:
        """The tokens of a text in UTF-8, the fast way.

        Vocabularies of bytes (`world`, `world-file`, `bytes`, `world-bytes`) take any bytes, the
        others raise UserError where they are not UTF-8.
        """

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for, possibly cut characters; b"" for unused ids.

        b"" for 0 too, unless it is an ordinary character as well (`eyas.data.characters`).
        """


class Bytes:
    """The UTF-8 bytes themselves. NUL cannot be written: 0 ends a document."""

    name = "bytes"
    vocab_size = 256

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_bytes(self, data: bytes) -> Int32[np.ndarray, "T"]:
        return np.frombuffer(data, np.uint8).astype(np.int32)

    def token_bytes(self, token: int) -> bytes:
        return bytes([token]) if 0 < token < 256 else b""


class WorldBytes:
    """Bytes in the World numbering: byte + 1, so that 0 is free to end a document."""

    name = "world-bytes"
    vocab_size = 257

    def encode(self, text: str) -> list[int]:
        return [byte + 1 for byte in text.encode()]

    def encode_bytes(self, data: bytes) -> Int32[np.ndarray, "T"]:
        return np.frombuffer(data, np.uint8).astype(np.int32) + 1

    def token_bytes(self, token: int) -> bytes:
        return bytes([token - 1]) if 0 < token < 257 else b""


class Ids:
    """No tokenizer, for data that are tokens already: shows their numbers, encodes nothing."""

    name = "ids"

    def __init__(self, vocab_size: int, why: str) -> None:
        self.vocab_size = vocab_size
        self._why = why

    def encode(self, text: str) -> list[int]:  # noqa: ARG002
        raise UserError(self._why)

    def encode_bytes(self, data: bytes) -> Int32[np.ndarray, "T"]:  # noqa: ARG002
        raise UserError(self._why)

    def token_bytes(self, token: int) -> bytes:
        return f"{token} ".encode() if token else b""


_NAMED: dict[str, Callable[[], Tokenizer]] = {
    "world": World,
    "bytes": Bytes,
    "world-bytes": WorldBytes,
}
_BY_SIZE = {WORLD_VOCAB_SIZE: "world", 257: "world-bytes", 256: "bytes"}


def decode(tokenizer: Tokenizer, tokens: Iterable[int]) -> str:
    """The text of some tokens; bytes that are no UTF-8 become U+FFFD."""
    return b"".join(tokenizer.token_bytes(token) for token in tokens).decode(errors="replace")


def tokenizer_for(vocab_size: int, model: Path | None, given: Path | str | None) -> Tokenizer:
    """The tokenizer of a model with `vocab_size` rows.

    `given`, a name or a file, wins. Else the vocabulary file beside the model whose ids fit its
    rows, else the one that goes by the number of rows.
    Raises UserError where that leaves none, and for a given file that cannot be read; one beside
    the model that cannot be read is told of where nothing else is left.
    """
    if given is not None:
        return _given(given)
    misfits = []
    for path in _files_beside(model):
        try:
            tokenizer = _open(path)
        except UserError as error:
            misfits.append(str(error))
            continue
        if 0 <= vocab_size - _used_rows(tokenizer) < _UNUSED_ROWS:
            return tokenizer
        misfits.append(f"{path.name} beside it does not fit")
    name = _BY_SIZE.get(vocab_size)
    if name is None:
        raise UserError(_nothing_fits(vocab_size, model, misfits))
    return _NAMED[name]()


def tokenizer_of_tokens(vocab_size: int, model: Path | None, given: Path | str | None) -> Tokenizer:
    """As `tokenizer_for`, for data that are tokens already: where none is known, `Ids`."""
    try:
        return tokenizer_for(vocab_size, model, given)
    except UserError as error:
        if given is not None:
            raise
        return Ids(vocab_size, str(error))


def _given(given: Path | str) -> Tokenizer:
    if str(given) in _NAMED:
        return _NAMED[str(given)]()
    path = Path(given)
    if not path.exists():
        raise UserError(
            f"tokenizer {str(given)!r}: is not a file and not one of {', '.join(_NAMED)}"
            f"{did_you_mean(str(given), _NAMED)}"
        )
    return _open(path)


def _open(path: Path) -> Tokenizer:
    if path.suffix.lower() == ".json":
        return read_characters(path) if is_characters(path) else HuggingFace(path)
    if path.suffix.lower() == ".txt":
        return open_world(path)
    raise UserError(
        f"{path}: is no tokenizer; give a World vocabulary (.txt), a tokenizer.json, a vocab.json "
        f"or one of the names {', '.join(_NAMED)}"
    )


def _files_beside(model: Path | None) -> list[Path]:
    if model is None:
        return []
    folder = _folder(model)
    return [path for pattern in _FILES for path in sorted(folder.glob(pattern))]


def _folder(model: Path) -> Path:
    return model if model.is_dir() else model.parent


def _used_rows(tokenizer: Tokenizer) -> int:
    """One more than the highest id that stands for something."""
    used = tokenizer.vocab_size
    while used > 1 and not tokenizer.token_bytes(used - 1):
        used -= 1
    return used


def _nothing_fits(vocab_size: int, model: Path | None, misfits: list[str]) -> str:
    found = f" ({'; '.join(misfits)})" if misfits else ""
    if vocab_size == _NEOX_VOCAB_SIZE:
        place = _folder(model) / "20B_tokenizer.json" if model else "20B_tokenizer.json"
        return (
            f"the model's vocabulary has {vocab_size} tokens, the old 20B one, whose tokenizer "
            f"does not come with eyas{found}; save {_NEOX_URL} as {place}, or give it as "
            "--tokenizer FILE"
        )
    return (
        f"the model's vocabulary has {vocab_size} tokens, and no tokenizer is known for it"
        f"{found}; give --tokenizer FILE (World vocabulary .txt, tokenizer.json or vocab.json) "
        f"or --tokenizer {'|'.join(_NAMED)}"
    )
