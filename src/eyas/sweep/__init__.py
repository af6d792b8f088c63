"""Methods compared by short runs: the same data and steps, several learning rates and seeds."""

from eyas.sweep.picture import draw_rates
from eyas.sweep.results import Result, Spread, at_edge, best, ranked
from eyas.sweep.table import as_json, as_table
from eyas.sweep.trials import Outcome, SweepConfig, Trial, attempt, default_rates, outcome, trials

__all__ = [
    "Outcome",
    "Result",
    "Spread",
    "SweepConfig",
    "Trial",
    "as_json",
    "as_table",
    "at_edge",
    "attempt",
    "best",
    "default_rates",
    "draw_rates",
    "outcome",
    "ranked",
    "trials",
]
