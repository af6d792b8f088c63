"""The elementwise parts of a block, each in one pass over its tensors, forward and backward.

PyTorch computes such a chain link by link, each writing its result to memory and keeping it for the
backward: on a CPU that costs more than the arithmetic. Each file here has one chain: its equation,
a `plain` form of it in PyTorch, which is the reference and serves every device and type, and the
compiled one (`eyas.native`) for float32 and float64 on a CPU, which keeps its arguments alone.
"""

from eyas.fused.gated_norm import Bonus, gated_norm
from eyas.fused.goose_inputs import GooseInputs, ValueMix, goose_inputs
from eyas.fused.shifted_mix import shifted_mix
from eyas.fused.squared_relu import squared_relu

__all__ = [
    "Bonus",
    "GooseInputs",
    "ValueMix",
    "gated_norm",
    "goose_inputs",
    "shifted_mix",
    "squared_relu",
]
