"""Memory in use, and the memory that a run will need."""

from eyas import wkv
from eyas.adapters import adapter_tensors
from eyas.data import BatchConfig
from eyas.models import Model
from eyas.training.loop import LoopConfig
from eyas.training.loss import block_rows

# Tensors of [B, T, C] that one block keeps for its backward, and of [B, T, F]; and blocks' worth of
# them while one is computed again and goes backward. Fitted to the peaks of released shapes on a
# CPU (benchmarks/memory.py), with the compiled operators and with those in PyTorch.
_KEPT_WIDE = {
    True: {"x052": 35, "x060": 51, "x070": 50},
    False: {"x052": 56, "x060": 62, "x070": 105},
}
_KEPT_FFN = 2
_RECOMPUTED = {True: 4.8, False: 3.5}
_PROCESS = 450 * 2**20  # Python, PyTorch and a tokenizer


def predict(model: Model, batch: BatchConfig, loop: LoopConfig, longest: int) -> dict[str, int]:
    """Bytes at the peak of a step, by part, on the CPU; an estimate.

    longest: tokens of the longest row.
    """
    shape, item = model.shape, model.dtype.itemsize
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    weights = sum(p.nbytes for p in model.parameters() if not p.requires_grad)
    adapter = sum(t.nbytes for t in adapter_tensors(model).values())
    tokens = batch.micro_batch * min(batch.ctx, longest, loop.chunk or longest)
    compiled = model.layers()[0].att.backend is wkv.native
    wide = _KEPT_WIDE[compiled][shape.version]
    block = tokens * item * (wide * shape.width + _KEPT_FFN * shape.ffn_width)
    inputs = tokens * item * shape.width * shape.num_layers
    kept = block * shape.num_layers
    if loop.recompute:
        kept = min(kept, inputs + round(_RECOMPUTED[compiled] * block))
    # The head in the type that is computed in, unless it is stored so.
    stored = next(model.head.parameters())
    head = 0 if stored.dtype == model.dtype else shape.vocab_size * shape.width * item
    rows = min(tokens, block_rows(shape.vocab_size * 4))
    return {
        "process": _PROCESS,
        "weights": weights,
        "adapter": adapter,
        "gradients": trained * 4,
        "optimizer": trained * 8,
        "activations": kept,
        "logits": 2 * rows * shape.vocab_size * 4 + head,
    }
