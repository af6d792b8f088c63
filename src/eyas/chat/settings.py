"""What can be set in a chat, at its start as options and on the way with /set."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from eyas.chat.wording import Thinking
from eyas.config import check_at_least_1, did_you_mean, fields_of, from_mapping, to_mapping
from eyas.errors import UserError
from eyas.generation.sampling import Sampling

_SEEDS = 1 << 64


@dataclass(frozen=True)
class ChatConfig:
    """How answers are asked for."""

    think: Annotated[
        Thinking,
        "thinking of G1 models; auto: as the model likes; short, long: it is told how much",
    ] = "auto"
    max_tokens: Annotated[int, "longest answer"] = 2048
    seed: Annotated[int, "of the first answer; later ones follow from it"] = 0
    stop: Annotated[tuple[str, ...], "further text that ends an answer"] = ()

    def __post_init__(self) -> None:
        check_at_least_1(self, "max_tokens")
        if not 0 <= self.seed < _SEEDS:
            raise ValueError(f"seed = {self.seed} must be from 0 to {_SEEDS - 1}")
        if "" in self.stop:
            raise ValueError("stop: a text that ends an answer is empty; leave it out")


@dataclass(frozen=True)
class Settings:
    """All that can be set."""

    chat: ChatConfig = field(default_factory=ChatConfig)
    sampling: Sampling = field(default_factory=Sampling)

    def changed(self, name: str, text: str) -> "Settings":
        """The same with one setting as it was typed. Raises UserError for what cannot be meant."""
        for part in dataclasses.fields(self):
            config = getattr(self, part.name)
            values = to_mapping(config)
            if name in values:
                values[name] = _value(text, values[name])
                made: Any = from_mapping(type(config), values, "/set")
                return dataclasses.replace(self, **{part.name: made})
        known = [known for known, _, _ in self.listed()]
        raise UserError(
            f"/set {name}: is no setting{did_you_mean(name, known)}; there are {', '.join(known)}"
        )

    def listed(self) -> Iterator[tuple[str, str, str]]:
        """Each setting's name, value and meaning."""
        for config in (self.chat, self.sampling):
            for known in fields_of(type(config)):
                value = getattr(config, known.name)
                yield known.name, _shown(value), known.help


def _value(text: str, old: object) -> object:
    """A typed value: JSON, or else the text itself; of stop texts one needs no brackets."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = _number(text) if isinstance(old, float) else text
    if isinstance(old, list) and not isinstance(value, list):
        return [value if isinstance(value, str) else text]
    return text if isinstance(old, str) else value


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, tuple) else str(value)
