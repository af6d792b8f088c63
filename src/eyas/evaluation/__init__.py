"""Scoring models: perplexity, bits per byte, exact match, choices; and comparing two of them.

work = open_work(Path("test.jsonl"), tokenizer, model.vocab_size)
measures = work.measures(model)
"""

from eyas.evaluation.likelihood import Bounds, Scored, score
from eyas.evaluation.measured import Measured, difference
from eyas.evaluation.work import Work, open_work

__all__ = ["Bounds", "Measured", "Scored", "Work", "difference", "open_work", "score"]
