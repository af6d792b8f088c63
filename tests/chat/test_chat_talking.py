"""What is typed in a chat, from questions to branches, on a model that says what it is told to."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from scripted import Script, speaker

from eyas.chat.commands import COMMANDS, parse
from eyas.chat.conversation import Conversation
from eyas.chat.session import Session
from eyas.chat.settings import ChatConfig, Settings
from eyas.chat.talking import Chat, Opened
from eyas.errors import UserError
from eyas.generation.sampling import GREEDY


class Seen:
    """Keeps what is shown; Ctrl-C comes after `patience` pieces of an answer."""

    def __init__(self, keeps_stopped: bool = True) -> None:
        self.keeps_stopped = keeps_stopped
        self.patience = 1000
        self.answers: list[str] = []
        self.said: list[str] = []
        self.notes: list[str] = []
        self.compared: list[tuple[str, str]] = []

    def answer(self, pieces: Iterator[str]) -> None:
        self.answers.append("")
        for number, piece in enumerate(pieces):
            if number >= self.patience:
                raise KeyboardInterrupt
            self.answers[-1] += piece

    def say(self, text: str) -> None:
        self.said.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def compare(self, answers: Sequence[tuple[str, Iterator[str]]]) -> None:
        self.compared = [(name, "".join(pieces).strip()) for name, pieces in answers]


def chat(*texts: str, **opened) -> tuple[Chat, Seen]:
    show = Seen()
    told = Opened(speaker(*texts), "a script", **opened)
    return Chat(told, Session(Settings(sampling=GREEDY)), show), show


def typed(talk: Chat, *lines: str) -> None:
    for line in lines:
        assert talk.take(line)


def questions(talk: Chat) -> list[str]:
    return [turn.question for turn in talk.session.conversation.turns]


def test_questions_and_their_history() -> None:
    talk, show = chat(" One.\n\n", " Two.\n\n")
    typed(talk, "/history", "/system Be brief.", "/system", "first", "", "  ", "//second\n")
    assert show.answers == ["One.", "Two."]
    typed(talk, "/history")
    assert show.said == [
        "(nothing yet)",
        "Be brief.",
        "System: Be brief.\n\nUser: first\n\nAssistant: One.\n\nUser: /second\n\nAssistant: Two.",
    ]
    typed(talk, "/system -")
    assert talk.session.conversation.system == ""
    assert not talk.take("/exit")


def test_undo_and_retry() -> None:
    talk, show = chat(" a\n\n", " b\n\n", " c\n\n", " d\n\n", " e\n\n")
    typed(talk, "one", "two")
    before = talk.session.conversation
    typed(talk, "three", "/undo")
    assert talk.session.conversation == before
    typed(talk, "/retry")
    assert show.answers == ["a", "b", "c", "d"]
    assert [turn.attempt for turn in talk.session.conversation.turns] == [0, 1]
    typed(talk, "/undo 2")
    assert talk.session.conversation == Conversation()
    with pytest.raises(UserError, match=r"/undo: there is no turn yet"):
        talk.take("/undo")
    with pytest.raises(UserError, match=r"/retry: there is no turn yet"):
        talk.take("/retry")
    typed(talk, "four")
    with pytest.raises(UserError, match="there are only 1 turns"):
        talk.take("/undo 2")
    with pytest.raises(UserError, match="a whole number of at least 1"):
        talk.take("/undo 0")


def test_branches_go_on_from_the_same_state() -> None:
    talk, _ = chat(" a\n\n", " b\n\n", " c\n\n")
    typed(talk, "one", "/fork other", "two")
    assert isinstance(talk.opened.speaker.model, Script)
    typed(talk, "/switch main")
    assert questions(talk) == ["one"]
    talk.opened.speaker.model.forwards.clear()
    typed(talk, "three")
    assert talk.opened.speaker.model.forwards[0] < 12  # the first turn is not read again
    assert questions(talk) == ["one", "three"]
    typed(talk, "/switch other")
    assert questions(talk) == ["one", "two"]
    with pytest.raises(UserError, match=r"there is such a branch; /switch main goes to it"):
        talk.take("/fork main")
    with pytest.raises(UserError, match=r"no such branch; did you mean 'other'"):
        talk.take("/switch othr")
    with pytest.raises(UserError, match="a name of one word"):
        talk.take("/fork two words")


def test_settings_on_the_fly() -> None:
    talk, show = chat(" one two three\n\n")
    typed(talk, "/set temperature 0.8", "/set top_p .5", "/set max_tokens 2", "/settings", "q")
    assert (talk.session.settings.sampling.temperature, show.answers) == (0.8, ["one two"])
    assert talk.session.settings.sampling.top_p == 0.5
    assert "temperature = 0.8" in show.said[0]
    assert show.notes[-1] == "that was max_tokens = 2; /set it for more"
    talk.opened.speaker.model.script = Script.tokens(">\nhm\n</think>\nyes\n\n")
    typed(talk, "/set max_tokens 99", "/think on", "r")
    assert show.answers[-1] == "<think>\nhm\n</think>\nyes"
    typed(talk, "/set stop END", '/set stop ["\\n", "x y"]')
    assert talk.session.settings.chat.stop == ("\n", "x y")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/set temprature 1", "no setting; did you mean 'temperature'"),
        ("/set temperature hot", "temperature = 'hot' must be a number"),
        ("/set temperature nan", "temperature"),
        ("/set top_p 2", "top_p = 2.0 must be from 0 to 1"),
        ("/set max_tokens 0", "must be at least 1"),
        ("/set max_tokens 1.5", "must be a whole number"),
        ("/set seed -1", "must be from 0"),
        ("/set temperature", "the value is missing"),
        ("/set", "/set NAME VALUE"),
        ("/think hard", "must be one of auto, on, off, short, long"),
        ("/hlep", "did you mean '/help'"),
        ("/settings now", "takes nothing after it"),
        ("/save", "there is no turn yet"),
        ("/load", "/load FILE"),
        ("/load nowhere", "no such file"),
        ("/compare", "this is one model"),
        ("/reload", "this is no run"),
        ("a\ud800b", "not UTF-8"),
    ],
)
def test_what_cannot_be_done_changes_nothing(line: str, said: str) -> None:
    talk, _ = chat(" a\n\n")
    before = talk.session
    with pytest.raises(UserError) as caught:
        talk.take(line)
    assert said in str(caught.value)
    assert talk.session == before


def test_every_command_is_done_by_something() -> None:
    talk, show = chat(*[" a\n\n"] * 9)
    typed(talk, "q", "/help")
    for name in COMMANDS:
        assert parse(f"{name} x" if COMMANDS[name][0] else name).command == name
        assert name in show.said[0]


def test_ctrl_c_keeps_what_was_said() -> None:
    talk, show = chat(" a b c d\n\n")
    show.patience = 2
    typed(talk, "q")
    assert talk.session.conversation.turns[0].answer.content.startswith("a b")
    assert "stopped; what was said stays" in show.notes[-1]
    talk.opened.speaker.model.script = Script.tokens(" a\n\n")
    show.patience = 0
    typed(talk, "r")
    assert questions(talk) == ["q", "r"]  # its first word had been said when Ctrl-C came
    show.keeps_stopped = False
    talk.opened.speaker.model.script = Script.tokens(" a\n\n")
    with pytest.raises(KeyboardInterrupt):
        talk.take("s")
    assert questions(talk) == ["q", "r"]


def test_compare() -> None:
    base = speaker(" from the base\n\n", " base again\n\n")
    talk, show = chat(" tuned one\n\n", " tuned two\n\n", base=lambda: base)
    typed(talk, "/compare first")
    assert show.compared == [("base", "from the base"), ("tuned", "tuned one")]
    assert questions(talk) == ["first"]
    typed(talk, "second", "/compare")
    assert show.compared == [("base", "base again"), ("tuned", "tuned two")]
    # The base went on from what the tuned model had answered.
    assert base.tokens("User: first\n\nAssistant: tuned one\n\nUser: second\n\nAssistant:") in (
        base.model.reads
    )


def test_compare_asks_the_base_as_the_tuned_model_was_asked() -> None:
    base = speaker(">\nx\n</think>\nyes\n\n")
    talk, show = chat(">\ny\n</think>\nno\n\n", base=lambda: base)
    typed(talk, "/think on", "q", "/think off", "/compare")
    assert show.compared == [
        ("base", "<think>\nx\n</think>\nyes"),
        ("tuned", "<think>\ny\n</think>\nno"),
    ]


def test_reload_reads_the_conversation_anew() -> None:
    newer = Opened(speaker(" new\n\n"), "step 2")
    answers = iter([None, newer])
    talk, show = chat(" old\n\n", newer=lambda: next(answers))
    typed(talk, "q", "/reload")
    assert show.notes[-1] == "nothing newer; a script"
    typed(talk, "/reload", "r")
    assert (show.notes[-1], show.answers) == ("step 2", ["old", "new"])
    assert newer.speaker.model.forwards[0] > 10


def test_save_and_load(tmp_path: Path) -> None:
    talk, show = chat(" a\n\n", " b\n\n", " c\n\n")
    file = tmp_path / "talk"
    typed(talk, "/think off", "/system Sys", "one", f"/save {file}", "/think auto", "two")
    typed(talk, "/fork elsewhere")
    with pytest.raises(UserError, match="exists already"):
        talk.take(f"/save {file}")
    typed(talk, "/switch main", f"/load {file}")
    assert talk.session.branch == "talk"
    assert (talk.session.conversation.system, questions(talk)) == ("Sys", ["one"])
    assert "tokens in its state" in show.notes[-1]
    talk.opened.speaker.model.forwards.clear()
    typed(talk, "three", "/save")  # to its own file
    assert talk.opened.speaker.model.forwards[0] < 12
    typed(talk, f"/load {file}")
    assert (talk.session.branch, questions(talk)) == ("talk-2", ["one", "three"])


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="max_tokens"):
        ChatConfig(max_tokens=0)
    with pytest.raises(ValueError, match="stop"):
        ChatConfig(stop=("",))
