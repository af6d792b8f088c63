"""Losses and gradients that are not finite: whose they are, and what to do about them."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import torch

from eyas.data import Batch
from eyas.errors import UserError
from eyas.models import Model
from eyas.training.loss import batch_loss

_SHOWN = 3


def stopped_at(
    step: int, what: str, model: Model, work: Sequence[Batch], logit_l2: float, saved: int
) -> UserError:
    """The error for a step that could not be taken; names the documents at fault.

    what: "the loss is nan". saved: step of the newest checkpoint, 0 where there is none.
    """
    rows = [place for batch in work for place in batch.places]
    bad = list(_bad_places(model, work, logit_l2))
    places = list(dict.fromkeys(bad or rows))
    shown = ", ".join(places[:_SHOWN])
    if len(places) > _SHOWN:
        shown += f" and {len(places) - _SHOWN} more"
    if len(bad) == len(rows) > 1:
        return UserError(f"{what} at step {step} in every row ({shown}); {_advice(saved)}")
    which = "this document" if len(places) == 1 else "these documents"
    return UserError(f"{what} at step {step} ({shown}); {_advice(saved)}, or look at {which}")


def check_weights(model: Model, batch: Batch, step: int, saved: int) -> None:
    """Raises UserError where the weights after this step give no finite loss on its own batch."""
    model.eval()
    with torch.no_grad():
        loss = batch_loss(model, batch).item()
    model.train()
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is {loss} after step {step}, which ruined the weights; {_advice(saved)}"
        )


def _advice(saved: int) -> str:
    if not saved:
        return "nothing is saved yet: try a lower --lr"
    return f"the checkpoint of step {saved} is kept: try a lower --lr with another --out"


def _bad_places(model: Model, work: Sequence[Batch], logit_l2: float) -> Iterator[str]:
    """The documents of the rows whose own loss or gradient is not finite."""
    for batch in work:
        for row, place in enumerate(batch.places):
            one = slice(row, row + 1)
            alone = dataclasses.replace(
                batch, tokens=batch.tokens[one], targets=batch.targets[one], places=(place,)
            )
            model.zero_grad(set_to_none=True)
            loss = batch_loss(model, alone, logit_l2)
            loss.backward()
            grads = [p.grad for p in model.parameters() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(grads)
            if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
                yield place
    model.zero_grad(set_to_none=True)
