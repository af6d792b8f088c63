"""RWKV-7 "Goose" (x070).

Time mix (Peng et al. 2025, "RWKV-7 Goose", section 4), with s = shift(x) - x and x_* the inputs
x + s * mix_*:

    w = -softplus(-(w0 + tanh(x_w w1) w2)) - 0.5        log_decay = -exp(w)
    v <- v + (v_first - v) * sigmoid(v0 + x_v v1 v2)      in every layer but the first
    a = sigmoid(a0 + x_a a1 a2)                           in-context learning rate
    g = sigmoid(x_g g1) g2
    kk = k * k_k, of length 1 in each head                k <- k * (1 + (a - 1) k_a)
    y = wkv7(r, log_decay, k, v, -kk, kk * a)
    out = ((GroupNorm(y) + (sum r k r_k) v) * g) W_output

log_decay = -exp(-softplus(-z) - 0.5) = -exp(-0.5) sigmoid(z): at least -0.6066 a token.
Channel mix: relu(x_k W_key)^2 W_value.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from eyas.fused import (
    Bonus,
    ValueMix,
    gated_norm,
    goose_inputs,
    shifted_mix,
    squared_relu,
)
from eyas.models.initial import fill, initialize_frame, uniform
from eyas.models.layers import GroupNorm, Linear, split_heads, vector
from eyas.models.model import Model, Shape, Sizes, frame_of
from eyas.wkv import Backend

NAME = "x070"


def matches(sizes: Sizes) -> bool:
    return any(name.endswith("att.r_k") for name in sizes)


def shape_of(sizes: Sizes) -> Shape:
    """Every dimension, from the checkpoint's tensor sizes."""
    ranks = {name: sizes[f"blocks.0.att.{name}1"][1] for name in "wag"}
    if "blocks.1.att.v1" in sizes:
        ranks["v"] = sizes["blocks.1.att.v1"][1]
    if "blocks.0.att.v1" in sizes:
        ranks["unused v"] = sizes["blocks.0.att.v1"][1]
    return frame_of(sizes, NAME, num_heads=sizes["blocks.0.att.r_k"][0], ranks=ranks)


def build(shape: Shape, backend: Backend) -> Model:
    return Model(shape, lambda i: TimeMix(shape, i, backend), lambda _: ChannelMix(shape))


class TimeMix(nn.Module):
    """RWKV-7's replacement for attention."""

    w0: Tensor
    a0: Tensor
    v0: Tensor

    def __init__(self, shape: Shape, layer: int, backend: Backend) -> None:
        super().__init__()
        width = shape.width
        self.backend, self.num_heads, self.layer = backend, shape.num_heads, layer
        for name in "rwkvag":
            setattr(self, f"x_{name}", vector(width))
        # Layer 0 has no earlier value to mix in: some releases keep its unused v0, v1, v2.
        value_rank = shape.ranks.get("v" if layer else "unused v", 0)
        for name, rank in {**shape.ranks, "v": value_rank}.items():
            if name not in "wavg" or not rank:
                continue
            if name != "g":
                setattr(self, f"{name}0", vector(width))
            setattr(self, f"{name}1", nn.Parameter(torch.empty(width, rank)))
            setattr(self, f"{name}2", nn.Parameter(torch.empty(rank, width)))
        self.k_k, self.k_a = vector(width), vector(width)
        self.r_k = nn.Parameter(torch.empty(shape.num_heads, shape.head_size))
        self.receptance, self.key = Linear(width, width), Linear(width, width)
        self.value, self.output = Linear(width, width), Linear(width, width)
        self.ln_x = GroupNorm(width)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        last: Float[Tensor, "B C"],
        state: Float[Tensor, "B H N N"],
        first_value: Float[Tensor, "B T C"] | None,
        starts: Bool[Tensor, "B T"] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Out [B, T, C], the last input, the state after it, and layer 0's values.

        last: the input before the first; first_value: of layer 0, which only RWKV-7 uses;
        starts: where another document begins.
        """
        mixes = [getattr(self, f"x_{name}") for name in "rwkvag"]
        (x_r, x_w, x_k, x_v, x_a, x_g), last = shifted_mix(x, last, mixes, starts)
        r, v = self.receptance(x_r), self.value(x_v)
        values = None
        if self.layer == 0:
            first_value = v
        else:
            assert first_value is not None
            values = ValueMix(self._low_rank("v", x_v), first_value, self.v0)
        given = goose_inputs(
            self._low_rank("w", x_w, after=torch.tanh),
            self._low_rank("a", x_a),
            self.key(x_k),
            v,
            self.num_heads,
            self.w0,
            self.a0,
            self.k_k,
            self.k_a,
            values,
        )
        gate = self._low_rank("g", x_g, after=torch.sigmoid)

        fresh: Tensor | None = getattr(self, "time_state", None)
        y, state = self.backend.wkv7(
            self._heads(r),
            self._heads(given.log_decay),
            self._heads(given.key),
            self._heads(given.value),
            self._heads(given.removal),
            self._heads(given.replacement),
            state,
            starts,
            fresh,
        )
        bonus = Bonus(r, given.key, given.value, self.r_k)
        normed = gated_norm(
            y.flatten(-2), gate, self.num_heads, self.ln_x.weight, self.ln_x.bias, bonus
        )
        return self.output(normed), last, state, first_value

    def _low_rank(
        self, name: str, x: Tensor, after: Callable[[Tensor], Tensor] = lambda inner: inner
    ) -> Tensor:
        """after(x x_1) x_2, for the decay, the in-context rate, the value mix and the gate."""
        inner = after(x @ getattr(self, f"{name}1").to(x))
        out: Tensor = inner @ getattr(self, f"{name}2").to(x)
        return out.to(x)

    def _heads(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T H N"]:
        return split_heads(x, self.num_heads)


class ChannelMix(nn.Module):
    """The feed-forward half of a block."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.x_k = vector(shape.width)
        self.key = Linear(shape.width, shape.ffn_width)
        self.value = Linear(shape.ffn_width, shape.width)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        last: Float[Tensor, "B C"],
        starts: Bool[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B C"]]:
        (x_k,), last = shifted_mix(x, last, [self.x_k], starts)
        return self.value(squared_relu(self.key(x_k))), last


@torch.no_grad()
def initialize(model: Model, generator: torch.Generator) -> None:
    """Initial values for training from nothing, as RWKV-LM's RWKV-7 has them; head at zero."""
    shape = model.shape
    initialize_frame(model, generator)
    channel = torch.arange(shape.width) / shape.width
    ramp = torch.arange(shape.width) / max(shape.width - 1, 1)
    for layer, block in enumerate(model.layers()):
        up, down = layer / max(shape.num_layers - 1, 1), 1 - layer / shape.num_layers
        att, ffn = block.att, block.ffn
        for name, power in {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}.items():
            fill(getattr(att, f"x_{name}"), 1 - channel ** (power * down))
        for name in (n for n in "wavg" if hasattr(att, f"{n}1")):
            getattr(att, f"{name}1").zero_()
            nn.init.orthogonal_(getattr(att, f"{name}2"), gain=0.1, generator=generator)
        fill(att.w0, -6.5 + 5 * ramp ** (0.85 + up**0.5))
        att.a0.zero_()
        if hasattr(att, "v0"):
            att.v0.fill_(1)
        att.k_k.fill_(0.85)
        att.k_a.fill_(1)
        att.r_k.zero_()
        for name, spread in {"receptance": 0.5, "key": 0.05, "value": 0.5}.items():
            uniform(getattr(att, name).weight, spread / shape.width**0.5, generator)
        att.output.weight.zero_()
        att.ln_x.weight.fill_(((1 + layer) / shape.num_layers) ** 0.7)
        fill(ffn.x_k, 1 - channel ** (down**4))
        uniform(ffn.key.weight, 0.5 / shape.width**0.5, generator)
        ffn.value.weight.zero_()
