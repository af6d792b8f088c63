"""Tokens per second of one row that is generated, with and without a CUDA graph."""

from collections.abc import Iterator
from functools import partial

import torch
from shapes import SHAPES, random_model, small
from timing import Row, Setting, each, seconds

from eyas import wkv
from eyas.generation.graphs import TokenGraph, with_graph
from eyas.quant import FrozenConfig, quantize_frozen

TOKENS = 32


@torch.inference_mode()
def case(name: str, quant: str, setting: Setting) -> Row:
    shape = small(SHAPES[name]) if setting.dry else SHAPES[name]
    model = random_model(shape, wkv.fastest(setting.device), setting.device, setting.dtype)
    quantize_frozen(model, FrozenConfig(quant=quant), setting.device)  # type: ignore[arg-type]
    graph = with_graph(model.eval())
    token = torch.ones(1, 1, dtype=torch.long, device=setting.device)
    assert isinstance(graph, TokenGraph) or setting.device.type == "cpu"

    def tokens(reader: torch.nn.Module) -> None:
        state = None
        for _ in range(TOKENS):
            _, state = reader(token, state)

    row: dict[str, object] = {
        f"{kind}_tokens_per_second": TOKENS / seconds(partial(tokens, reader), setting, 3)
        for kind, reader in (("plain", model), ("graph", graph))
    }
    given, same = model(token)[0], graph(token)[0]
    row["difference"] = ((given - same).abs().max() / given.std()).item()
    weights = sum(p.nbytes for p in model.parameters()) - model.emb.weight.nbytes
    row["weights_gb_per_second"] = weights * row["graph_tokens_per_second"] / 1e9  # type: ignore[operator]
    return row


def measured(setting: Setting) -> Iterator[Row]:
    pairs = [("v7 1.5B", "none"), ("v7 7.2B", "none"), ("v7 1.5B", "nf4"), ("v6 1.6B", "none")]
    pairs = pairs[:1] if setting.dry else pairs
    cases = {f"{name} {quant}": partial(case, name, quant, setting) for name, quant in pairs}
    yield from each(cases, setting)
