"""`eyas chat`: talking with a model, in the terminal or line by line."""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import click

from eyas.chat.answering import Speaker
from eyas.chat.conversation import Conversation
from eyas.chat.session import Session
from eyas.chat.settings import ChatConfig, Settings
from eyas.chat.state_file import begin_with, read_state, state_of
from eyas.chat.talking import Chat, Opened
from eyas.cli.options import add_options
from eyas.complaints import mendable
from eyas.config import fields_of, from_mapping
from eyas.data import Tokenizer, tokenizer_for
from eyas.data.template import Template, open_template
from eyas.errors import UserError
from eyas.generation.sampling import Sampling
from eyas.generation.stream import reader
from eyas.models import Model, load, read_tensors
from eyas.models.fingerprint import fingerprint
from eyas.run import adapter_at, open_model, read_run, run_at
from eyas.run.directory import checkpoint_at
from eyas.settings import SETTINGS

_PATH = click.Path(path_type=Path)


@click.command("chat", short_help="Talk with a model or a run.")
@click.argument("model", metavar="MODEL|RUN", type=_PATH)
@click.option("--system", default="", help="who the model is to be")
@click.option("--state", type=_PATH, help="state file that every conversation begins with")
@click.option("--load", "saved", type=_PATH, help="a conversation that /save wrote, to go on with")
@click.option(
    "--template", type=_PATH, help="a Jinja chat template [default: the run's, or that of G1]"
)
@click.option("--tokenizer", help="world, bytes, world-bytes, or a vocabulary file")
@click.option("--base", type=_PATH, help="base model of RUN [default: the one trained over]")
@add_options(ChatConfig, Sampling)
def command(
    model: Path,
    system: str,
    state: Path | None,
    saved: Path | None,
    template: Path | None,
    tokenizer: str | None,
    base: Path | None,
    typed: dict[str, Any],
) -> None:
    """Talk with MODEL (.pth, .safetensors, a name) or RUN, also while it is training.

    /help lists what can be typed besides questions. Without a terminal each line of standard
    input is a question or a command, and answers are all that is written.
    """
    source = Source(model, base, tokenizer, template, state)
    settings = _settings(typed)
    session = Session(settings).going_on(Conversation(system))
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if terminal:
        from eyas.cli.chat_terminal import Terminal, talk

        chat = Chat(source.open(), session, show := Terminal())
        _begin(chat, saved)
        talk(chat, show)
    else:
        chat = Chat(source.open(), session, Plain())
        _begin(chat, saved)
        _read_lines(chat)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the model and its words come from."""

    path: Path
    base: Path | None = None
    tokenizer: str | None = None
    template: Path | None = None
    state: Path | None = None

    def open(self) -> Opened:
        """The newest there is. Raises UserError for what cannot be opened."""
        step = self._step()
        template = open_template(self.template) if self.template else trained_template(self.path)
        model, base, chosen = open_model(self.path, self.base)
        tokenizer = tokenizer_for(model.vocab_size, base, self.tokenizer or chosen)
        told = f"{self.path}: {model.shape}"
        if step is not None:
            total = read_run(self.path).loop.steps
            told += f", step {step}" + (f" of {total}" if total else "")
        if self.state:
            _take_state(model, base, self.state)
            told += f", state {self.state}"
        tuned = step is not None or self.path.is_dir() or self.state is not None

        @cache
        def untuned() -> Speaker:
            return _speaker(load(base), tokenizer, template)

        def newer() -> Opened | None:
            return None if self._step() == step else self.open()

        return Opened(
            _speaker(model, tokenizer, template),
            told,
            untuned if tuned else None,
            newer if step is not None else None,
        )

    def _step(self) -> int | None:
        """That of a run's newest checkpoint."""
        if not (self.path / SETTINGS).exists():
            return None
        return checkpoint_at(self.path).progress.step


def _speaker(model: Model, tokenizer: Tokenizer, template: Template) -> Speaker:
    return Speaker(model, tokenizer, template, reader(model))


def trained_template(path: Path) -> Template:
    """The chat template that a run was trained with; G1's for anything else."""
    return open_template(run_at(path).reading.template if path.is_dir() else None)


class Plain:
    """Answers as plain text, and nothing that was not asked for."""

    keeps_stopped = False

    def answer(self, pieces: Iterator[str]) -> None:
        for piece in pieces:
            click.echo(piece, nl=False)
            sys.stdout.flush()
        click.echo()

    def say(self, text: str) -> None:
        click.echo(text)

    def note(self, text: str) -> None:
        pass

    def compare(self, answers: Sequence[tuple[str, Iterator[str]]]) -> None:
        for name, pieces in answers:
            click.echo(f"{name}: {''.join(pieces).strip()}")


def _settings(typed: dict[str, Any]) -> Settings:
    names = {field.name for field in fields_of(ChatConfig)}
    chat = {name: value for name, value in typed.items() if name in names}
    sampling = {name: value for name, value in typed.items() if name not in names}
    where = "the command line"
    return Settings(from_mapping(ChatConfig, chat, where), from_mapping(Sampling, sampling, where))


def _begin(chat: Chat, saved: Path | None) -> None:
    if saved is None:
        return
    if chat.session.conversation.system:
        raise UserError("--load: the saved conversation has its system text; leave out --system")
    chat.load(saved)


def _read_lines(chat: Chat) -> None:
    """Each line of standard input is one thing typed; the first mistake ends it."""
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        place = f"standard input, line {number}"
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{place}: is not UTF-8 at byte {error.start}; convert it") from error
        try:
            if not chat.take(line):
                return
        except UserError as error:
            raise UserError(f"{place}: {error}") from error
        except OSError as error:
            raise UserError(f"{place}: {mendable(error)}") from error


def _take_state(model: Model, base: Path, path: Path) -> None:
    states, over = state_of(adapter_at(path), path) if path.is_dir() else read_state(path)
    if over is not None and over != fingerprint(read_tensors(base)):
        raise UserError(
            f"{path}: this state was trained over another model than {base}; chat with that one"
        )
    begin_with(model, states, path)
