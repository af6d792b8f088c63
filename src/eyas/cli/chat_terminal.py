"""A chat in the terminal: input with completion and several lines, answers as they come."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import get_args

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from eyas.chat.commands import COMMANDS
from eyas.chat.session import MAIN
from eyas.chat.talking import Chat
from eyas.chat.wording import Thinking
from eyas.complaints import mendable
from eyas.errors import UserError
from eyas.observe.documents import visible

_FRAME, _FRAME_LINES = 4, 6  # of a table around a column, and around its rows
_KEYS = "/help for commands · Alt-Enter: new line · Ctrl-C: stop · Ctrl-D: leave"


class Terminal:
    """Shows a chat on a terminal, thinking and remarks dimmed."""

    keeps_stopped = True

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)

    def answer(self, pieces: Iterator[str]) -> None:
        said = ""
        try:
            for piece in pieces:
                thinks = (said + piece).startswith("<think") and "</think>" not in said
                self._print(piece, "dim" if thinks else "", end="")
                said += piece
        finally:
            self._print("")

    def say(self, text: str) -> None:
        self._print(text)

    def note(self, text: str) -> None:
        self._print(text, "dim")

    def mistake(self, text: str) -> None:
        self._print(" ".join(text.splitlines()), "red")

    def compare(self, answers: Sequence[tuple[str, Iterator[str]]]) -> None:
        """In columns, which grow together: a piece of each in turn."""
        names, said = [name for name, _ in answers], [""] * len(answers)

        def ends() -> Table:
            return _columns(names, [self._end(text, len(names)) for text in said])

        with Live(console=self._console, get_renderable=ends, transient=True):
            for row in zip_longest(*(pieces for _, pieces in answers), fillvalue=""):
                for number, piece in enumerate(row):
                    said[number] += piece
        self._console.print(_columns(names, [Text(visible(text.strip())) for text in said]))

    def _end(self, text: str, columns: int) -> Text:
        """The last lines of a text, as many as have room in one of so many columns."""
        width, height = self._console.size
        inside = max(width // columns - _FRAME, 1)
        lines = Text(visible(text.lstrip())).wrap(self._console, inside)
        return Text("\n").join(lines[-max(height - _FRAME_LINES, 1) :])

    def _print(self, text: str, style: str = "", end: str = "\n") -> None:
        self._console.print(Text(visible(text), style), end=end, soft_wrap=True)


def _columns(names: Sequence[str], texts: Sequence[Text]) -> Table:
    table = Table(expand=True)
    for name in names:
        table.add_column(name, ratio=1, overflow="fold")  # Chinese has no blanks to wrap at
    table.add_row(*texts)
    return table


def talk(chat: Chat, show: Terminal) -> None:
    """Takes what is typed until it is over."""
    show.note(chat.opened.told)
    show.note(_KEYS)
    session: PromptSession[str] = PromptSession(
        multiline=True,
        key_bindings=_keys(),
        completer=_Commands(chat),
        prompt_continuation=lambda *_: ". ",
    )
    while True:
        branch = chat.session.branch
        try:
            line = session.prompt("> " if branch == MAIN else f"{branch}> ")
        except KeyboardInterrupt:
            show.note("Ctrl-D leaves")
            continue
        except EOFError:
            return
        try:
            if not chat.take(line):
                return
        except KeyboardInterrupt:
            show.note("stopped")
        except UserError as error:
            show.mistake(str(error))
        except OSError as error:
            show.mistake(str(mendable(error)))


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


class _Commands(Completer):
    """Completes commands, and what goes with them."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        """A command's name while it is typed, then files or the words that it takes."""
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        command, blank, argument = text.partition(" ")
        if not blank:
            for name, (_, meaning) in COMMANDS.items():
                if name.startswith(command):
                    yield Completion(name, -len(command), display_meta=meaning)
        elif command in ("/load", "/save"):
            inner = Document(argument)
            yield from PathCompleter(expanduser=True).get_completions(inner, event)
        else:
            for name in self._words(command):
                if name.startswith(argument):
                    yield Completion(name, -len(argument))

    def _words(self, command: str) -> list[str]:
        session = self._chat.session
        if command == "/set":
            return [name for name, _, _ in session.settings.listed()]
        if command == "/switch":
            return list(session.branches)
        if command == "/think":
            return list(get_args(Thinking))
        return []
