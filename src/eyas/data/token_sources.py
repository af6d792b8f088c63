"""Data that are tokens already: binidx pairs, NumPy arrays, raw rows."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool

from eyas.data import binidx
from eyas.data.binidx import TokenDocuments
from eyas.data.raw_tokens import read_numpy, read_uint16
from eyas.data.reading import ReadConfig
from eyas.data.token_answers import answers_in_tokens
from eyas.data.tokenizer import Ids, Tokenizer
from eyas.errors import UserError


def read_tokens(source: Path, reading: ReadConfig) -> TokenDocuments:
    """The documents of such a source. Raises UserError as the readers of the three kinds."""
    kind = reading.data_type
    if kind == "uint16":
        assert reading.row_length
        tokens, offsets = read_uint16(source, reading.row_length)
    elif kind == "numpy" or (kind == "auto" and source.suffix.lower() == ".npy"):
        tokens, offsets = read_numpy(source)
    else:
        return binidx.read(source)
    return TokenDocuments(tokens, offsets, np.arange(1, len(offsets)))


def trained_tokens(
    source: Path, data: TokenDocuments, reading: ReadConfig, tokenizer: Tokenizer
) -> Bool[np.ndarray, "tokens"] | None:
    """Whether each token is trained: by the answers in its text, or by the source's own mask.

    None: all of them are. Raises UserError where answers are wanted and nothing tells of the text.
    """
    if reading.mask == "auto":
        return data.trained
    if reading.mask not in ("answers", "qa", "se"):
        return None
    if isinstance(tokenizer, Ids):
        raise UserError(
            f"{source}: to find answers in tokens their text is needed, and no tokenizer is known "
            f"for it; add --tokenizer, or leave --mask {reading.mask} out"
        )
    wanted = reading.mask, reading.mask_id, tokenizer.token_bytes
    return answers_in_tokens(data.tokens, data.offsets, *wanted)


def name_of(source: Path, reading: ReadConfig) -> str:
    """What places in such a source are called by: a pair has two files and one name."""
    if reading.data_type in ("numpy", "uint16") or source.suffix.lower() == ".npy":
        return source.name
    return f"{source.name.removesuffix('.bin').removesuffix('.idx')}.bin"
