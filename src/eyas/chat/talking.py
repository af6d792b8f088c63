"""A chat going on: every line that is typed is a question or a command."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from eyas.chat.answering import Answer, Speaker
from eyas.chat.commands import NO_TURN, PURE, parse
from eyas.chat.conversation import Conversation
from eyas.chat.ending import as_shown
from eyas.chat.saved import load, save
from eyas.chat.session import Session
from eyas.chat.wording import check_thinking, cue, text_of
from eyas.errors import UserError
from eyas.models.fingerprint import fingerprint


@dataclass(frozen=True)
class Opened:
    """What is talked with.

    base: the model without what was trained, where there is such. newer: what has come of a run
    since, or None where nothing has.
    """

    speaker: Speaker
    told: str
    base: Callable[[], Speaker] | None = None
    newer: Callable[[], "Opened | None"] | None = None


@runtime_checkable
class Show(Protocol):
    """How a chat is shown."""

    keeps_stopped: bool
    """Whether Ctrl-C stops an answer and nothing else."""

    def answer(self, pieces: Iterator[str]) -> None:
        """An answer while it is said."""

    def say(self, text: str) -> None:
        """What was asked for."""

    def note(self, text: str) -> None:
        """A remark."""

    def compare(self, answers: Sequence[tuple[str, Iterator[str]]]) -> None:
        """Answers while they are said, each with the name of who gives it."""


class Chat:
    """What moves in a chat: the model that is talked with, and how far the session is."""

    def __init__(self, opened: Opened, session: Session, show: Show) -> None:
        check_thinking(opened.speaker.template, session.settings.chat.think)
        self.opened, self.session, self._show = opened, session, show

    def take(self, line: str) -> bool:
        """Does what was typed; False where the chat is over.

        Raises UserError for what cannot be done; the session is then as it was before.
        """
        command, argument = parse(line)
        if command in PURE:
            self._pure(command, argument)
            return True
        match command:
            case "/exit":
                return False
            case "/retry":
                self._retry()
            case "/history":
                self._show.say(self._history())
            case "/save":
                self._save(argument)
            case "/load":
                self.load(Path(argument).expanduser())
            case "/compare":
                self._compare(argument)
            case "/reload":
                self._reload()
            case _ if argument:
                self._ask(self.session.conversation, argument)
        return True

    def load(self, path: Path) -> None:
        """Goes on with a saved conversation: in a branch of its own, unless this one is empty."""
        talk = load(path, self._identity())
        session = self.session
        if session.conversation == Conversation():
            session = session.going_on(talk)
        else:
            session = session.forked(session.free_name(path.stem), talk)
        self.session = session.saved_at(path)
        kept = talk.turns[-1].snapshot if talk.turns else None
        how = f"{len(kept.tokens):,} tokens in its state" if kept else "to be read anew"
        self._show.note(f"branch {self.session.branch}: {len(talk.turns)} turns, {how}")

    def _pure(self, command: str, argument: str) -> None:
        done = PURE[command](self.session, argument)
        check_thinking(self.opened.speaker.template, done.session.settings.chat.think)
        self.session = done.session
        if done.shown:
            self._show.say(done.shown)
        else:
            self._show.note(done.note)

    def _ask(self, before: Conversation, question: str, attempt: int = 0) -> None:
        """Answers a question; the answer, also one that was stopped, is the next turn."""
        settings = self.session.settings
        answer = Answer(self.opened.speaker, before, question, settings, attempt)
        try:
            self._show.answer(as_shown(answer, cue(answer.thinking)))
        except KeyboardInterrupt:
            if not self._show.keeps_stopped:
                raise
            if not answer.said.strip():
                self._show.note("stopped before anything was said; the question is taken back")
                return
            self._show.note("stopped; what was said stays, /undo takes it back")
        else:
            if answer.written == settings.chat.max_tokens:
                self._show.note(f"that was max_tokens = {answer.written}; /set it for more")
        self.session = self.session.going_on(before.with_turn(answer.turn()))

    def _retry(self) -> None:
        talk = self._begun("/retry")
        last = talk.turns[-1]
        self._ask(talk.without_last(), last.question, last.attempt + 1)

    def _history(self) -> str:
        messages = self.session.conversation.messages()
        return text_of(self.opened.speaker.template, messages) if messages else "(nothing yet)"

    def _save(self, argument: str) -> None:
        talk = self._begun("/save")
        own = self.session.files.get(self.session.branch)
        path = Path(argument).expanduser() if argument else own
        if path is None:
            raise UserError("/save FILE: this conversation has no file yet; name one")
        if path != own and path.exists():
            raise UserError(f"{path}: exists already; name another file, or remove it first")
        save(talk, self._identity(), path)
        self.session = self.session.saved_at(path)
        self._show.note(f"saved: {path}")

    def _compare(self, question: str) -> None:
        """Answers of both; a question that is given is a turn of the tuned model's."""
        if self.opened.base is None:
            raise UserError(
                "/compare: this is one model; chat with a run, or with --state, to have two"
            )
        speaker, settings = self.opened.speaker, self.session.settings
        if question:
            before, attempt = self.session.conversation, 0
            tuned = Answer(speaker, before, question, settings)
            pieces = as_shown(tuned, cue(tuned.thinking))
        else:
            last = self._begun("/compare").turns[-1]
            before, question, attempt = (
                self.session.conversation.without_last(),
                last.question,
                last.attempt,
            )
            settings = settings.changed("think", last.thinking)
            tuned, pieces = None, iter([_said(last.answer.thinking, last.answer.content)])
        base = Answer(self.opened.base(), before.without_states(), question, settings, attempt)
        self._show.compare([("base", as_shown(base, cue(base.thinking))), ("tuned", pieces)])
        if tuned:
            self.session = self.session.going_on(before.with_turn(tuned.turn()))

    def _reload(self) -> None:
        if self.opened.newer is None:
            raise UserError("/reload: this is no run, whose checkpoints could be newer")
        newer = self.opened.newer()
        if newer is None:
            self._show.note(f"nothing newer; {self.opened.told}")
            return
        self.opened, self.session = newer, self.session.without_states()
        self._show.note(newer.told)

    def _begun(self, command: str) -> Conversation:
        if not self.session.conversation.turns:
            raise UserError(f"{command}: {NO_TURN}")
        return self.session.conversation

    def _identity(self) -> str:
        return fingerprint(self.opened.speaker.model.state_dict())


def _said(thinking: str | None, content: str) -> str:
    return f"<think>\n{thinking}\n</think>\n{content}" if thinking else content
