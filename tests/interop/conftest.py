"""What tests of foreign files share: an adapter of our own to convert, and what one makes."""

import pytest
from methods import attached, disturb

from eyas.adapters import adapted_layers, describe, load_adapter, save_adapter
from eyas.merging import load_adapted
from eyas.models import read_tensors
from eyas.models.fingerprint import fingerprint
from eyas.quant import FrozenConfig, codes_hash


@pytest.fixture
def own_adapter(tmp_path):
    """Makes own.safetensors: the trained model and its adapter."""

    def make(base, method, quant="none", parts=()):
        model = disturb(attached(base, method, quant, parts))
        made, frozen = fingerprint(read_tensors(base)), FrozenConfig(quant=quant)
        adapter = describe(model, method, made, 3, 120, frozen, codes_hash(model))
        save_adapter(adapter, tmp_path / "own.safetensors")
        return model, adapter

    return make


@pytest.fixture
def adapted_weights(tmp_path):
    """All weights of the base with an adapter over it, as `eyas merge` would write them."""

    def compute(base, name):
        model = load_adapted(base, load_adapter(tmp_path / name))
        own, layers = model.state_dict(), adapted_layers(model)
        exact = {k: layer.base.dense_weight() + layer.delta() for k, layer in layers.items()}
        return {key: exact[key] if key in exact else own[key] for key in read_tensors(base)}

    return compute
