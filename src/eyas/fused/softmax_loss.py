"""Cross-entropy of rows of logits z with targets t, and its gradient, in the logits' memory:

loss = logsumexp(z) - z[t]        d loss / d z = softmax(z) - onehot(t)
the gradient has also the second term of  l2 / 2 max(z)^2
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eyas.native import pointwise

Logits = Float[Tensor, "M V"]


def softmax_loss_(
    logits: Logits, targets: Int[Tensor, " M"], l2: float, gradient: bool
) -> Float[Tensor, " M"]:
    """The loss of each row. The logits become their gradient, or, without one, are used up."""
    if not (logits.is_contiguous() and pointwise.usable(logits)):
        return plain_(logits, targets, l2, gradient)
    losses = logits.new_empty(len(logits))
    numbers = {"rows": len(logits), "size": logits.shape[1], "gradient": int(gradient), "l2": l2}
    tensors = {"logits": logits, "targets": targets.contiguous(), "loss": losses}
    pointwise.call("softmax", logits.dtype, numbers, tensors)
    return losses


def plain_(
    logits: Logits, targets: Int[Tensor, " M"], l2: float, gradient: bool
) -> Float[Tensor, " M"]:
    """The same by PyTorch's own operations."""
    chosen = logits.gather(1, targets[:, None])
    largest, where = logits.max(1, keepdim=True)
    powers = torch.exp(logits.sub_(largest), out=logits)
    total = powers.sum(1, keepdim=True)
    if gradient:
        powers.div_(total)
        powers.scatter_add_(1, targets[:, None], torch.full_like(total, -1.0))
        if l2:
            powers.scatter_add_(1, where, l2 * largest)
    return (total.log() + largest - chosen)[:, 0]
