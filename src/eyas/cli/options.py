"""The command line's own parts: options made from dataclasses, verbs imported when they run.

Nothing here may import torch: `eyas --help` must come at once.
"""

import dataclasses
import functools
import importlib
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import click
from click.core import ParameterSource

from eyas.complaints import accept_any_text, complain, mendable
from eyas.config import Field, did_you_mean, fields_of
from eyas.errors import UserError

R = TypeVar("R")

_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Verb(NamedTuple):
    """A subcommand that is imported only when it is called."""

    target: str
    """`module:attribute` of a click command."""
    help: str
    """One line for the list of verbs."""


class Group(click.Group):
    """Verbs in the order given; each module is imported when its verb is called."""

    def __init__(
        self,
        name: str,
        verbs: Mapping[str, Verb],
        help: str,
        params: Sequence[click.Parameter] = (),
    ) -> None:
        super().__init__(
            name,
            help=help,
            params=list(params),
            subcommand_metavar="VERB [ARGS]...",
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        )
        self.verbs = dict(verbs)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.verbs:
            return None
        module, attribute = self.verbs[cmd_name].target.split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.verbs and not args[0].startswith("-"):
            ctx.fail(f"no verb '{args[0]}'{did_you_mean(args[0], self.verbs)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in self.verbs.items()])


def add_options(*classes: type[Any]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Decorates a click callback with one option for each field of the dataclasses.

    `micro_batch` becomes `--micro-batch`. The callback gets, as its keyword `typed`, a mapping
    from the field's name to its value, with only what the user typed in it: it can be laid over
    what a file says and given to `config.from_mapping`. Fields that are dataclasses themselves
    are left out (name those classes too); a field that two classes share is one option.
    """
    shared: dict[str, list[Field]] = {}
    for field in (field for cls in classes for field in fields_of(cls)):
        if not _is_table(field.type):
            shared.setdefault(field.name, []).append(field)

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(function)
        def with_typed(**values: Any) -> R:
            source = click.get_current_context().get_parameter_source
            here = {name: values.pop(name) for name in shared}
            typed = {
                name: value
                for name, value in here.items()
                if source(name) is ParameterSource.COMMANDLINE
            }
            return function(typed=typed, **values)

        decorated: Callable[..., R] = with_typed
        for fields in reversed(shared.values()):
            decorated = _option(fields)(decorated)
        return decorated

    return decorate


def run_cli(group: click.Command) -> int:
    """Runs the command line and gives the exit code; a verb may return one of its own.

    What the user can mend is one line on standard error and 2; Ctrl-C is 130; a fault of ours
    keeps its traceback. A reader that went away (`| head`) ends it quietly with 1: click's doing.
    """
    accept_any_text()
    try:
        code = group.main(prog_name=group.name, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except UserError as error:
        return complain(error, "eyas")
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
    except OSError as error:
        return complain(mendable(error), "eyas")


def _option(fields: list[Field]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """The click option for the fields, one of each class, that share a name."""
    name, kind = fields[0].name, _without_none(fields[0].type)
    assert all(_without_none(field.type) == kind for field in fields), f"{name} has two types"
    flag = "--" + name.replace("_", "-")
    text = " | ".join(dict.fromkeys(map(_help, fields)))
    if kind is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text)
    if get_origin(kind) is tuple:
        return click.option(flag, name, help=text, **_list_attributes(get_args(kind)[0]))
    return click.option(flag, name, default=None, help=text, type=_click_type(kind))


def _list_attributes(item: Any) -> dict[str, Any]:
    """An option that may be repeated, and, unless it takes free text, be a comma list too."""
    kind, free = _click_type(item), item in (str, Path)

    def convert(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> Any:
        parts = given if free else " ".join(given).replace(",", " ").split()
        return tuple(kind.convert(part, param, ctx) for part in parts)

    shown = "|".join(get_args(item)) if get_origin(item) is Literal else kind.name.upper()
    return {"multiple": True, "callback": convert, "metavar": shown if free else f"{shown},..."}


def _click_type(kind: Any) -> Any:
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind), case_sensitive=False)
    if get_origin(kind) in (Union, types.UnionType) and str in get_args(kind):
        return click.STRING
    return {
        int: click.INT,
        float: click.FLOAT,
        str: click.STRING,
        Path: click.Path(path_type=Path),
    }[kind]


def _is_table(kind: Any) -> bool:
    """A dataclass, or a choice between several."""
    return dataclasses.is_dataclass(kind) or any(map(dataclasses.is_dataclass, get_args(kind)))


def _without_none(kind: Any) -> Any:
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    members = [member for member in get_args(kind) if member is not types.NoneType]
    return members[0] if len(members) == 1 else kind


def _help(field: Field) -> str:
    if field.default in (dataclasses.MISSING, None) or "default:" in field.help:
        return field.help  # where None is the default, the text says what follows from what
    return f"{field.help} [default: {_shown(field.default)}]"


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "none"
    return str(default)
