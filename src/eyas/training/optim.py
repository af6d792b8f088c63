"""Optimizers and learning rate.

With AdamW, weight decay touches the large matrices only (the linears' `.weight`, embedding and
head), as RWKV's own training does it. Muon (Jordan 2024) orthogonalizes the updates of the blocks'
two-dimensional weights; the rest stays with AdamW.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

Schedule = Literal["constant", "linear", "exponential", "cosine", "wsd"]


@dataclass(frozen=True)
class OptimConfig:
    """How the trained tensors are moved."""

    lr: Annotated[float | None, "peak learning rate; default: by method"] = None
    lr_final: Annotated[float | None, "learning rate of the last step; default: by schedule"] = None
    schedule: Annotated[Schedule, "course of the learning rate after the warm-up"] = "constant"
    warmup_steps: Annotated[int, "steps in which the learning rate rises"] = 0
    decay_share: Annotated[float, "wsd: share of the steps in which it falls"] = 0.2
    optimizer: Annotated[Literal["adamw", "muon"], "muon: for the blocks' matrices"] = "adamw"
    muon_lr: Annotated[float, "learning rate of muon at the peak"] = 0.02
    beta1: Annotated[float, "decay of AdamW's mean of gradients"] = 0.9
    beta2: Annotated[float, "decay of AdamW's mean of squares"] = 0.99
    epsilon: Annotated[float, "AdamW's term against division by zero"] = 1e-8
    weight_decay: Annotated[float, "of the large matrices, per unit of learning rate"] = 0.0
    layerwise_lr: Annotated[bool, "time_decay and RWKV-7's att.w0 at twice the rate"] = True
    clip: Annotated[float, "largest 2-norm of the gradient; 0: any"] = 1.0

    def __post_init__(self) -> None:
        for name in ("lr", "lr_final", "weight_decay", "clip", "muon_lr"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} = {value} must be a number of at least 0")
        if not 0 <= self.warmup_steps < 2**63:
            raise ValueError(f"warmup_steps = {self.warmup_steps} must be 0 up to 2^63")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 0 and below 1")
        if not 0 < self.epsilon < math.inf:
            raise ValueError(f"epsilon = {self.epsilon} must be a number above 0")
        if not 0 < self.decay_share <= 1:
            raise ValueError(f"decay_share = {self.decay_share} must be above 0 and at most 1")
        if self.lr_final is not None and self.schedule == "constant":
            raise ValueError(
                "lr_final is never reached with the constant schedule; add a --schedule that "
                "falls (linear, cosine, exponential, wsd), or leave it out"
            )


def learning_rate(step: int, steps: int, config: OptimConfig) -> float:
    """The rate of a step, counted from 0, in a run of `steps`.

    Warm-up multiplies by 0.01 + 0.99 step / warmup_steps (RWKV-LM). `lr_final` is reached at the
    last step; where it is not given, `linear` and `cosine` fall to 0, `exponential` and `wsd` to
    a hundredth.
    """
    assert config.lr is not None
    peak, warmup = config.lr, config.warmup_steps
    if step < warmup:
        return peak * (0.01 + 0.99 * step / warmup)
    if config.schedule == "constant":
        return peak
    share = (step - warmup) / max(steps - 1 - warmup, 1)
    if config.schedule == "wsd":
        share = max(0.0, 1 - (1 - share) / config.decay_share)
    default = 0.01 if config.schedule in ("exponential", "wsd") else 0.0
    final = config.lr_final if config.lr_final is not None else peak * default
    return _between(peak, final, min(share, 1.0), config.schedule)


def _between(peak: float, final: float, share: float, schedule: Schedule) -> float:
    if schedule == "cosine":
        return final + (peak - final) * (1 + math.cos(math.pi * share)) / 2
    if schedule == "exponential" and final > 0 and peak > 0:
        return math.exp(math.log(peak) + (math.log(final) - math.log(peak)) * share)
    return peak + (final - peak) * share


class Optimizer:
    """AdamW, and Muon where it is asked for, over the trained parameters of a model."""

    def __init__(self, model: nn.Module, config: OptimConfig) -> None:
        self.config = config
        trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        by_muon = [p for n, p in trained if config.optimizer == "muon" and _is_matrix(n, p)]
        taken = {id(p) for p in by_muon}
        groups = _groups([(n, p) for n, p in trained if id(p) not in taken], config)
        betas = (config.beta1, config.beta2)
        self.optimizers: list[torch.optim.Optimizer] = []
        if groups:
            adamw = torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=config.epsilon, fused=True)
            self.optimizers.append(adamw)
        if by_muon:
            muon = torch.optim.Muon(by_muon, lr=0.0, weight_decay=0.0)
            muon.param_groups[0]["scale"] = config.muon_lr / (config.lr or 1.0)
            self.optimizers.append(muon)
        self.parameters: list[Tensor] = [p for _, p in trained]

    def step(self, learning_rate: float) -> None:
        """Moves the parameters along their gradients and drops these."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * group["scale"]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def gradient_norm(self) -> float:
        """The 2-norm of the gradient over all parameters; scales it down to `clip` at most."""
        grads = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        if self.config.clip:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.config.clip, norm)
        return norm.item()

    def state_dict(self) -> list[dict[str, object]]:
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state_dict(self, states: list[dict[str, object]]) -> None:
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)


def _groups(
    named: Iterable[tuple[str, nn.Parameter]], config: OptimConfig
) -> list[dict[str, object]]:
    """Parameter groups by weight decay and by factor of the learning rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        decay = config.weight_decay if name.endswith(".weight") and parameter.dim() == 2 else 0.0
        doubled = name.endswith((".time_decay", "att.w0"))
        scale = 2.0 if config.layerwise_lr and doubled else 1.0
        groups.setdefault((decay, scale), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "scale": scale}
        for (decay, scale), parameters in groups.items()
    ]


def _is_matrix(name: str, parameter: Tensor) -> bool:
    vectors_by_head = name.endswith(("att.r_k", "att.time_decay", "att.time_faaaa"))
    return name.startswith("blocks.") and parameter.dim() == 2 and not vectors_by_head
