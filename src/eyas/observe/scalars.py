"""The numbers of an event by name, the same in every sink."""

from eyas.observe.flops import Utilization
from eyas.training.events import Event, Step, Validated


def scalars(event: Event, utilization: Utilization | None = None) -> dict[str, float]:
    """What can be drawn as curves over the steps; nothing for an event without numbers."""
    if isinstance(event, Validated):
        return {"held_out_loss": event.loss}
    if not isinstance(event, Step):
        return {}
    return {
        "loss": event.loss,
        "learning_rate": event.learning_rate,
        "gradient_norm": event.gradient_norm,
        **rates(event, utilization),
        "peak_gib": event.peak_bytes / 2**30,
    }


def rates(step: Step, utilization: Utilization | None = None) -> dict[str, float]:
    """How fast a step was; MFU, from 0 to 1, where it can be told."""
    seconds = max(step.seconds, 1e-9)
    found = {
        "tokens_per_second": step.tokens / seconds,
        "trained_tokens_per_second": step.trained_tokens / seconds,
    }
    return {**found, "mfu": utilization.of(step)} if utilization else found
