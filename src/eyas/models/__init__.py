"""RWKV models: read from a file, or made from nothing."""

from eyas.models.checkpoint import create, empty_model, load, read_tensors, shape_of
from eyas.models.layers import Linear
from eyas.models.model import Model, Shape
from eyas.models.state import LayerState, State

__all__ = [
    "LayerState",
    "Linear",
    "Model",
    "Shape",
    "State",
    "create",
    "empty_model",
    "load",
    "read_tensors",
    "shape_of",
]
