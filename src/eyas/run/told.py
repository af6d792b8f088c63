"""What is said of a run before it begins."""

from eyas.adapters import described
from eyas.data import summarize
from eyas.observe.data_report import short_report
from eyas.run.prepared import Prepared
from eyas.training.fitting import advice_lines, gib
from eyas.training.machine import free_bytes


def data_lines(prepared: Prepared) -> list[str]:
    """How much there is, how much of it is trained, and what becomes of long documents."""
    ctx, long = prepared.run.batch.ctx, prepared.run.batch.long
    s = summarize(prepared.corpus, ctx, long)
    share = s.trained_tokens / max(s.tokens - s.documents, 1)
    windows = prepared.run.batch.dataload == "get"
    lines = [
        f"{s.documents:,} documents, {s.tokens:,} tokens ({prepared.tokenizer.name}), "
        f"{share:.1%} of the targets trained",
    ]
    if windows:
        lines.append(f"seen in windows of {ctx} tokens over all of them as one stream")
    elif s.too_long and long == "split":
        lines.append(
            f"{s.too_long:,} are longer than {ctx} tokens and are cut into pieces: "
            f"{s.pieces:,} in all, no token lost; each piece starts from a fresh state"
        )
    elif s.too_long:
        what = "cut off there" if long == "truncate" else "left out"
        lines.append(
            f"{s.too_long:,} are longer than {ctx} tokens and are {what}: {s.lost_tokens:,} tokens "
            f"lost (--long {long})"
        )
    if s.untrained_pieces and not windows:
        lines.append(f"{s.untrained_pieces:,} pieces have nothing to train and are left out")
    if s.too_short and not windows:
        lines.append(f"{s.too_short:,} documents are empty and are left out")
    if prepared.held_out:
        lines.append(f"{len(prepared.held_out):,} documents held out")
    sources = prepared.run.data
    return lines + short_report(sources, prepared.linter, prepared.corpus, prepared.held_out)


def trained_lines(prepared: Prepared) -> list[str]:
    run, trained = prepared.run, prepared.trained_parameters
    parts = f" + {' '.join(run.train_parts)}" if run.train_parts else ""
    total = prepared.base_parameters
    lines = [
        f"{described(run.method)}{parts}: "
        f"{trained:,} parameters, {trained / total:.2%} of the model's {total:,}"
    ]
    model = prepared.model
    on_cpu = model.ln_out.weight.device.type == "cpu"
    if run.precision == "bf16" and on_cpu and model.products is None:
        lines.append("bf16: this processor has no units for it and multiplies in float32")
    if run.frozen.quant != "none":
        lines.append(f"over a base quantized to {run.frozen.quant}")
    return lines


def memory_lines(prepared: Prepared) -> list[str]:
    """The predicted peak by part, and what to change where this machine has less."""
    plan, available = prepared.plan, free_bytes(prepared.model.ln_out.weight.device)
    parts = plan.parts()
    detail = ", ".join(f"{name} {size / 2**20:,.0f}" for name, size in parts.items() if size)
    lines = [f"about {sum(parts.values()) / 2**20:,.0f} MiB at the peak ({detail})"]
    if sum(parts.values()) > available:
        lines.append(f"{gib(available)} are free here: this will probably run out of memory")
        lines += [f"  {line}" for line in advice_lines(plan, available)]
    return lines
