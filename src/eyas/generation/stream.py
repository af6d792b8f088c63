"""Text from a model, piece by piece: whole characters only, and never a part of a stop string."""

import codecs
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from eyas.errors import UserError
from eyas.generation.compiled import CompiledTokens, compiled
from eyas.generation.graphs import with_graph
from eyas.generation.sampling import Sampling, count, sample
from eyas.models import Model

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
    read = encoded(tokenizer, prompt, model.get_parameter("emb.weight").shape[0])
    tokens = sampled(reader(model), tokenizer, read, None, sampling, generator)
    pieces = (tokenizer.token_bytes(token) for token, _ in islice(tokens, max_tokens))
    return until_stop(characters(pieces), stop)


def reader(model: nn.Module) -> nn.Module:
    """The model as it reads single tokens fastest here; its weights must stay as they are."""
    return compiled(with_graph(model))


class Stops:
    """Text that is fed in pieces, up to the first of the texts in `stop`.

    `held` is what is not certain yet: the beginning of a stop text, or, once one is found
    (`ended`), that text and what follows it.
    """

    def __init__(self, stop: tuple[str, ...]) -> None:
        self.stop = stop
        self.held = ""
        self.ended = False

    def feed(self, piece: str) -> str:
        """What is certain with this piece; a text of `stop` that ends first counts."""
        held = self.held + piece
        ends = [(start + len(text), start) for text in self.stop if (start := held.find(text)) >= 0]
        self.ended = bool(ends)
        certain = min(ends)[1] if ends else len(held) - open_end(held, self.stop)
        self.held = held[certain:]
        return held[:certain]


def until_stop(pieces: Iterable[str], stop: tuple[str, ...]) -> Iterator[str]:
    """The pieces up to the text of `stop` that ends first, held back while one may have begun."""
    stops = Stops(stop)
    for piece in pieces:
        if certain := stops.feed(piece):
            yield certain
        if stops.ended:
            return
    if stops.held:
        yield stops.held


def open_end(text: str, stop: tuple[str, ...]) -> int:
    """Length of the longest end of `text` with which a text of `stop` begins."""
    longest = max(map(len, stop), default=1) - 1
    lengths = range(min(longest, len(text)), 0, -1)
    return next((n for n in lengths if any(s.startswith(text[-n:]) for s in stop)), 0)


def characters(chunks: Iterable[bytes]) -> Iterator[str]:
    """Decodes UTF-8 whose characters may be parted between chunks; what is none becomes U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for chunk in chunks:
        if text := decoder.decode(chunk):
            yield text


def encoded(tokenizer: Tokenizer, prompt: str, vocab_size: int) -> list[int]:
    """The tokens of a prompt; token 0 where it is empty.

    Raises UserError where it is no text, or none in a vocabulary of `vocab_size`.
    """
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


def sampled(
    model: nn.Module,
    tokenizer: Tokenizer,
    tokens: list[int],
    state: Any,
    sampling: Sampling,
    generator: torch.Generator,
) -> Iterator[tuple[int, Any]]:
    """Reads `tokens` on from `state` and samples without end, but for token 0.

    Each sampled token comes with the state before it is read.
    """
    occurrence: dict[int, float] = {}
    while True:
        logits, state = _read(model, tokens, state)
        token = sample(logits, sampling, occurrence, generator)
        if token == END:
            return
        yield token, state
        weight = weight_of(tokenizer.token_bytes(token))
        occurrence = count(occurrence, token, weight, sampling.penalty_decay)
        tokens = [token]


@torch.inference_mode()
def _read(model: nn.Module, tokens: list[int], state: Any) -> tuple[Tensor, Any]:
    """Reads the tokens on from `state`; gives the logits [V] after the last, and the state."""
    row = torch.tensor([tokens], device=next(model.parameters()).device)
    logits = row
    for part in row.split(_SLICE, dim=1):
        logits, state = _read_slice(model, part, state)
    last = logits[0, -1].cpu()  # the one wait for a device
    if not last.isfinite().all():
        raise UserError("the model's logits are not finite; check its weights and precision")
    return last, state


def _read_slice(model: nn.Module, part: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Logits [1, T, V], or [1, 1, V] where the head can read the last token alone; the state."""
    if isinstance(model, Model | CompiledTokens):
        hidden, state = model.hidden(part, state)
        return model.head(hidden[:, -1:]), state
    logits, state = model(part, state)
    return logits, state


def weight_of(piece: bytes) -> float:
    """Blanks and digits may repeat: as in the `rwkv` package, they do not add up."""
    return 1.0 if piece.strip(b" \t0123456789") else 0.0
