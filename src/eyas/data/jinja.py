"""A chat template of the user's own: a Jinja file, as Hugging Face's chat templates are.

It sees `messages` (role, content; reasoning_content, thinking and tool_calls where there are any),
`tools` or none, `add_generation_prompt`, and `bos_token` and `eos_token`, which are empty: the
token that ends a document is added to every document, whatever its template. `raise_exception`,
`strftime_now` and `tojson` are there, and `{% generation %}…{% endgeneration %}`, which marks what
is trained.

Without these marks it is found out: turn i of the assistant is what rendering messages[:i + 1]
adds to rendering messages[:i] with the generation prompt, and the white space after it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from traceback import extract_tb
from typing import Any

from jinja2 import Template as Compiled
from jinja2 import TemplateError, TemplateSyntaxError, nodes

from eyas.data.jinja_environment import BEGIN, END, MARK, RefusedError, environment
from eyas.data.messages import Message, plain_call, whole_text
from eyas.data.spans import Span, joined
from eyas.errors import UserError

# What an expression of a template can raise.
_FAULTS = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class JinjaTemplate:
    """The template in a file: Jinja, or a tokenizer_config.json that holds a "chat_template".

    Raises UserError for a file that is none, with the line.
    """

    def __init__(self, path: Path) -> None:
        # Within a JSON file the lines are the template's own.
        self._name = f"{path} (chat_template)" if _is_json(path) else str(path)
        language = environment()
        try:
            tree = language.parse(_source(path), filename=self._name)
            code = language.compile(tree, filename=self._name)
        except TemplateSyntaxError as error:
            raise UserError(
                f"{self._name}:{error.lineno}: is no Jinja template ({_line(error)}); mend it there"
            ) from error
        self._template = Compiled.from_code(language, code, dict(language.globals))
        self._marked = any(True for _ in tree.find_all(nodes.ExtensionAttribute))

    def render(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[Span, ...]:
        """A conversation as the file writes it; the contents are not cleaned."""
        turns = [_turn(message) for message in messages]
        if self._marked:
            _check(messages)
        whole = whole_text(self._text(turns, tools, False))
        trained = [message.trained for message in messages]
        spans = _marked(whole) if self._marked else self._found(turns, tools, whole, trained)
        if not spans:
            raise ValueError(f"{self._name}: the template writes nothing of this conversation")
        return spans

    def _found(
        self,
        turns: list[dict[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        whole: str,
        trained: Sequence[bool],
    ) -> tuple[Span, ...]:
        """The text with the assistant's turns trained, found by rendering less of it."""
        spans, done = [], 0
        for i, turn in enumerate(turns):
            if turn["role"] != "assistant":
                continue
            prompt = self._text(turns[:i], tools, True)
            text = whole if i + 1 == len(turns) else self._text(turns[: i + 1], tools, False)
            if not (whole.startswith(text) and text.startswith(prompt) and len(prompt) >= done):
                problem = _difference(prompt if whole.startswith(text) else text, whole)
                raise ValueError(f"{self._name}: message {i + 1} of the conversation {problem}")
            end = len(whole) - len(whole[len(text) :].lstrip())
            spans += [
                Span(whole[done : len(prompt)], False),
                Span(whole[len(prompt) : end], trained[i]),
            ]
            done = end
        return joined([*spans, Span(whole[done:], False)])

    def _text(
        self,
        turns: list[dict[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool,
    ) -> str:
        try:
            return self._template.render(
                messages=turns,
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                bos_token="",
                eos_token="",
            )
        except _FAULTS as error:
            raise ValueError(f"{self._place(error)}: {_problem(error)}") from error

    def _place(self, error: BaseException) -> str:
        frames = extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == self._name]
        return f"{self._name}:{lines[-1]}" if lines else self._name


def _turn(message: Message) -> dict[str, Any]:
    """A message as chat templates know it."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.thinking is not None:
        turn |= {"reasoning_content": message.thinking, "thinking": message.thinking}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"type": "function", **call, "function": plain_call(call)}
            if "function" in call
            else {"type": "function", "function": plain_call(call)}
            for call in message.tool_calls
        ]
    return turn


def _check(messages: Sequence[Message]) -> None:
    """Raises ValueError where the marks of the generated parts cannot say what is trained."""
    for message in messages:
        if not message.trained:
            raise ValueError(
                "a turn is not trained (weight 0), and the template marks all of the assistant's; "
                "leave {% generation %} out of it, or the weight"
            )
        if found := MARK.search(f"{message.content}{message.thinking}"):
            raise ValueError(f"a text holds U+{ord(found[0]):X}, which is no character; remove it")


def _marked(text: str) -> tuple[Span, ...]:
    """A text without its marks; what stands between them is trained, however deep."""
    spans, depth = [], 0
    for part in MARK.split(text):
        if part in (BEGIN, END):
            depth += 1 if part == BEGIN else -1
        else:
            spans.append(Span(part, depth > 0))
    return joined(spans)


def _difference(start: str, whole: str) -> str:
    """Why a turn cannot be found: where its beginning, or all up to its end, leaves the whole."""
    pairs = enumerate(zip(start, whole, strict=False))
    at = next((i for i, (one, other) in pairs if one != other), len(start))
    near = slice(max(at - 12, 0), at + 8)
    return (
        "cannot be told from the others: the template writes the conversation differently up to "
        f"there, {start[near]!r}, from the whole, {whole[near]!r}; put {{% generation %}} and "
        "{% endgeneration %} around what is trained"
    )


def _problem(error: BaseException) -> str:
    if isinstance(error, RefusedError):
        return f"the template refuses this conversation: {_line(error)}"
    return f"the template fails ({type(error).__name__}: {_line(error)}); mend it there"


def _line(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split())


def _source(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 at byte {error.start}; convert it") from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); the template is a Jinja file"
        ) from error
    return _from_json(path, text) if _is_json(path) else text


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _from_json(path: Path, text: str) -> str:
    """The "chat_template" of a tokenizer_config.json; of several the one named default."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no JSON ({_line(error)}); give the Jinja file") from error
    template = config.get("chat_template") if isinstance(config, dict) else None
    if isinstance(template, list):
        named = {entry.get("name"): entry for entry in template if isinstance(entry, dict)}
        template = named.get("default", {}).get("template")
    if not isinstance(template, str):
        raise UserError(f'{path}: holds no "chat_template"; give the file that does')
    return template
