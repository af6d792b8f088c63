"""What clients read of a token stream, cut into tokens in every way."""

import pytest

from eyas.serving.transcript import Form, Transcript

G1 = ("\n\n",)
CASES = {
    "plain": (Form(), " a\n\nb ", ("", " a\n\nb ")),
    "stop": (Form(("ab", "c")), "xxabcd", ("", "xx")),
    "stop that ends first": (Form(("bcd", "c")), "abcd", ("", "ab")),
    "no stop at the end": (Form(("stop",)), "a sto", ("", "a sto")),
    "trimmed": (Form(G1, True, "looked for"), " Paris.\n\nUser: x", ("", "Paris.")),
    "empty": (Form(G1, True, "looked for"), "\n\nUser: x", ("", "")),
    "blanks alone": (Form(G1, True, "looked for"), " \n", ("", "")),
    "like a mark": (Form(G1, True, "looked for"), " <thin> air", ("", "<thin> air")),
    "cut mark": (Form(G1, True, "looked for"), " <thin", ("", "<thin")),
    "thinks": (
        Form(G1, True, "looked for"),
        " <think>\nfirst\n\nsecond\n</think>\nyes\n\nno",
        ("first\n\nsecond", "yes"),
    ),
    "thinks nothing": (Form(G1, True, "looked for"), " <think>\n</think>\nyes", ("", "yes")),
    "begun": (Form(G1, True, "begun"), ">\nhm\n\nso\n</think>\n\nyes\n\n", ("hm\n\nso", "yes")),
    "begun, cut": (Form(G1, True, "begun"), ">\nhm </thi", ("hm </thi", "")),
    "begun, no bracket": (Form(G1, True, "begun"), "ing</think>yes", ("ing", "yes")),
    "over": (Form(G1, True, "over"), "\n\nyes\n\nno", ("", "yes")),
    "stop in thinking alone": (Form(("b",), True, "begun"), ">abc</think>xby", ("abc", "x")),
    "characters": (Form(("鱼",), True), " 猫🦅鱼鸟", ("", "猫🦅")),
}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(("form", "text", "expected"), CASES.values(), ids=CASES)
def test_what_is_said(form: Form, text: str, expected: tuple[str, str], size: int) -> None:
    transcript, data = Transcript(form), text.encode()
    reasoning = content = ""
    for begin in range(0, len(data), size):
        said = transcript.feed(data[begin : begin + size])
        reasoning, content = reasoning + said.reasoning, content + said.content
        assert transcript.settled <= transcript.decoded
        if transcript.ended:
            break
    else:
        said = transcript.finish()
        reasoning, content = reasoning + said.reasoning, content + said.content
        assert transcript.settled == transcript.decoded
    assert (reasoning, content) == expected


def test_nothing_is_held_back_that_is_certain() -> None:
    transcript = Transcript(Form(("\n\n",), True, "looked for"))
    said = [transcript.feed(part.encode()).content for part in (" ", "Yes", "\n", "no", "\n", "\n")]
    assert said == ["", "Yes", "", "\nno", "", ""]
    assert transcript.ended
    assert transcript.settled == len(" Yes\nno")


def test_bytes_that_are_no_text() -> None:
    transcript = Transcript(Form())
    assert transcript.feed(b"a\xff").content + transcript.feed(b"\xe4b").content == "a\ufffd\ufffdb"
    assert transcript.feed("猫".encode()[:2]).content + transcript.finish().content == ""
