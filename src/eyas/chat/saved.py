"""A conversation in a file, with the state in which it is: it goes on at once when it is loaded.

safetensors: the messages, how each was asked, and the tokens that were read stand in the metadata
as JSON; the tensors are the state after them, `LAYER.attention_input`, `.wkv` and `.ffn_input`.
The state is of use to the model alone that it was made with, which is known by a fingerprint;
another one reads the messages anew. Only the last state is kept, so that a file stays small.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eyas.chat.conversation import Conversation, Snapshot, Turn
from eyas.chat.wording import Thinking
from eyas.config import from_mapping
from eyas.data.messages import Message
from eyas.errors import UserError
from eyas.files import atomic_path
from eyas.models.state import LayerState

_FORMAT = "eyas-chat-1"


@dataclasses.dataclass(frozen=True)
class _SavedTurn:
    question: str
    answer: str
    think: Thinking = "auto"
    thought: str | None = None
    attempt: int = 0


@dataclasses.dataclass(frozen=True)
class _Saved:
    system: str = ""
    turns: tuple[_SavedTurn, ...] = ()


def save(conversation: Conversation, model: str, path: Path) -> None:
    """Writes the file, atomically. `model`: its fingerprint."""
    last = conversation.turns[-1].snapshot if conversation.turns else None
    metadata = {
        "format": _FORMAT,
        "model": model,
        "conversation": json.dumps(_written(conversation), ensure_ascii=False),
        "tokens": json.dumps(last.tokens if last else []),
    }
    tensors = {
        f"{layer}.{name}": tensor.contiguous().cpu()
        for layer, state in enumerate(last.state if last else ())
        for name, tensor in state._asdict().items()
    }
    with atomic_path(path, sum(tensor.nbytes for tensor in tensors.values())) as temporary:
        save_file(tensors, temporary, metadata)


def load(path: Path, model: str) -> Conversation:
    """The conversation in a file; with its state where that is of this model.

    Raises UserError for a file that holds none, or a damaged one.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give one that /save wrote") from error
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: is no conversation, or damaged ({error}); give one that /save wrote"
        ) from error
    if metadata.get("format") != _FORMAT:
        raise UserError(f"{path}: is no conversation of eyas; give one that /save wrote")
    try:
        conversation = _read(json.loads(metadata["conversation"]), path)
        if metadata["model"] != model or not tensors:
            return conversation
        tokens = tuple(map(int, json.loads(metadata["tokens"])))
        return _with_state(conversation, Snapshot(tokens, _state(tensors)))
    except (LookupError, ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path}: damaged ({type(error).__name__}: {error}); copy it again"
        ) from error


def _written(conversation: Conversation) -> dict[str, Any]:
    turns = [
        _SavedTurn(t.question, t.answer.content, t.thinking, t.answer.thinking, t.attempt)
        for t in conversation.turns
    ]
    return dataclasses.asdict(_Saved(conversation.system, tuple(turns)))


def _read(values: Any, path: Path) -> Conversation:
    if not isinstance(values, dict):
        raise TypeError(f"a conversation is a table, not {type(values).__name__}")
    saved = from_mapping(_Saved, values, str(path))
    turns = (
        Turn(t.question, t.think, Message("assistant", t.answer, t.thought), t.attempt)
        for t in saved.turns
    )
    return Conversation(saved.system, tuple(turns))


def _with_state(conversation: Conversation, snapshot: Snapshot) -> Conversation:
    last = dataclasses.replace(conversation.turns[-1], snapshot=snapshot)
    return conversation.without_last().with_turn(last)


def _state(tensors: dict[str, Tensor]) -> tuple[LayerState, ...]:
    layers = len(tensors) // len(LayerState._fields)
    return tuple(
        LayerState(*(tensors[f"{layer}.{name}"] for name in LayerState._fields))
        for layer in range(layers)
    )
