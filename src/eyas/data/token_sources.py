"""Data that are tokens already: binidx pairs, NumPy arrays, raw rows."""

from pathlib import Path

import numpy as np

from eyas.data import binidx
from eyas.data.binidx import TokenDocuments
from eyas.data.raw_tokens import read_numpy, read_uint16
from eyas.data.reading import ReadConfig


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


def name_of(source: Path, reading: ReadConfig) -> str:
    """What places in such a source are called by: a pair has two files and one name."""
    if reading.data_type in ("numpy", "uint16") or source.suffix.lower() == ".npy":
        return source.name
    return f"{source.name.removesuffix('.bin').removesuffix('.idx')}.bin"
