"""What training data are said to be, and what is none."""

import json
from pathlib import Path

import numpy as np
import pytest

from eyas.data import binidx
from eyas.errors import UserError
from eyas.interop.data import describe_data
from eyas.interop.inspect import inspect, is_data


def test_folders_of_data(tmp_path: Path) -> None:
    assert describe_data(tmp_path) is None
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    assert not is_data(tmp_path)
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n')
    assert is_data(tmp_path)
    assert "files of training data (json, jsonl)" in inspect(tmp_path).kind
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="choose with --data-type"):
        inspect(tmp_path)


def test_tokens_that_begin_like_a_pickle_or_a_page(tmp_path: Path) -> None:
    for number, head in enumerate((b"\x80\x02", b"PK\x03\x04", b"<html", b"GGUF")):
        tokens = np.frombuffer(head.ljust(6, b"\0"), np.uint16)
        binidx.write(tmp_path / f"d{number}", [tokens], np.uint16)
        for end in ("", ".bin", ".idx"):
            assert is_data(tmp_path / f"d{number}{end}")


def test_a_mask_beside_tokens_is_told(tmp_path: Path) -> None:
    binidx.write(tmp_path / "d", [[5, 6, 0]], np.uint16)
    binidx.write(tmp_path / "d.mask", [[0, 1, 1]], np.uint8)
    report = describe_data(tmp_path / "d.idx")
    assert "with a mask of what is trained" in report.facts
    assert report.next == f"eyas train MODEL {tmp_path / 'd'} --dry-run"


def test_files_about_a_model_are_no_data(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors.index.json", "adapter_config.json"):
        (tmp_path / name).write_text(json.dumps({"text": "a"}))
        assert not is_data(tmp_path / name)
    (tmp_path / "talks.json").write_text(json.dumps([{"text": "a"}]))
    assert is_data(tmp_path / "talks.json")
