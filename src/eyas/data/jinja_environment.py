"""The Jinja of chat templates: its settings, functions and the tag that marks what is generated."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, Undefined, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

# Characters that no text has, by Unicode's definition: they stand around what is generated.
BEGIN, END = "\ufdd0", "\ufdd1"
MARK = re.compile(f"([{BEGIN}{END}])")


def environment() -> ImmutableSandboxedEnvironment:
    """Jinja as Hugging Face's chat templates expect it; sandboxed."""
    language = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=_Unset,
        extensions=[_Generation, "jinja2.ext.loopcontrols"],
    )
    language.filters["tojson"] = _tojson
    language.globals["raise_exception"] = _raise_exception
    language.globals["strftime_now"] = _strftime_now
    return language


class RefusedError(TemplateError):
    """What a template raises with `raise_exception`."""


class _Unset(Undefined):
    """A variable that nobody set: an error where it is written out or gone through.

    As elsewhere it is false in a condition, and a missing attribute of a thing is empty.
    """

    __slots__ = ()

    def __str__(self) -> str:
        self._check()
        return super().__str__()

    def __iter__(self) -> Any:
        self._check()
        return super().__iter__()

    def _check(self) -> None:
        if self._undefined_obj is missing:
            self._fail_with_undefined_error()


class _Generation(Extension):
    """The tag `{% generation %}`: what it holds is put between marks."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> str:
        return f"{BEGIN}{caller()}{END}"


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is: Jinja's own filter escapes for HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> NoReturn:
    raise RefusedError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)
