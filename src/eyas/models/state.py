"""The state of a model between two tokens: a value that is passed in and handed back."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class LayerState(NamedTuple):
    """What one block carries from token to token."""

    attention_input: Float[Tensor, "B C"]  # last input of the time mix, for its token shift
    wkv: Float[Tensor, "B H N N"]  # [value, key], float32 or wider
    ffn_input: Float[Tensor, "B C"]  # last input of the channel mix


State = tuple[LayerState, ...]
