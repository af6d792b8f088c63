"""Single tokens by a graph are as those that the model reads by itself."""

import pytest
import torch
from weights import SHAPES, random_weights

from eyas import wkv
from eyas.generation.graphs import TokenGraph, with_graph
from eyas.models import create


@pytest.fixture(params=SHAPES)
def model(request):
    shape = SHAPES[request.param]
    made = create(shape, 0)
    made.load_state_dict(random_weights(shape))
    return made.requires_grad_(False).eval()


def stepped(step):
    """What a graph does, without one: the same on the same memory."""
    step()
    return step


@torch.inference_mode()
def test_tokens_one_by_one_and_states_that_stay(model):
    graph = TokenGraph(model, stepped)
    tokens = torch.arange(40, 47)[None]
    right, state = model(tokens[:, :3])
    found, same = graph(tokens[:, :3])
    assert torch.equal(found, right)
    states = [same]
    for token in tokens[:, 3:].unbind(1):
        right, state = model(token[None], state)
        found, same = graph(token[None], same)
        assert torch.equal(found, right)
        states.append(same)
    # A state that was handed out before goes on from there.
    again, _ = graph(tokens[:, 4:5], states[1])
    right, _ = model(tokens[:, 4:5], states[1])
    assert torch.equal(again, right)
    from_the_start, _ = graph(tokens[:, :1])
    assert torch.equal(from_the_start, model(tokens[:, :1])[0])


def test_no_graph_where_there_is_none(model):
    assert with_graph(model) is model
    for block in model.layers():
        block.att.backend = wkv.fla
    assert with_graph(model) is model
