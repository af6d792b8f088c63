"""The markers of the mask `se` as texts, also those that are given as the number of a token."""

import dataclasses
from collections.abc import Callable

from eyas.data.reading import ReadConfig
from eyas.data.tokenizer import Tokenizer
from eyas.errors import UserError


def with_marker_texts(reading: ReadConfig, tokenizer: Tokenizer) -> ReadConfig:
    """The same with texts alone in `mask_id`. Raises UserError for a token that has none."""
    if not reading.mask_id:
        return reading
    texts = tuple(marker_of(value, tokenizer.token_bytes) for value in reading.mask_id)
    return dataclasses.replace(reading, mask_id=texts)


def marker_of(value: str | int, token_bytes: Callable[[int], bytes]) -> str:
    """The text of a marker: a token's where `value` is its number, else `value` itself.

    Raises UserError for a token that stands for no whole text.
    """
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        return value
    try:
        text = token_bytes(int(value)).decode()
    except (ValueError, LookupError, OverflowError):
        text = ""
    if not text:
        raise UserError(f"mask_id {value}: this token stands for no text; give the marker's text")
    return text
