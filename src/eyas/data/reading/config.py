"""How data are to be read: what they are, which fields count, and what of them is trained."""

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from eyas.config import did_you_mean
from eyas.data.answers import Mask, marker_pair
from eyas.data.reading.mapping import mapped_fields

DataType = Literal[
    "auto", "jsonl", "json", "csv", "parquet", "txt", "sft", "utf-8", "utf-16le",
    "numpy", "uint16", "dummy", "binidx", "wds_img",
]  # fmt: skip

_SHORTEST_ROW = 2  # tokens: one pair of input and target
_ENCODINGS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "gb18030", "gbk", "big5", "cp1252")


@dataclass(frozen=True)
class ReadConfig:
    """Options of everything that reads data. Raises ValueError for what cannot be meant."""

    data_type: Annotated[
        DataType, "what the data are; auto: seen from the name and the first bytes"
    ] = "auto"
    map: Annotated[
        tuple[str, ...],
        "which fields of a record are what, such as prompt:user,answer:assistant; a field is text, "
        "messages, system, user, assistant, thinking, tool or tools",
    ] = ()
    mask: Annotated[
        Mask, "what is trained: auto is the answers of conversations and the whole of texts"
    ] = "auto"
    mask_id: Annotated[
        tuple[str, ...], "for the mask se: the text where training begins, and where it ends"
    ] = ()
    template: Annotated[
        Path | None, "a Jinja chat template [default: that of the RWKV-7 G1 series]"
    ] = None
    encoding: Annotated[str | None, "of text files, such as gb18030 [default: utf-8]"] = None
    row_length: Annotated[int | None, "for the data type uint16: tokens of a row"] = None

    def __post_init__(self) -> None:
        self._check_row_length()
        if self.data_type == "wds_img":
            raise ValueError(
                "data_type wds_img was left over from an image experiment in RWKV-LM and never "
                "worked; eyas trains on text and tokens"
            )
        mapped_fields(self.map)
        if self.mask == "se":
            marker_pair(self.mask_id)
        elif self.mask_id:
            raise ValueError(f"mask_id goes with mask se, not {self.mask}; leave one of them out")
        if self.encoding is not None:
            _check_encoding(self.encoding)

    def _check_row_length(self) -> None:
        if self.data_type != "uint16":
            if self.row_length is not None:
                raise ValueError("row_length goes with data_type uint16; leave it out")
        elif self.row_length is None or self.row_length < _SHORTEST_ROW:
            found = "" if self.row_length is None else f", not {self.row_length}"
            raise ValueError(
                "data_type uint16 is rows of tokens without an index; give row_length as well, the "
                f"tokens of a row, at least {_SHORTEST_ROW}{found}"
            )


def _check_encoding(name: str) -> None:
    try:
        codecs.lookup(name)
        "a".encode(name)  # refuses what is no encoding of text, such as hex
        # and what only takes whole words, such as idna
        codecs.getincrementaldecoder(name)("surrogateescape").decode(b"a")
    except (LookupError, ValueError):
        hint = did_you_mean(name, _ENCODINGS) or f"; give one such as {', '.join(_ENCODINGS)}"
        raise ValueError(f"encoding {name!r} is unknown{hint}") from None
