"""A model that reads single tokens as one CUDA graph.

One token takes a GPU less time than it takes the CPU to start its hundreds of kernels one by one.
A graph is started as a whole, and always works on the same memory: the token, the state before it
(which the graph itself replaces by the state after it) and the logits.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eyas import wkv
from eyas.models import LayerState, Model, State

# capture(step): what runs the same kernels again, on the same memory
Capture: TypeAlias = Callable[[Callable[[], None]], Callable[[], None]]

_WARM_UP = 3  # runs in which kernels are compiled and libraries make their workspaces


def with_graph(model: nn.Module) -> nn.Module:
    """The model, reading single tokens by a graph where it can: on CUDA, all of it, with `fla`.

    The other operators make the CPU wait for numbers, which no graph can do. The weights must stay
    where they are; they may change there.
    """
    if not isinstance(model, Model) or model.layers()[0].att.backend is not wkv.fla:
        return model
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    on_one_gpu = len(devices) == 1 and next(iter(devices)).type == "cuda"
    return TokenGraph(model, captured) if on_one_gpu else model


class TokenGraph(nn.Module):
    """`model(tokens, state) -> (logits, state)` of one row, without a gradient.

    States and logits that are handed out are the caller's own.
    """

    _parts: list[Tensor]
    _state: State
    _handed_out: State | None
    _token: Tensor
    _logits: Tensor

    def __init__(self, model: Model, capture: Capture) -> None:
        super().__init__()
        self.model = model
        self._capture = capture
        self._replay: Callable[[], None] | None = None

    @torch.inference_mode()
    def forward(
        self, tokens: Int[Tensor, "1 T"], state: State | None = None
    ) -> tuple[Float[Tensor, "1 T V"], State]:
        """As the model's; a single token by the graph, which the first one makes."""
        if tokens.shape[1] > 1:
            logits, state = self.model(tokens, state)
            return logits, state
        if self._replay is None:
            self._prepare()
        assert self._replay
        if state is None or state is not self._handed_out:
            state = self.model.initial_state(1) if state is None else state
            torch._foreach_copy_(_tensors(self._state), _tensors(state))
        self._token.copy_(tokens)
        self._replay()
        self._handed_out = _layers([part.clone() for part in self._parts])
        return self._logits.clone(), self._handed_out

    def _prepare(self) -> None:
        """Makes the memory that the graph works on, and the graph."""
        layers = self.model.initial_state(1)
        # Of all layers together, so that three copies hand the state out.
        self._parts = [torch.stack(part) for part in zip(*layers, strict=True)]
        self._state = _layers(self._parts)
        self._handed_out = None
        self._token = torch.zeros(1, 1, dtype=torch.long, device=self._parts[0].device)
        self._logits = self.model(self._token, self._state)[0]

        def step() -> None:
            logits, after = self.model(self._token, self._state)
            self._logits.copy_(logits)
            torch._foreach_copy_(_tensors(self._state), _tensors(after))

        self._replay = self._capture(step)


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """What starts the kernels of `step` as a graph."""
    graph = torch.cuda.CUDAGraph()
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _layers(parts: list[Tensor]) -> State:
    return tuple(map(LayerState, *(part.unbind(0) for part in parts)))


def _tensors(state: State) -> list[Tensor]:
    return [tensor for layer in state for tensor in layer]
