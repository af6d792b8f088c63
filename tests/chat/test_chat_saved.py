"""Conversations in files: the same to the bit, and of use to their own model alone."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from weights import write_model

from eyas.chat.answering import Answer, Speaker
from eyas.chat.conversation import Conversation
from eyas.chat.saved import load, save
from eyas.chat.settings import ChatConfig, Settings
from eyas.data import tokenizer_for
from eyas.data.template import G1
from eyas.errors import UserError
from eyas.generation.stream import reader
from eyas.models import load as load_model

SETTINGS = Settings(ChatConfig(max_tokens=8))


def said(who: Speaker, talk: Conversation, question: str) -> Conversation:
    answer = Answer(who, talk, question, SETTINGS)
    list(answer)
    return talk.with_turn(answer.turn())


@pytest.mark.parametrize("version", ["x052", "x060", "x070"])
def test_it_goes_on_as_if_it_had_never_been_away(version: str, tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path / "m.pth", version))
    who = Speaker(model, tokenizer_for(256, None, None), G1(), reader(model))
    talk = said(who, said(who, Conversation("Sys"), "one"), "two")
    save(talk, "this model", tmp_path / "talk")
    loaded = load(tmp_path / "talk", "this model")
    assert loaded == talk
    mine, theirs = talk.turns[1].snapshot, loaded.turns[1].snapshot
    assert theirs.tokens == mine.tokens
    for one, other in zip(mine.state, theirs.state, strict=True):
        assert all(
            torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True)
        )
    assert said(who, loaded, "three") == said(who, talk, "three")

    other = load(tmp_path / "talk", "another model")
    assert (other, other.turns[1].snapshot) == (talk, None)


def test_an_empty_conversation(tmp_path: Path) -> None:
    save(Conversation("Sys"), "m", tmp_path / "talk")
    assert load(tmp_path / "talk", "m") == Conversation("Sys")


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "talk"
    for content in (b"", b"{}", b'\x08\0\0\0\0\0\0\0{"a": 1}'):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is no conversation"):
            load(path, "m")
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="is no conversation of eyas"):
        load(path, "m")
    with pytest.raises(UserError, match="is no conversation"):
        load(tmp_path, "m")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("conversation", "{"),
        ("conversation", "[1]"),
        ("conversation", json.dumps({"turns": [{"question": 1, "answer": "a"}]})),
        ("conversation", json.dumps({"turns": [{"question": "q"}]})),
        ("conversation", json.dumps({"turns": []})),
        ("tokens", "[null]"),
        ("tokens", "7"),
        ("model", None),
    ],
)
def test_damaged_files(key: str, value: str | None, tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path / "m.pth"))
    talk = said(Speaker(model, tokenizer_for(256, None, None), G1()), Conversation(), "one")
    path = tmp_path / "talk"
    save(talk, "m", path)
    with safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), key: value}
    save_file(load_file(path), path, {k: v for k, v in metadata.items() if v is not None})
    with pytest.raises(UserError, match=f"{path}: "):
        load(path, "m")
