"""What clients may ask for: OpenAI's fields, strictly, and a few of eyas's own.

A field that changes nothing here is taken and left; one that would have to change the answer and
cannot is refused by name, and so is one that nobody knows: a misspelled setting is not a wish.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from eyas.config import did_you_mean
from eyas.serving.errors import ApiError

_IDLE = {
    "metadata", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention",
    "safety_identifier", "service_tier", "store", "user", "verbosity",
}  # fmt: skip
# What may be given as long as it asks for nothing.
_EMPTY: dict[str, tuple[object, ...]] = {
    "audio": (),
    "best_of": (1,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "prediction": (),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "web_search_options": (),
}
_MOST_STOPS = 16
_SHOWN = 5
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
R = TypeVar("R", bound="Common")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: bool = False  # against listeners on the line; there is none here


class Common(_Strict):
    """What both kinds of request have."""

    model: str
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    penalty_decay: float | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**64)
    n: int = Field(1, ge=1)
    stop: tuple[str, ...] = ()

    @field_validator("stop", mode="before")
    @classmethod
    def _stops(cls, value: Any) -> tuple[str, ...]:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError("must be a text or a list of texts")
        if "" in texts:
            raise ValueError("holds an empty text, which would end every answer; leave it out")
        if len(texts) > _MOST_STOPS:
            raise ValueError(f"holds {len(texts)} texts; at most {_MOST_STOPS} are taken")
        return tuple(texts)


class ChatMessage(_Strict):
    """One message; the content's parts are joined, as they are all text."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str = ""
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] = Field(default_factory=list)
    tool_call_id: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _text(cls, value: Any) -> str:
        if value is None or isinstance(value, str):
            return value or ""
        if not isinstance(value, list):
            raise ValueError("must be a text or a list of text parts")
        return "".join(map(_part, value))


class ChatRequest(Common):
    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)
    reasoning_effort: Effort | None = None


class CompletionRequest(Common):
    prompt: tuple[str | tuple[int, ...], ...]
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=20)

    @field_validator("prompt", mode="before")
    @classmethod
    def _prompts(cls, value: Any) -> tuple[str | tuple[int, ...], ...]:
        if _is_prompt(value):
            value = [value]
        if not isinstance(value, list) or not value or not all(map(_is_prompt, value)):
            raise ValueError("must be a text, a list of token numbers, or a list of these")
        return tuple(one if isinstance(one, str) else tuple(one) for one in value)


def parse(kind: type[R], body: bytes) -> R:
    """The request in a body. Raises ApiError (400) that names every mistake."""
    values = {name: value for name, value in _object(body).items() if value is not None}
    _check_names(values, kind)
    known = {name: values[name] for name in values if name in kind.model_fields}
    try:
        return kind.model_validate(known)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        _refuse([(_place(each["loc"]), _said(each["type"], each["msg"])) for each in found])


def _object(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode("utf-8")
        values = json.loads(text, parse_constant=_no_number)
        if "\\u" in text:
            json.dumps(values, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise ApiError(
            400, f"the body is not UTF-8 at byte {error.start}; send JSON in UTF-8"
        ) from error
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])[1:-1]
        raise ApiError(
            400, f"the body spells half a surrogate pair, {half}; send whole characters"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is no JSON: {_line(error)}") from error
    if not isinstance(values, dict):
        raise ApiError(400, 'the body must be a JSON object, such as {"model": …}')
    return values


def _check_names(values: Mapping[str, Any], kind: type[Common]) -> None:
    mistakes = []
    for name, value in values.items():
        if name in kind.model_fields or name in _IDLE:
            continue
        if name not in _EMPTY:
            mistakes.append((name, f"is no known field{did_you_mean(name, kind.model_fields)}"))
        elif value not in _EMPTY[name]:
            mistakes.append((name, "is not supported here; leave it out"))
    if mistakes:
        _refuse(mistakes)


def _refuse(mistakes: list[tuple[str, str]]) -> NoReturn:
    more = f"; and {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
    told = "; ".join(f"{place[:80]!r} {problem}" for place, problem in mistakes[:_SHOWN])
    raise ApiError(400, told + more, param=mistakes[0][0][:80])


def _part(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "refusal") and isinstance(part.get(kind), str):
        return str(part[kind])
    shown = f"a part of type {kind!r}" if isinstance(kind, str) else "a part without a type"
    raise ValueError(f'holds {shown[:60]}; give {{"type": "text", "text": "…"}} alone')


def _is_prompt(value: Any) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)


def _place(location: Iterable[object]) -> str:
    return ".".join(map(str, location))


def _said(kind: str, message: str) -> str:
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is no known field"
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
