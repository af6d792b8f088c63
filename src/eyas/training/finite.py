"""Losses and gradients that are not finite: whose they are, and what to do about them."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import torch

from eyas.data import Batch
from eyas.errors import UserError
from eyas.training.engine import Engine

_SHOWN = 3


def stopped_at(
    step: int, what: str, engine: Engine, work: Sequence[Batch], saved: int
) -> UserError:
    """The error for a step that could not be taken; names the documents at fault.

    what: "the loss is nan". saved: step of the newest checkpoint, 0 where there is none.
    Among several ranks the rows are not tried one by one: each names all of its own.
    """
    rows = [place for batch in work for place in batch.places]
    bad = [] if engine.ranks.world > 1 else list(_bad_places(engine, work))
    places = list(dict.fromkeys(bad or rows))
    shown = ", ".join(places[:_SHOWN])
    if len(places) > _SHOWN:
        shown += f" and {len(places) - _SHOWN} more"
    if len(bad) == len(rows) > 1:
        return UserError(f"{what} at step {step} in every row ({shown}); {_advice(saved)}")
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
    """The documents of the rows whose own loss or gradient is not finite."""
    model = engine.model
    for batch in work:
        for row, place in enumerate(batch.places):
            one = slice(row, row + 1)
            alone = dataclasses.replace(
                batch,
                tokens=batch.tokens[one],
                targets=batch.targets[one],
                starts=None if batch.starts is None else batch.starts[one],
                places=(place,),
            )
            model.zero_grad(set_to_none=True)
            loss = engine.backward(alone, 1.0)
            grads = [p.grad for p in model.parameters() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(grads)
            if not (math.isfinite(loss) and math.isfinite(norm.item())):
                yield place
    model.zero_grad(set_to_none=True)
