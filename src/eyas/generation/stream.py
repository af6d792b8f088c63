"""Text from a model, piece by piece: whole characters only, and never a part of a stop string."""

import codecs
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from eyas.errors import UserError
from eyas.generation.sampling import Sampling, count, sample

END = 0  # the token that ends a document, and stands before the first one
_SLICE = 1024  # prompt tokens a forward, which bounds the memory of their logits


@runtime_checkable
class Tokenizer(Protocol):
    """What generating needs of a tokenizer."""

    def encode(self, text: str) -> list[int]: ...

    def token_bytes(self, token: int) -> bytes: ...


def generate(
    model: nn.Module,
    tokenizer: Tokenizer,
    prompt: str,
    sampling: Sampling,
    max_tokens: int,
    stop: tuple[str, ...],
    seed: int,
) -> Iterator[str]:
    """Yields the continuation of `prompt` in pieces, as soon as each is certain.

    Ends at token 0, at the first of the texts in `stop` (which is not yielded, wherever tokens
    part it) or after `max_tokens`; a character that is incomplete then is left out. The same
    seed gives the same text. `model(tokens [1, T], state) -> (logits [1, T, V], state)`.

    Raises UserError where the prompt is no text, or none in the model's vocabulary.
    """
    if "" in stop:
        raise UserError("stop: a text that stops the generation is empty; leave it out")
    generator = torch.Generator().manual_seed(seed)
    read = _encoded(tokenizer, prompt, model.get_parameter("emb.weight").shape[0])
    tokens = _tokens(model, tokenizer, read, sampling, generator)
    pieces = map(tokenizer.token_bytes, islice(tokens, max_tokens))
    return until_stop(_characters(pieces), stop)


def until_stop(pieces: Iterable[str], stop: tuple[str, ...]) -> Iterator[str]:
    """The pieces up to the text of `stop` that ends first, held back while one may have begun."""
    held = ""
    for piece in pieces:
        held += piece
        ends = [(start + len(text), start) for text in stop if (start := held.find(text)) >= 0]
        certain = min(ends)[1] if ends else len(held) - _open_end(held, stop)
        if certain:
            yield held[:certain]
        if ends:
            return
        held = held[certain:]
    if held:
        yield held


def _open_end(text: str, stop: tuple[str, ...]) -> int:
    """Length of the longest end of `text` with which a text of `stop` begins."""
    longest = max(map(len, stop), default=1) - 1
    lengths = range(min(longest, len(text)), 0, -1)
    return next((n for n in lengths if any(s.startswith(text[-n:]) for s in stop)), 0)


def _characters(chunks: Iterable[bytes]) -> Iterator[str]:
    """Decodes UTF-8 whose characters may be parted between chunks; what is none becomes U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for chunk in chunks:
        if text := decoder.decode(chunk):
            yield text


def _encoded(tokenizer: Tokenizer, prompt: str, vocab_size: int) -> list[int]:
    """The tokens of a prompt; token 0 where it is empty."""
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"the prompt is not UTF-8 at character {error.start + 1}; convert it, for example "
            "with iconv -f GB18030 -t UTF-8"
        ) from error
    tokens = tokenizer.encode(prompt) or [END]
    if max(tokens) >= vocab_size:
        raise UserError(
            f"the tokenizer gives token {max(tokens)}, outside the model's vocabulary of "
            f"{vocab_size}; give the model's own --tokenizer"
        )
    return tokens


def _tokens(
    model: nn.Module,
    tokenizer: Tokenizer,
    tokens: list[int],
    sampling: Sampling,
    generator: torch.Generator,
) -> Iterator[int]:
    """Sampled tokens without end, but for token 0."""
    occurrence: dict[int, float] = {}
    state: Any = None
    while True:
        logits, state = _read(model, tokens, state)
        token = sample(logits, sampling, occurrence, generator)
        if token == END:
            return
        yield token
        weight = _weight(tokenizer.token_bytes(token))
        occurrence = count(occurrence, token, weight, sampling.penalty_decay)
        tokens = [token]


@torch.inference_mode()
def _read(model: nn.Module, tokens: list[int], state: Any) -> tuple[Tensor, Any]:
    """Reads the tokens on from `state`; gives the logits [V] after the last, and the state."""
    row = torch.tensor([tokens], device=next(model.parameters()).device)
    logits = row
    for part in row.split(_SLICE, dim=1):
        logits, state = model(part, state)
    last = logits[0, -1]
    if not last.isfinite().all():
        raise UserError("the model's logits are not finite; check its weights and precision")
    return last, state


def _weight(piece: bytes) -> float:
    """Blanks and digits may repeat: as in the `rwkv` package, they do not add up."""
    return 1.0 if piece.strip(b" \t0123456789") else 0.0
