"""Greedy decoding of many prompts: each is read alone, then their states are one batch."""

from collections.abc import Callable, Iterator, Sequence

import torch

from eyas.data import Tokenizer
from eyas.evaluation.likelihood import Bounds, rows_of, stacked
from eyas.models import Model, State

END = 0


def greedy(
    model: Model,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    done: Callable[[int, bytes], bool],
    bounds: Bounds,
) -> Iterator[tuple[int, bytes]]:
    """Continues each prompt with its likeliest tokens; yields (its number, the continuation).

    One ends at token 0, which is left out, or where `done(number, continuation)` says so, which is
    asked after each token. A prompt has at least one token.
    """
    for begin in range(0, len(prompts), bounds.rows):
        numbers = list(range(begin, min(begin + bounds.rows, len(prompts))))
        yield from _batch(model, tokenizer, prompts, numbers, done, bounds)


def _batch(
    model: Model,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    numbers: list[int],
    done: Callable[[int, bytes], bool],
    bounds: Bounds,
) -> Iterator[tuple[int, bytes]]:
    read = [_read(model, prompts[number], bounds.chunk) for number in numbers]
    tokens, state = [token for token, _ in read], stacked([state for _, state in read])
    written = dict.fromkeys(numbers, b"")
    while numbers:
        going = []
        for row, (number, token) in enumerate(zip(numbers, tokens, strict=True)):
            written[number] += tokenizer.token_bytes(token) if token != END else b""
            if token == END or done(number, written[number]):
                yield number, written.pop(number)
            else:
                going.append(row)
        if not going:
            return
        numbers = [numbers[row] for row in going]
        tokens, state = _next(model, [tokens[row] for row in going], state, going)


@torch.inference_mode()
def _next(
    model: Model, tokens: list[int], state: State, rows: list[int]
) -> tuple[list[int], State]:
    """The likeliest token after each of these, read on from these rows of the state."""
    state = rows_of(state, torch.tensor(rows, device=state[0].wkv.device))
    logits, state = model(torch.tensor(tokens)[:, None], state)
    return logits[:, -1].argmax(-1).tolist(), state


@torch.inference_mode()
def _read(model: Model, prompt: Sequence[int], chunk: int) -> tuple[int, State]:
    """The likeliest token after a prompt, and the state there."""
    state: State | None = None
    hidden = None
    for part in torch.tensor([list(prompt)]).split(chunk, dim=1):
        hidden, state = model.hidden(part, state)
    assert hidden is not None, "a prompt has a token"
    assert state is not None
    return int(model.head(hidden[:, -1]).argmax()), state
