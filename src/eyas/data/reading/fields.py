"""Which fields of a record are what: recognized by their names, or as `--map` says.

| fields | are |
| --- | --- |
| text | a text |
| messages, conversations, conversation | the turns of a conversation |
| instruction, prompt, query, question, input; 指令, 问题 | what the user says |
| input, context; 输入 beside one of these | said by the user too, on the next line |
| output, response, answer, completion, target; 输出, 回答, 答案 | what the assistant answers |
| system, system_prompt; tools, functions; history | what they say, beside turns or answers |

Upper and lower case are the same.
"""

import reprlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from eyas.config import did_you_mean
from eyas.data.reading.mapping import EXAMPLE, Mapped, Target
from eyas.data.reading.mistakes import RecordError

SHAPES = '{"text": "..."} or {"messages": [{"role": "user", "content": "..."}, ...]}'

_TEXT = ("text",)
_TURNS = ("messages", "conversations", "conversation")
_PROMPT = ("instruction", "prompt", "query", "question", "指令", "问题")
_INPUT = ("input", "输入")
_CONTEXT = (*_INPUT, "context")
_ANSWER = ("output", "response", "answer", "completion", "target", "输出", "回答", "答案")
_SYSTEM = ("system", "system_prompt")
_TOOLS, _HISTORY = ("tools", "functions"), ("history",)
_KNOWN = {*_TEXT, *_TURNS, *_PROMPT, *_CONTEXT, *_ANSWER, *_SYSTEM, *_TOOLS, *_HISTORY}


@dataclass(frozen=True)
class Fields:
    """The fields of a record that are used, in the order of what they become.

    `history`: earlier questions with their answers, as lists of two.
    """

    mapped: tuple[Mapped, ...]
    history: str | None = None

    @cached_property
    def text(self) -> str | None:
        return self._of("text")

    @cached_property
    def messages(self) -> str | None:
        return self._of("messages")

    @cached_property
    def tools(self) -> str | None:
        return self._of("tools")

    @cached_property
    def system(self) -> str | None:
        return self._of("system")

    @property
    def names(self) -> tuple[str, ...]:
        history = (self.history,) if self.history else ()
        return tuple(dict.fromkeys([*(field for field, _ in self.mapped), *history]))

    def _of(self, target: Target) -> str | None:
        return next((field for field, each in self.mapped if each == target), None)


def is_known(name: str) -> bool:
    """Whether records that are recognized have fields of that name."""
    return name.lower() in _KNOWN


@lru_cache(maxsize=256)
def recognized(names: tuple[str, ...]) -> Fields:
    """The fields of a record with these names. Raises RecordError where they say nothing."""
    found = _Names(names)
    texts, turns, answers = map(found.all, (_TEXT, _TURNS, _ANSWER))
    prompts, contexts = found.prompts()
    pair = [*prompts, *answers] if prompts and answers else []
    if len(texts) + len(turns) + bool(pair) > 1 or (not texts + turns and len(pair) > 2):
        several = [*texts, *turns, *pair]
        raise RecordError(
            f"has {_listed(several)}; say which of them count, such as {_suggested(found, several)}"
        )
    if texts:
        return Fields((Mapped(texts[0], "text"),))
    beside = [Mapped(name, "system") for name in found.all(_SYSTEM)[:1]]
    beside += [Mapped(name, "tools") for name in found.all(_TOOLS)[:1]]
    if turns:
        return Fields((*beside, Mapped(turns[0], "messages")))
    if pair:
        said = [Mapped(name, "user") for name in (*prompts, *contexts)]
        history = next(iter(found.all(_HISTORY)), None)
        return Fields((*beside, *said, Mapped(answers[0], "assistant")), history)
    raise RecordError(f"is no record that eyas knows ({shown(names)}); {_advice(names)}")


def by_map(mapped: tuple[Mapped, ...], names: Collection[str]) -> Fields:
    """The fields that `--map` names. Raises RecordError where a record has none of them."""
    missing = [field for field, _ in mapped if field not in names]
    if len(missing) == len(mapped):
        hint = did_you_mean(missing[0], names)
        raise RecordError(
            f"has no {_listed(missing)}, which --map names ({shown(names)})"
            f"{hint or '; name fields that it has'}"
        )
    return Fields(mapped)


def shown(names: Collection[str]) -> str:
    """The names of a record's fields, for an error."""
    return f"its fields: {reprlib.repr(list(names)) if names else 'none'}"


class _Names:
    """The names of a record's fields, found whatever their case."""

    def __init__(self, names: Sequence[str]) -> None:
        self._by_lower = {name.lower(): name for name in reversed(names)}

    def all(self, wanted: Sequence[str]) -> list[str]:
        return [self._by_lower[name] for name in wanted if name in self._by_lower]

    def prompts(self) -> tuple[list[str], list[str]]:
        """What the user asks, and what goes with it; an input may be either."""
        prompts, contexts = self.all(_PROMPT), self.all(_CONTEXT)
        if not prompts and contexts[:1] == self.all(_INPUT):
            return contexts[:1], contexts[1:]
        return prompts, contexts


def _listed(names: Sequence[str]) -> str:
    *first, last = (f'"{name}"' for name in names)
    return f"{', '.join(first)} and {last}" if first else last


def _suggested(found: _Names, several: Sequence[str]) -> str:
    """A mapping that makes one thing of them."""
    if turns := found.all(_TURNS):
        return f"--map {turns[0]}:messages"
    prompt = next(name for name in several if name in found.all((*_PROMPT, *_CONTEXT)))
    contexts = [name for name in found.all(_CONTEXT) if name not in several]
    answer = next(name for name in several if name in found.all(_ANSWER))
    said = ",".join(f"{name}:user" for name in (prompt, *contexts))
    return f"--map {said},{answer}:assistant"


def _advice(names: Sequence[str]) -> str:
    strange = (name for name in names if not is_known(name))
    near = [hint for name in strange if (hint := did_you_mean(name, _KNOWN))]
    if near:
        return f"{near[0].removeprefix('; ')} Or say which field is what, such as {EXAMPLE}"
    return f"it must be {SHAPES}, or say which field is what, such as {EXAMPLE}"
