"""What a model reads in a conversation is what it was trained on, and states are what they say."""

import pytest
import torch
from scripted import WORLD, Script, read_by, speaker
from tolerance import assert_close
from weights import write_model

from eyas.chat.answering import Answer, Speaker
from eyas.chat.conversation import Conversation, Turn
from eyas.chat.settings import ChatConfig, Settings
from eyas.chat.wording import prompt_of
from eyas.data import tokenizer_for
from eyas.data.marking import byte_widths, mark
from eyas.data.template import G1, ask
from eyas.generation.sampling import GREEDY, Sampling
from eyas.generation.stream import generate
from eyas.models import load

WIDTHS = byte_widths(WORLD)
PLAIN = Settings(sampling=GREEDY)


def say(
    who: Speaker, talk: Conversation, question: str, settings: Settings = PLAIN
) -> Conversation:
    answer = Answer(who, talk, question, settings)
    list(answer)
    return talk.with_turn(answer.turn())


def trained_tokens(talk: Conversation) -> list[int]:
    """The tokens of the conversation as a training document, its end left out."""
    return mark(G1().render(talk.messages()), WORLD, WIDTHS)[0][:-1].tolist()


@pytest.fixture
def small(tmp_path) -> Speaker:
    model = load(write_model(tmp_path / "m.pth"))
    return Speaker(model, tokenizer_for(256, None, None), G1())


@pytest.mark.parametrize(
    "said",
    [
        " Hello there.\n\n",
        " 你好。\n\n",  # the vocabulary has 。\n, so that the stop text begins inside a token
        " two  spaces at the end  \n\n",
        "\n\n",
        "",
        " a\r\nb\n\n",
        " <think>\nfirst\n\nsecond\n</think>\n\nyes\n\n",
        " ends a document" + "\0",
    ],
)
def test_every_token_that_is_read_is_one_that_training_reads(said: str) -> None:
    # Twice the same, and then a third question.
    parts = (said.removesuffix("\0"), "") if said.endswith("\0") else (said,)
    who = speaker(*parts, *parts, " x\n\n")
    talk = say(who, Conversation("Be brief."), "First?\n\nAnd?")
    talk = say(who, talk, "再来")
    who.model.reads.clear()
    whole = say(who, talk, "Third?")
    prompt = who.model.reads[0]
    assert prompt == WORLD.encode(prompt_of(G1(), whole.messages()[:-1], "auto"))
    assert prompt == trained_tokens(whole)[: len(prompt)]
    for turn in whole.turns:
        if turn.snapshot:
            assert list(turn.snapshot.tokens) == read_by(turn.snapshot.state)


def test_no_token_is_read_twice() -> None:
    who = speaker(" Hello there.\n\n", " Yes.\n\n")
    talk = say(who, Conversation(), "A long first question, of many tokens?")
    assert isinstance(who.model, Script)
    who.model.forwards.clear()
    say(who, talk, "b")
    # The blank line that ended the answer, User: b, a blank line, Assistant:, in one forward.
    assert who.model.forwards[0] == len(WORLD.encode("\n\nUser: b\n\nAssistant:"))


@pytest.mark.parametrize("think", ["on", "off"])
def test_thinking_that_was_asked_for_is_in_the_conversation(think: str) -> None:
    begun = {"on": ">\nlet me see\n</think>", "off": ""}[think]
    who = speaker(begun + "\nYes.\n\n", ">\n</think>\nx\n\n")
    settings = Settings(ChatConfig(think=think), GREEDY)
    talk = say(who, Conversation(), "Really?", settings)
    thought = {"on": "let me see", "off": ""}[think]
    assert (talk.turns[0].answer.content, talk.turns[0].answer.thinking) == ("Yes.", thought)
    snapshot = talk.turns[0].snapshot
    assert list(snapshot.tokens) == trained_tokens(talk)  # all of it is in the state


def test_the_system_text_may_change() -> None:
    who = speaker(" a.\n\n", " b.\n\n")
    talk = say(who, Conversation("One."), "q")
    changed = Conversation("Two.", talk.turns)
    who.model.reads.clear()
    after = say(who, changed, "r")
    prompt = who.model.reads[0]
    assert WORLD.token_bytes(prompt[2]) == b" Two"
    assert prompt == trained_tokens(after)[: len(prompt)]


def test_a_stopped_answer_is_a_turn() -> None:
    who = speaker(" one two three\n\n", " x\n\n")
    answer = Answer(who, Conversation(), "q", PLAIN)
    pieces = iter(answer)
    assert next(pieces) + next(pieces) == " one two"
    talk = Conversation().with_turn(answer.turn())
    assert talk.turns[0].answer.content == "one two"
    who.model.script = Script.tokens(" x\n\n")
    who.model.reads.clear()
    say(who, talk, "r")
    assert who.model.reads[0] == WORLD.encode(
        "User: q\n\nAssistant: one two\n\nUser: r\n\nAssistant:"
    )


def test_max_tokens() -> None:
    who = speaker(" one two three four")
    answer = Answer(who, Conversation(), "q", Settings(ChatConfig(max_tokens=3), GREEDY))
    assert "".join(answer) == " one two three"
    assert answer.written == 3


def test_further_stop_texts() -> None:
    who = speaker(" one. Two\n\n")
    settings = Settings(ChatConfig(stop=(". T",)), GREEDY)
    assert "".join(Answer(who, Conversation(), "q", settings)) == " one"


def test_undone_and_asked_again_is_the_same_to_the_bit(small: Speaker) -> None:
    settings = Settings(ChatConfig(max_tokens=12, seed=3), Sampling())
    before = say(small, Conversation(), "first", settings)
    once = say(small, before, "second", settings)
    say(small, once, "third", settings)
    undone = once.without_last()
    assert undone == before
    again = say(small, undone, "second", settings)
    assert again == once
    assert again.turns[1].answer.content
    one, other = again.turns[1].snapshot, once.turns[1].snapshot
    assert one.tokens == other.tokens
    assert torch.equal(torch.stack([layer.wkv for layer in one.state]), _wkv(other.state))


def test_states_are_those_of_the_text_read_at_once(small: Speaker) -> None:
    settings = Settings(ChatConfig(max_tokens=12), Sampling())
    talk = Conversation()
    for question in ("first", "second", "third"):
        talk = say(small, talk, question, settings)
    for turn in talk.turns:
        tokens = torch.tensor([turn.snapshot.tokens])
        with torch.inference_mode():
            _, state = small.model(tokens)
            assert_close(_wkv(turn.snapshot.state), _wkv(state))


def test_the_first_answer_is_that_of_generate(small: Speaker) -> None:
    for seed in (0, 5):
        settings = Settings(ChatConfig(max_tokens=15, seed=seed), Sampling())
        ours = "".join(Answer(small, Conversation(), "hello", settings))
        stop = ("\n\n",)
        theirs = generate(small.model, small.tokenizer, ask("hello"), Sampling(), 15, stop, seed)
        assert ours == "".join(theirs)


def test_other_attempts_are_other_answers(small: Speaker) -> None:
    settings = Settings(ChatConfig(max_tokens=15), Sampling())
    answers = {"".join(Answer(small, Conversation(), "q", settings, n)) for n in range(3)}
    assert len(answers) == 3


def test_turns_are_compared_by_what_was_said() -> None:
    who = speaker(" a\n\n", " a\n\n")
    one, other = say(who, Conversation(), "q"), say(who, Conversation(), "q")
    assert one == other
    assert isinstance(one.turns[0], Turn)
    assert one.without_states().turns[0].snapshot is None


def _wkv(state) -> torch.Tensor:
    return torch.stack([layer.wkv for layer in state])
