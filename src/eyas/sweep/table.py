"""The results of a sweep as a table for people and as JSON for programs."""

from collections.abc import Sequence

from rich.table import Table

from eyas.sweep.results import Result, Spread
from eyas.sweep.trials import Outcome


def as_table(results: Sequence[Result]) -> Table:
    """A row for each result, in their order; losses are means, ± the standard deviation.

    held-out: after the last step. lowest: the lowest held-out loss on the way.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("method", "lr"):
        table.add_column(column, no_wrap=True)
    for column in ("held-out", "lowest", "training", "parameters", "s", "MiB"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("runs")
    for result in results:
        trial = result.outcomes[0].trial
        table.add_row(
            result.name,
            repr(result.rate),
            "-" if result.held_out is None else str(result.held_out),
            *(_mean(loss) for loss in (result.best, result.training)),
            f"{trial.parameters:,}",
            "-" if result.seconds is None else f"{result.seconds:,.1f}",
            f"{trial.estimated_bytes / 2**20:,.0f}",
            _runs(result),
        )
    return table


def as_json(results: Sequence[Result]) -> list[dict[str, object]]:
    """The results in their order, each with its runs."""
    return [_result_json(result) for result in results]


def _mean(loss: Spread | None) -> str:
    return "-" if loss is None else f"{loss.mean:.4f}"


def _runs(result: Result) -> str:
    if result.failed:
        return f"{result.failed} of {len(result.outcomes)} failed"
    missing = len(result.outcomes) - result.done
    return f"{result.done} of {len(result.outcomes)}" if missing else str(result.done)


def _result_json(result: Result) -> dict[str, object]:
    trial = result.outcomes[0].trial
    return {
        "name": result.name,
        "method": trial.run.method.name,
        "quant": trial.run.frozen.quant,
        "lr": result.rate,
        "held_out": _spread_json(result.held_out),
        "lowest_held_out": _spread_json(result.best),
        "training": _spread_json(result.training),
        "seconds": result.seconds,
        "trained_parameters": trial.parameters,
        "estimated_bytes": trial.estimated_bytes,
        "runs": [_run_json(outcome) for outcome in result.outcomes],
    }


def _run_json(outcome: Outcome) -> dict[str, object]:
    return {
        "seed": outcome.trial.seed,
        "folder": outcome.trial.out.name,
        "state": outcome.state,
        "reason": outcome.reason,
        "held_out": outcome.held_out,
        "lowest_held_out": outcome.best,
        "lowest_at_step": outcome.best_step,
        "training": outcome.training,
        "seconds": outcome.seconds,
    }


def _spread_json(loss: Spread | None) -> dict[str, float | None] | None:
    return None if loss is None else {"mean": loss.mean, "deviation": loss.deviation}
