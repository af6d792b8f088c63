"""Optimizers and learning rate.

With AdamW, weight decay touches the large matrices only (the linears' `.weight`, embedding and
head), as RWKV's own training does it. Muon (Jordan 2024) orthogonalizes the updates of the blocks'
two-dimensional weights; the rest stays with AdamW.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from eyas.training.engine import full, norm_of

_FIRST_SCALE, _STEPS_AT_SCALE = 2.0**16, 2000

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


State = dict[str, dict[str, Tensor]]
"""An optimizer's state of each parameter, by its name in the model."""


class Optimizer:
    """AdamW, and Muon where it is asked for, over the trained parameters of a model.

    shared: among ranks that all hold the whole model, AdamW's state is shared out (ZeRO stage 1,
    Rajbhandari et al. 2020). scaled: the loss is scaled so that its gradients do not vanish in
    float16 (Micikevicius et al. 2018): by `scale`, which falls where they are out of range and
    rises after 2000 steps in which they were not.
    """

    def __init__(
        self, model: nn.Module, config: OptimConfig, shared: bool = False, scaled: bool = False
    ) -> None:
        self.config = config
        trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self._names = {id(parameter): name for name, parameter in trained}
        by_muon = [p for n, p in trained if config.optimizer == "muon" and _is_matrix(n, p)]
        taken = {id(p) for p in by_muon}
        groups = _groups([(n, p) for n, p in trained if id(p) not in taken], config)
        betas = (config.beta1, config.beta2)
        self.optimizers: list[torch.optim.Optimizer] = []
        if groups:
            make = _shared_adamw if shared else torch.optim.AdamW
            adamw = make(groups, lr=0.0, betas=betas, eps=config.epsilon, fused=True)
            self.optimizers.append(adamw)
        if by_muon:
            muon = torch.optim.Muon(by_muon, lr=0.0, weight_decay=0.0)
            muon.param_groups[0]["scale"] = config.muon_lr / (config.lr or 1.0)
            self.optimizers.append(muon)
        self.parameters: list[Tensor] = [p for _, p in trained]
        self.scaled = scaled
        self.scale = _FIRST_SCALE if scaled else 1.0
        self._steps_at_scale = 0

    def lower_scale(self) -> None:
        """Halves the factor after a gradient that was out of range, and drops that gradient."""
        self.scale, self._steps_at_scale = self.scale / 2, 0
        for parameter in self.parameters:
            parameter.grad = None

    def step(self, learning_rate: float) -> None:
        """Moves the parameters along their gradients and drops these."""
        self.set_rate(learning_rate)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._steps_at_scale += 1
        if self.scaled and self._steps_at_scale >= _STEPS_AT_SCALE:
            self.scale, self._steps_at_scale = self.scale * 2, 0

    def set_rate(self, learning_rate: float) -> None:
        """Gives each group of parameters its learning rate."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * group["scale"]

    def gradient_norm(self) -> float:
        """The 2-norm of the gradient over all parameters; scales it down to `clip` at most.

        What is in the parameters is `scale` times the gradient; that is taken out here.
        """
        grads = [p.grad for p in self.parameters if p.grad is not None]
        norm = norm_of(grads) / self.scale
        factor = 1 / self.scale
        if self.config.clip:
            factor *= min(1.0, self.config.clip / (norm + 1e-6))
        if factor != 1 and math.isfinite(norm):
            torch._foreach_mul_(grads, factor)
        return norm

    def state(self) -> State:
        """The whole state; of what is shared out, on rank 0 alone. All ranks have to call it."""
        found: State = {}
        for optimizer in self.optimizers:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            for index, values in _states(optimizer).items():
                name = self._names[id(parameters[index])]
                found[name] = {key: full(value) for key, value in values.items()}
        return found

    def load(self, state: State) -> None:
        """Puts a state back. Raises ValueError where it is of other parameters."""
        self.check_names(state)
        for optimizer in self.optimizers:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            states = {
                index: _as_sharded(state[self._names[id(parameter)]], parameter)
                for index, parameter in enumerate(parameters)
                if self._names[id(parameter)] in state
            }
            groups, count = [], 0
            for group in optimizer.param_groups:
                indices = list(range(count, count + len(group["params"])))
                groups.append({**group, "params": indices})
                count += len(indices)
            optimizer.load_state_dict({"state": states, "param_groups": groups})

    def check_names(self, state: State) -> None:
        """Raises ValueError where the state is of other parameters; a new one's is of none."""
        names = set(self._names.values())
        if strange := sorted(state.keys() - names) or sorted(names - state.keys() if state else ()):
            raise ValueError(f"{strange[0]} is not in both")


def _shared_adamw(groups: list[dict[str, object]], **settings: Any) -> torch.optim.Optimizer:
    from torch.distributed.optim import ZeroRedundancyOptimizer

    return ZeroRedundancyOptimizer(groups, torch.optim.AdamW, **settings)


def _states(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Tensor]]:
    """The state of each parameter by its number; of what is shared out, on rank 0 alone."""
    if consolidate := getattr(optimizer, "consolidate_state_dict", None):
        consolidate(to=0)
        if torch.distributed.get_rank() != 0:
            return {}
    states: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return states


def _as_sharded(values: dict[str, Tensor], parameter: Tensor) -> dict[str, Tensor]:
    """The state of a parameter, spread as the parameter itself is."""
    if not hasattr(parameter, "full_tensor"):
        return values
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    return {
        key: distribute_tensor(value, parameter.device_mesh, parameter.placements)
        if value.shape == parameter.shape
        else value
        for key, value in values.items()
    }


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
