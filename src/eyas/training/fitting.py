"""What to change where a run needs more memory than there is, with the numbers."""

from collections.abc import Iterator
from dataclasses import dataclass

from eyas.training.memory import Plan

_LEAST_CTX, _CHUNK = 128, 512
_WORTH = 0.99  # of the memory before, above which a change is not


@dataclass(frozen=True)
class Fitting:
    """A plan with some settings changed."""

    typed: tuple[str, ...]
    """Options that change them."""
    plan: Plan
    needed: int
    """Bytes."""

    def line(self, available: int) -> str:
        fits = "fits" if self.needed <= available else "does not fit"
        return f"{' '.join(self.typed)}: {gib(self.needed)}, {fits}"


def advice(plan: Plan, available: int) -> list[Fitting]:
    """What to change where the run needs more than is available; empty where it fits.

    First each change by itself, then, if none is enough, several together.
    """
    start = Fitting((), plan, plan.total())
    if start.needed <= available:
        return []
    single = list(_better(start))
    if any(change.needed <= available for change in single):
        return single
    now = start
    while now.needed > available and (change := next(_better(now), None)):
        now = change
    return [*single, *([now] if len(now.typed) > 1 else [])]


def advice_lines(plan: Plan, available: int) -> list[str]:
    """The same in words."""
    found = advice(plan, available)
    if found or plan.total() <= available:
        return [change.line(available) for change in found]
    return ["no setting changes that: it takes more memory, or a smaller model"]


def gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _better(before: Fitting) -> Iterator[Fitting]:
    """With one change more, where it is worth while; what costs least quality and time first."""
    for typed, plan in _changes(before.plan):
        needed = plan.total()
        if needed < _WORTH * before.needed:
            others = tuple(t for t in before.typed if t.split()[0] != typed.split()[0])
            yield Fitting((*others, typed), plan, needed)


def _changes(plan: Plan) -> Iterator[tuple[str, Plan]]:
    batch, loop, frozen = plan.batch, plan.loop, plan.frozen
    if batch.micro_batch > 1:
        steps = loop.accumulate * batch.micro_batch  # the same step, row by row
        typed = f"--micro-batch 1 --accumulate {steps}"
        yield typed, plan.changed(micro_batch=1, accumulate=steps)
    if not loop.recompute:
        yield "--recompute", plan.changed(recompute=True)
    if frozen.storage != "bf16" and plan.stored.itemsize > 2:
        yield "--storage bf16", plan.changed(storage="bf16")
    if plan.method.name != "full":
        for quant in ("int8", "nf4"):
            if frozen.quant != quant and frozen.quant in ("none", "int8"):
                yield f"--quant {quant}", plan.changed(quant=quant)
        if not frozen.quant_head and "head" not in plan.train_parts:
            yield "--quant-head", plan.changed(quant_head=True)
    if plan.device != "cpu" and not frozen.embedding_on_cpu and "emb" not in plan.train_parts:
        yield "--embedding-on-cpu", plan.changed(embedding_on_cpu=True)
    if not loop.chunk and plan.row > _CHUNK:
        yield f"--chunk {_CHUNK}", plan.changed(chunk=_CHUNK)
    if plan.row > _LEAST_CTX and not loop.chunk:
        yield f"--ctx {plan.row // 2}", plan.changed(ctx=plan.row // 2)
