"""Losses and gradients that are not finite: whose they are, and what to do about them."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from eyas.data import Batch
from eyas.errors import UserError
from eyas.training.engine import Engine, norm_of

_SHOWN = 3


def stopped_at(
    step: int, what: str, engine: Engine, work: Sequence[Batch], saved: int
) -> UserError:
    """The error for a step that could not be taken; names the documents at fault.

    what: "the loss is nan". saved: step of the newest checkpoint, 0 where there is none.
    Among several ranks the rows are not tried one by one: each names all of its own.
    """
    rows = [place for batch in work for row in batch.places for place in row]
    bad = [] if engine.ranks.world > 1 else list(_bad_places(engine, work))
    places = list(dict.fromkeys(bad or rows))
    shown = ", ".join(places[:_SHOWN])
    if len(places) > _SHOWN:
        shown += f" and {len(places) - _SHOWN} more"
    if len(bad) == len(rows) > 1:
        return UserError(f"{what} at step {step} everywhere ({shown}); {_advice(saved)}")
    which = "this document" if len(places) == 1 else "these documents"
    return UserError(f"{what} at step {step} ({shown}); {_advice(saved)}, or look at {which}")


def check_weights(engine: Engine, batch: Batch, step: int, saved: int) -> None:
    """Raises UserError where the weights after this step give no finite loss on its own batch."""
    engine.model.eval()
    (loss,) = engine.ranks.sums(engine.value(batch))
    engine.model.train()
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is {loss} after step {step}, which ruined the weights; {_advice(saved)}"
        )


def _advice(saved: int) -> str:
    if not saved:
        return "nothing is saved yet: try a lower --lr"
    return f"the checkpoint of step {saved} is kept: try a lower --lr with another --out"


def _bad_places(engine: Engine, work: Sequence[Batch]) -> Iterator[str]:
    """The documents whose own loss or gradient is not finite."""
    model = engine.model
    for document, place in (each for batch in work for each in _documents(batch)):
        model.zero_grad(set_to_none=True)
        loss = engine.backward(document, 1.0)
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        if not (math.isfinite(loss) and math.isfinite(norm_of(grads))):
            yield place
    model.zero_grad(set_to_none=True)


def _documents(batch: Batch) -> Iterator[tuple[Batch, str]]:
    """Each document of a batch as a batch of its own, and its place."""
    length = batch.tokens.shape[1]
    for row, places in enumerate(batch.places):
        starts = [] if batch.starts is None else batch.starts[row].nonzero()[:, 0].tolist()
        for (begin, end), place in zip(pairwise([0, *starts, length]), places, strict=True):
            here = (slice(row, row + 1), slice(begin, end))
            tokens, targets = batch.tokens[here], batch.targets[here]
            yield Batch(tokens, targets, None, end - begin, ((place,),)), place
