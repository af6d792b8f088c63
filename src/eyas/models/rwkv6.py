"""RWKV-6 "Finch" (x060).

Time mix (Peng et al. 2024, "Eagle and Finch", section 4.2), with s = shift(x) - x:

    m_w, m_k, m_v, m_r, m_g = tanh((x + s * maa_x) W1), split in five, each times its W2
    x_* = x + s * (maa_* + m_*)
    log_decay = -exp(time_decay + tanh(x_w D1) D2)
    y = wkv6(r, log_decay, k, v, bonus = time_faaaa)
    out = (GroupNorm(y) * silu(gate)) W_output

Channel mix: sigmoid(x_r W_receptance) * (relu(x_k W_key)^2 W_value).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from eyas.fused import gated_norm, shifted_mix, squared_relu
from eyas.models.initial import fill, initialize_frame, uniform
from eyas.models.layers import GroupNorm, Linear, split_heads, vector
from eyas.models.model import Model, Shape, Sizes, frame_of
from eyas.wkv import Backend

NAME = "x060"


def matches(sizes: Sizes) -> bool:
    return any(name.endswith("att.time_maa_x") for name in sizes)


def shape_of(sizes: Sizes) -> Shape:
    """Every dimension, from the checkpoint's tensor sizes."""
    ranks = {
        "mix": sizes["blocks.0.att.time_maa_w2"][1],
        "decay": sizes["blocks.0.att.time_decay_w1"][1],
    }
    return frame_of(sizes, NAME, num_heads=sizes["blocks.0.att.time_faaaa"][0], ranks=ranks)


def build(shape: Shape, backend: Backend) -> Model:
    return Model(shape, lambda _: TimeMix(shape, backend), lambda _: ChannelMix(shape))


class TimeMix(nn.Module):
    """RWKV-6's replacement for attention."""

    receptance: nn.Module
    key: nn.Module
    value: nn.Module
    gate: nn.Module
    output: nn.Module
    time_maa_x: Tensor

    def __init__(self, shape: Shape, backend: Backend) -> None:
        super().__init__()
        width, mix_rank, decay_rank = shape.width, shape.ranks["mix"], shape.ranks["decay"]
        self.backend, self.num_heads = backend, shape.num_heads
        for name in "xwkvrg":
            setattr(self, f"time_maa_{name}", vector(width))
        self.time_maa_w1 = nn.Parameter(torch.empty(width, 5 * mix_rank))
        self.time_maa_w2 = nn.Parameter(torch.empty(5, mix_rank, width))
        self.time_decay = vector(width)
        self.time_decay_w1 = nn.Parameter(torch.empty(width, decay_rank))
        self.time_decay_w2 = nn.Parameter(torch.empty(decay_rank, width))
        self.time_faaaa = nn.Parameter(torch.empty(shape.num_heads, shape.head_size))
        for name in ("receptance", "key", "value", "gate", "output"):
            setattr(self, name, Linear(width, width))
        self.ln_x = GroupNorm(width)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        last: Float[Tensor, "B C"],
        state: Float[Tensor, "B H N N"],
        first_value: Tensor | None,
        starts: Bool[Tensor, "B T"] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Out [B, T, C], the last input, the state after it, and layer 0's values.

        last: the input before the first; first_value: of layer 0, which only RWKV-7 uses;
        starts: where another document begins.
        """
        offsets = self._offsets(x, last, starts)
        mixes = [getattr(self, f"time_maa_{name}") for name in "wkvrg"]
        (x_w, x_k, x_v, x_r, x_g), last = shifted_mix(x, last, mixes, starts, offsets)
        inner = torch.tanh(x_w @ self.time_decay_w1.to(x)) @ self.time_decay_w2.to(x)
        log_decay = -torch.exp((self.time_decay.to(x) + inner).to(state.dtype))
        r, w, k, v = (
            split_heads(part, self.num_heads)
            for part in (self.receptance(x_r), log_decay, self.key(x_k), self.value(x_v))
        )
        fresh: Tensor | None = getattr(self, "time_state", None)
        y, state = self.backend.wkv6(r, w, k, v, self.time_faaaa, state, starts, fresh)
        gate = self.gate(x_g)
        normed = gated_norm(
            y.flatten(-2), gate, self.num_heads, self.ln_x.weight, self.ln_x.bias, silu=True
        )
        return self.output(normed), last, state, first_value

    def _offsets(
        self, x: Float[Tensor, "B T C"], last: Tensor, starts: Tensor | None
    ) -> tuple[Tensor, ...]:
        """What the tokens add to the mixes of decay, key, value, receptance and gate."""
        (mixed,), _ = shifted_mix(x, last, [self.time_maa_x], starts)
        inner = torch.tanh(mixed @ self.time_maa_w1.to(x)).unflatten(-1, (5, -1))
        pairs = zip(inner.unbind(-2), self.time_maa_w2.to(x).unbind(0), strict=True)
        return tuple((part @ up).to(x) for part, up in pairs)


class ChannelMix(nn.Module):
    """The feed-forward half of a block."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.time_maa_k, self.time_maa_r = vector(shape.width), vector(shape.width)
        self.key = Linear(shape.width, shape.ffn_width)
        self.receptance = Linear(shape.width, shape.width)
        self.value = Linear(shape.ffn_width, shape.width)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        last: Float[Tensor, "B C"],
        starts: Bool[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B C"]]:
        mixes = [self.time_maa_k, self.time_maa_r]
        (x_k, x_r), last = shifted_mix(x, last, mixes, starts)
        value = self.value(squared_relu(self.key(x_k)))
        return torch.sigmoid(self.receptance(x_r)) * value, last


@torch.no_grad()
def initialize(model: Model, generator: torch.Generator) -> None:
    """Initial values for training from nothing, as RWKV-LM's RWKV-6 has them; head at zero."""
    shape = model.shape
    initialize_frame(model, generator)
    channel = torch.arange(shape.width) / shape.width
    ramp = torch.arange(shape.width) / max(shape.width - 1, 1)
    zigzag = ((torch.arange(shape.width) + 1) % 3 - 1) * 0.1
    for layer, block in enumerate(model.layers()):
        up, down = layer / max(shape.num_layers - 1, 1), 1 - layer / shape.num_layers
        att, ffn = block.att, block.ffn
        for name, power in {"x": 1, "w": 1, "k": 1, "v": 1, "r": 0.5, "g": 0.5}.items():
            fill(getattr(att, f"time_maa_{name}"), 1 - channel ** (power * down))
        att.time_maa_v.sub_(0.3 * up)
        for name in ("time_maa_w1", "time_maa_w2", "time_decay_w1", "time_decay_w2"):
            uniform(getattr(att, name), 1e-4, generator)
        fill(att.time_decay, -6 + 5 * ramp ** (0.7 + 1.3 * up))
        fill(att.time_faaaa, up * (1 - ramp) + zigzag)
        for name, gain in {"receptance": 1.0, "key": 0.1, "value": 1.0, "gate": 0.1}.items():
            nn.init.orthogonal_(getattr(att, name).weight, gain=gain, generator=generator)
        att.output.weight.zero_()
        fill(ffn.time_maa_k, 1 - channel**down)
        fill(ffn.time_maa_r, 1 - channel**down)
        nn.init.orthogonal_(ffn.key.weight, generator=generator)
        ffn.receptance.weight.zero_()
        ffn.value.weight.zero_()
