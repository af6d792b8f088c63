"""Our logits against the `rwkv` package's, on the same weights."""

import pytest
import torch
from peer import rwkv_logits
from tolerance import LOGITS
from weights import MORE_SHAPES, random_weights

import eyas


@pytest.mark.parametrize("version", ["x052", "x060", "x070"])
@torch.no_grad()
def test_logits_equal_the_rwkv_packages(version, tmp_path):
    shapes = [shape for shape in MORE_SHAPES if shape.version == version]
    paths = [tmp_path / f"{i}.pth" for i in range(len(shapes))]
    for path, shape in zip(paths, shapes, strict=True):
        torch.save(random_weights(shape), path)
    tokens = torch.randint(256, (77,)).tolist()
    results = rwkv_logits(paths, tokens, version, tmp_path)
    for path, shape, (whole, singly) in zip(paths, shapes, results, strict=True):
        model = eyas.load(path)
        assert model.shape == shape
        ours, _ = model(torch.tensor([tokens]))
        state, ours_singly = None, []
        for token in tokens:
            logits, state = model(torch.tensor([[token]]), state)
            ours_singly.append(logits[0, 0])
        deviation = singly.std()
        for mine, theirs in ((ours[0], whole), (torch.stack(ours_singly), singly)):
            assert (mine - theirs).abs().max() / deviation <= LOGITS
