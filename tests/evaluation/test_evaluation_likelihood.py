"""Log-likelihoods, against the `rwkv` package's logits and against one forward of everything."""

from pathlib import Path

import numpy as np
import pytest
import torch
from peer import rwkv_logits
from tolerance import LOGITS, assert_close
from weights import SHAPES, random_weights, write_model

import eyas
from eyas.evaluation import Bounds, Scored, score
from eyas.models import Model

ROWS = [np.arange(n) * 7 % 256 for n in (5, 40, 1, 77, 2, 0, 33, 40)]
LENGTHS = np.array([len(row) for row in ROWS])


def scored(model: Model, bounds: Bounds) -> dict[int, Scored]:
    return dict(score(model, LENGTHS, lambda i: ROWS[i], bounds))


@pytest.mark.parametrize("version", ["x060", "x070"])
def test_they_are_those_of_the_rwkv_packages_logits(version: str, tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save(random_weights(SHAPES[version]), path)
    row = np.array(torch.randint(256, (60,)).tolist())
    ((logits, _),) = rwkv_logits([path], row.tolist(), version, tmp_path)
    ((_, found),) = score(eyas.load(path), np.array([60]), lambda _: row, Bounds(chunk=16))
    theirs = logits.double().log_softmax(-1)[:-1]
    targets = torch.from_numpy(row[1:])
    expected = theirs.gather(1, targets[:, None])[:, 0]
    assert (torch.from_numpy(found.log_probs) - expected).abs().max() / logits.std() <= LOGITS
    assert (found.likeliest == (theirs.argmax(1) == targets).numpy()).all()


@pytest.mark.parametrize("bounds", [Bounds(), Bounds(1, 1), Bounds(3, 10), Bounds(8, 1000)])
@torch.no_grad()
def test_however_they_are_cut_and_batched(bounds: Bounds, tmp_path: Path) -> None:
    model = eyas.load(write_model(tmp_path / "m.pth"))
    found = scored(model, bounds)
    assert found.keys() == set(range(len(ROWS)))
    for i, row in enumerate(ROWS):
        assert len(found[i].log_probs) == len(found[i].likeliest) == max(len(row) - 1, 0)
        if len(row) > 1:
            logits, _ = model(torch.from_numpy(row[None, :-1]))
            expected = -torch.nn.functional.cross_entropy(
                logits[0], torch.from_numpy(row[1:]), reduction="none"
            )
            assert_close(torch.from_numpy(found[i].log_probs), expected)
            assert (found[i].likeliest == (logits[0].argmax(-1).numpy() == row[1:])).all()


def test_logits_are_made_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = eyas.load(write_model(tmp_path / "m.pth"))
    whole = scored(model, Bounds())
    monkeypatch.setattr("eyas.training.loss._BLOCK_BYTES", 256 * 4 * 5)
    seen: list[int] = []
    model.head.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    for i, one in scored(model, Bounds()).items():
        assert_close(torch.from_numpy(one.log_probs), torch.from_numpy(whole[i].log_probs))
    assert max(seen) == 5


def test_bounds_are_checked() -> None:
    with pytest.raises(ValueError, match=r"^rows = 0 must be at least 1"):
        Bounds(rows=0)
