"""The frame that all versions share: embedding, blocks, head, and the state going through them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from eyas.models.layers import LayerNorm, Linear
from eyas.models.products import products_in
from eyas.models.state import LayerState, State

Sizes = Mapping[str, tuple[int, ...]]
"""The size of each tensor of a checkpoint, by its key."""


@dataclass(frozen=True)
class Shape:
    """Every dimension of a model, as read from its weights."""

    version: str  # "x052", "x060", "x070"
    num_layers: int
    width: int  # C
    num_heads: int  # H
    ffn_width: int  # F
    vocab_size: int  # V
    ranks: dict[str, int] = field(default_factory=dict)  # of the low-rank matrices, by name

    @property
    def head_size(self) -> int:
        return self.width // self.num_heads

    def __str__(self) -> str:
        return (
            f"{self.version} L{self.num_layers} C{self.width} H{self.num_heads}x{self.head_size} "
            f"F{self.ffn_width} V{self.vocab_size}"
        )


def frame_of(sizes: Sizes, version: str, num_heads: int, ranks: dict[str, int]) -> Shape:
    """The dimensions that every version keeps in the same tensors, with those of `version`."""
    layers = [int(m[1]) for m in map(re.compile(r"blocks\.(\d+)\.").match, sizes) if m]
    vocab_size, width = sizes["emb.weight"]
    ffn_width = sizes["blocks.0.ffn.key.weight"][0]
    return Shape(version, max(layers) + 1, width, num_heads, ffn_width, vocab_size, ranks)


class Block(nn.Module):
    """x + time mix, then x + channel mix, each behind its LayerNorm."""

    att: Any  # the version's TimeMix and ChannelMix
    ffn: Any

    def __init__(self, att: nn.Module, ffn: nn.Module, width: int, first: bool) -> None:
        super().__init__()
        if first:
            self.ln0 = LayerNorm(width)
        self.ln1, self.ln2 = LayerNorm(width), LayerNorm(width)
        self.att, self.ffn = att, ffn

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        state: LayerState,
        first_value: Tensor | None,
        starts: Bool[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, "B T C"], LayerState, Tensor | None]:
        """first_value: [B, T, C], the values of layer 0, which RWKV-7's later layers mix in."""
        if hasattr(self, "ln0"):
            x = self.ln0(x)
        mixed, attention_input, wkv, first_value = self.att(
            self.ln1(x), state.attention_input, state.wkv, first_value, starts
        )
        x = x + mixed
        mixed, ffn_input = self.ffn(self.ln2(x), state.ffn_input, starts)
        return x + mixed, LayerState(attention_input, wkv, ffn_input), first_value


class Model(nn.Module):
    """An RWKV language model. Its state-dict keys are those of the official checkpoints.

    `dtype` is the type of the activations; weights may be stored in another one and are cast
    when they are used. The wkv state stays float32, or float64 where that is the dtype.
    `products`: a narrower type in which matrices are multiplied on a CPU, sums in float32 and
    everything else in `dtype`.
    """

    def __init__(
        self,
        shape: Shape,
        time_mix: Callable[[int], nn.Module],
        channel_mix: Callable[[int], nn.Module],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.vocab_size = shape.vocab_size
        self.dtype = dtype
        self.products: torch.dtype | None = None
        self.emb = nn.Embedding(shape.vocab_size, shape.width)
        self.blocks = nn.ModuleList(
            Block(time_mix(i), channel_mix(i), shape.width, first=i == 0)
            for i in range(shape.num_layers)
        )
        self.ln_out = LayerNorm(shape.width)
        self.head = Linear(shape.width, shape.vocab_size)

    def layers(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    def linears(self) -> list[tuple[str, Linear]]:
        """The dense linears inside the blocks by their path; embedding and head are none."""
        modules = self.blocks.named_modules(prefix="blocks")
        return [(path, module) for path, module in modules if isinstance(module, Linear)]

    def hold_initial_state(self) -> None:
        """Gives each layer a wkv state that sequences begin with, `att.time_state`: zeros yet.

        [H, value, key]; layers that have one keep it. `State` trains it, and a file may hold it.
        """
        s, like = self.shape, self.ln_out.weight
        for block in self.layers():
            if not hasattr(block.att, "time_state"):
                zeros = torch.zeros(s.num_heads, s.head_size, s.head_size, device=like.device)
                block.att.time_state = nn.Parameter(zeros, requires_grad=False)

    def initial_state(self, batch: int) -> State:
        """The state before any token: zeros, but for a wkv state that the layers hold."""
        s, device = self.shape, self.ln_out.weight.device
        state_dtype = torch.promote_types(self.dtype, torch.float32)
        heads = (batch, s.num_heads, s.head_size, s.head_size)

        def wkv(block: Block) -> Tensor:
            start: Tensor | None = getattr(block.att, "time_state", None)
            if start is None:
                return torch.zeros(heads, dtype=state_dtype, device=device)
            return start.to(state_dtype).expand(heads)

        return tuple(
            LayerState(
                torch.zeros(batch, s.width, dtype=self.dtype, device=device),
                wkv(block),
                torch.zeros(batch, s.width, dtype=self.dtype, device=device),
            )
            for block in self.layers()
        )

    def hidden(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        recompute_activations: bool = False,
        starts: Bool[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, "B T C"], State]:
        """What the head reads, and the state after the last token.

        tokens: on any device. recompute_activations: keep only the input of each block for the
        backward (activation checkpointing). starts: where in a row another document begins, which
        has an initial state of its own and sees nothing of the one before.
        """
        state = self.initial_state(len(tokens)) if state is None else state
        layers = self.layers()
        tokens = tokens.to(self.emb.weight.device)  # which may be the CPU while the rest is not
        x = F.embedding(tokens, self.emb.weight).to(self.ln_out.weight.device, self.dtype)
        starts = None if starts is None else starts.to(x.device)
        after, first_value = [], None
        with products_in(self.products):
            for block, before in zip(layers, state, strict=True):
                if recompute_activations:
                    x, layer_state, first_value = checkpoint(
                        block, x, before, first_value, starts, use_reentrant=False
                    )
                else:
                    x, layer_state, first_value = block(x, before, first_value, starts)
                after.append(layer_state)
        return self.ln_out(x), tuple(after)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        starts: Bool[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, "B T V"], State]:
        """Logits of the token after each one, and the state after the last; see `hidden`."""
        hidden, state = self.hidden(tokens, state, starts=starts)
        return self.head(hidden), state
