"""Vocabularies whose tokens are bytes: those that programs for RWKV have a tokenizer for."""

from eyas.data import Tokenizer
from eyas.errors import UserError

_OF_BYTES = frozenset(("world", "world-file", "bytes", "world-bytes"))


def is_of_bytes(tokenizer: Tokenizer) -> bool:
    """Whether it takes, again and again, the longest token that the rest of a text begins with."""
    return tokenizer.name in _OF_BYTES


def pieces(tokenizer: Tokenizer, rows: int) -> list[bytes]:
    """The bytes of each of a model's rows; none for 0, which ends a document, and unused ones.

    Raises UserError where the vocabulary has tokens that the model has no row for.
    """
    known = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]
    highest = max((token for token, piece in enumerate(known) if piece), default=0)
    if highest >= rows:
        raise UserError(
            f"tokenizer {tokenizer.name}: has the token {highest}, and the model {rows} rows; give "
            "the vocabulary that it was trained with as --tokenizer"
        )
    return [b"", *known[1:rows], *[b""] * (rows - len(known))]
