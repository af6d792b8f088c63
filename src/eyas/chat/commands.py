"""What can be typed in a chat besides questions, and the commands that need no model."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from eyas.chat.session import Session
from eyas.config import did_you_mean
from eyas.errors import UserError

COMMANDS = {
    "/help": ("", "this list"),
    "/system": ("[TEXT]", "say who the model is to be; - takes that away; alone: show it"),
    "/think": ("MODE", "auto, on, off, short or long: the thinking of G1 models"),
    "/set": ("NAME VALUE", "change a setting, such as /set temperature 0.8"),
    "/settings": ("", "show all settings"),
    "/undo": ("[N]", "take back the last turn, or the last N"),
    "/retry": ("", "another answer to the last question"),
    "/fork": ("NAME", "go on in a new branch; the old one stays as it is"),
    "/switch": ("[NAME]", "go to another branch; alone: list them"),
    "/history": ("", "the whole conversation, as the model reads it"),
    "/save": ("[FILE]", "write the conversation with its state to a file"),
    "/load": ("FILE", "go on with a saved conversation, in a branch of its own"),
    "/compare": ("[QUESTION]", "the answers of base and tuned model side by side"),
    "/reload": ("", "take the newest checkpoint of the run"),
    "/exit": ("", "leave; Ctrl-D does it too"),
}

NO_TURN = "there is no turn yet; ask something first"


class Typed(NamedTuple):
    """A line: a command with its argument, or a question, whose command is empty."""

    command: str
    argument: str


def parse(line: str) -> Typed:
    """What was typed; // at the start is a question that begins with /.

    Raises UserError for a command that is unknown, or that takes no argument and has one.
    """
    text = line.strip()
    if not text.startswith("/") or text.startswith("//"):
        return Typed("", text[1:] if text.startswith("//") else text)
    command, argument = (*text.split(maxsplit=1), "")[:2]
    if command not in COMMANDS:
        raise UserError(
            f"{command}: no such command{did_you_mean(command, COMMANDS)}; /help lists them, and a "
            "question that begins with / is typed with //"
        )
    usage = COMMANDS[command][0]
    if argument and not usage:
        raise UserError(f"{command} takes nothing after it; leave out {argument!r}")
    if not argument and usage and not usage.startswith("["):
        raise UserError(f"{command} {usage}: {COMMANDS[command][1]}")
    return Typed(command, argument)


class Done(NamedTuple):
    """What a command made: the session after it, what it shows, what it remarks."""

    session: Session
    shown: str = ""
    note: str = ""


def help_text() -> str:
    rows = [(f"{name} {usage}".rstrip(), meaning) for name, (usage, meaning) in COMMANDS.items()]
    return _table(rows)


def _help(session: Session, _: str) -> Done:
    return Done(session, help_text())


def _system(session: Session, text: str) -> Done:
    talk = session.conversation
    if not text:
        return Done(session, talk.system or "(no system text)")
    system = "" if text == "-" else text
    return Done(session.going_on(dataclasses.replace(talk, system=system)), note="system text set")


def _set(session: Session, argument: str) -> Done:
    name, value = (*argument.split(maxsplit=1), "")[:2]
    if not value:
        raise UserError("/set NAME VALUE: the value is missing; /settings shows them all")
    settings = session.settings.changed(name, value)
    shown = next(value for known, value, _ in settings.listed() if known == name)
    return Done(dataclasses.replace(session, settings=settings), note=f"{name} = {shown}")


def _think(session: Session, mode: str) -> Done:
    return _set(session, f"think {mode}")


def _settings(session: Session, _: str) -> Done:
    rows = [(f"{name} = {value}", meaning) for name, value, meaning in session.settings.listed()]
    return Done(session, _table(rows))


def _undo(session: Session, argument: str) -> Done:
    talk = session.conversation
    count = argument or "1"
    if not (count.isascii() and count.isdigit() and int(count)):
        raise UserError(f"/undo {argument}: how many turns is a whole number of at least 1")
    if not talk.turns:
        raise UserError(f"/undo: {NO_TURN}")
    if int(count) > len(talk.turns):
        raise UserError(f"/undo {count}: there are only {len(talk.turns)} turns")
    talk = talk.without_last(int(count))
    return Done(session.going_on(talk), note=f"undone; {len(talk.turns)} turns left")


def _fork(session: Session, name: str) -> Done:
    forked = session.forked(name, session.conversation)
    return Done(forked, note=f"in branch {name}; /switch {session.branch} goes back")


def _switch(session: Session, name: str) -> Done:
    if name:
        there = session.switched(name)
        return Done(there, note=f"in branch {name}, {len(there.conversation.turns)} turns")
    rows = [
        (f"{'*' if name == session.branch else ' '} {name}", f"{len(talk.turns)} turns")
        for name, talk in session.branches.items()
    ]
    return Done(session, _table(rows))


PURE: dict[str, Callable[[Session, str], Done]] = {
    "/help": _help,
    "/system": _system,
    "/think": _think,
    "/set": _set,
    "/settings": _settings,
    "/undo": _undo,
    "/fork": _fork,
    "/switch": _switch,
}


def _table(rows: list[tuple[str, str]]) -> str:
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"{left:{width}}  {right}".rstrip() for left, right in rows)
