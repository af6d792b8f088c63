"""States of several sequences laid side by side: rows join and leave between any two tokens."""

from collections.abc import Sequence

import torch

from eyas.models import LayerState, State


def joined(states: Sequence[State]) -> State:
    """One state of batch n1 + n2 + … from states of batch n1, n2, …"""
    if len(states) == 1:
        return states[0]
    return tuple(
        LayerState(*(torch.cat(parts) for parts in zip(*layers, strict=True)))
        for layers in zip(*states, strict=True)
    )


def rows_of(state: State, rows: Sequence[int]) -> State:
    """The state of some of its rows, as a copy: a view would keep the others in memory."""
    index = torch.tensor(rows, device=state[0].wkv.device)
    return tuple(LayerState(*(part.index_select(0, index) for part in layer)) for layer in state)


def size_of(state: State) -> int:
    """Bytes."""
    return sum(part.nbytes for layer in state for part in layer)
