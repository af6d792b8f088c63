"""What clients may ask for: OpenAI's fields, strictly, and a few of eyas's own.

A field that changes nothing here is taken and left; one that would have to change the answer and
cannot is refused by name, and so is one that nobody knows: a misspelled setting is not a wish.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

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
    "modalities": (["text"],),
    "prediction": (),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "web_search_options": (),
}
_MOST_FIELDS = 1024  # of an object: what is wrong with each of them costs time to say
_MOST_STOPS = 16
_MOST_BIAS = 100
_SHOWN = 5
_NAME = 80  # characters of a name that are looked at and shown
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
R = TypeVar("R", bound="Common")


def _stops(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be a text or a list of texts")
    if "" in texts:
        raise ValueError("holds an empty text, which would end every answer; leave it out")
    if len(texts) > _MOST_STOPS:
        raise ValueError(f"holds {len(texts)} texts; at most {_MOST_STOPS} are taken")
    return tuple(texts)


def _bias(value: Any) -> dict[int, float]:
    if not isinstance(value, dict):
        raise ValueError('must be an object of token numbers and values, such as {"42": -100}')
    for token, number in value.items():
        if not (token.isascii() and token.isdigit() and len(token) < 10):
            raise ValueError(f"holds {token[:_NAME]!r}, which is no token number")
        if type(number) not in (int, float) or not abs(number) <= _MOST_BIAS:
            raise ValueError(f"must hold numbers from -{_MOST_BIAS} to {_MOST_BIAS}")
    return {int(token): float(number) for token, number in value.items()}


def _content(value: Any) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValueError("must be a text or a list of text parts")
    return "".join(map(_part, value))


def _part(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "refusal") and isinstance(part.get(kind), str):
        return str(part[kind])
    shown = f"a part of type {kind!r}" if isinstance(kind, str) else "a part without a type"
    raise ValueError(f'holds {shown[:60]}; give {{"type": "text", "text": "…"}} alone')


def _prompts(value: Any) -> tuple[str | tuple[int, ...], ...]:
    if _is_prompt(value):
        value = [value]
    if not isinstance(value, list) or not value or not all(map(_is_prompt, value)):
        raise ValueError("must be a text, a list of token numbers, or a list of these")
    return tuple(one if isinstance(one, str) else tuple(one) for one in value)


def _is_prompt(value: Any) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)


class _Strict(BaseModel):
    """A field that is null is as good as left out: clients send back what they were answered."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _given(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None}


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
    logit_bias: Annotated[dict[int, float], PlainValidator(_bias)] = Field(default_factory=dict)
    seed: int | None = Field(None, ge=-(2**63), lt=2**64)
    n: int = Field(1, ge=1)
    stop: Annotated[tuple[str, ...], PlainValidator(_stops)] = ()


class ChatMessage(_Strict):
    """One message; the content's parts are joined, as they are all text."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str, PlainValidator(_content)] = ""
    name: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[list[dict[str, Any]], FailFast()] = Field(default_factory=list)
    tool_call_id: str | None = None


class ChatRequest(Common):
    messages: Annotated[list[ChatMessage], FailFast()] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)
    reasoning_effort: Effort | None = None


class CompletionRequest(Common):
    prompt: Annotated[tuple[str | tuple[int, ...], ...], PlainValidator(_prompts)]
    max_tokens: int | None = Field(None, ge=0)
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=20)


def parse(kind: type[R], body: bytes) -> R:
    """The request in a body. Raises ApiError (400) that names the mistakes."""
    values = _object(body)
    _check_names(values, kind)
    known = {name: values[name] for name in values if name in kind.model_fields}
    try:
        return kind.model_validate(known)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        shown = [(_place(each["loc"]), _said(each["type"], each["msg"])) for each in found[:_SHOWN]]
        _refuse(shown, len(found))


def _object(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode("utf-8")
        values = json.loads(text, parse_constant=_no_number, object_hook=_of_few_fields)
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


def _of_few_fields(values: dict[str, Any]) -> dict[str, Any]:
    if len(values) > _MOST_FIELDS:
        raise ApiError(
            400, f"the body holds an object of {len(values)} fields; at most {_MOST_FIELDS} go"
        )
    return values


def _check_names(values: Mapping[str, Any], kind: type[Common]) -> None:
    wrong = [
        name
        for name, value in values.items()
        if not (name in kind.model_fields or name in _IDLE or value is None)
        and value not in _EMPTY.get(name, ())
    ]
    if wrong:
        _refuse([(name, _unknown(name, kind)) for name in wrong[:_SHOWN]], len(wrong))


def _unknown(name: str, kind: type[Common]) -> str:
    if name in _EMPTY:
        return "is not supported here; leave it out"
    return f"is no known field{did_you_mean(name[:_NAME], kind.model_fields)}"


def _refuse(shown: list[tuple[str, str]], count: int) -> NoReturn:
    more = f"; and {count - len(shown)} more" if count > len(shown) else ""
    told = "; ".join(f"{place[:_NAME]!r} {problem}" for place, problem in shown)
    raise ApiError(400, told + more, param=shown[0][0][:_NAME])


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
