"""`eyas chat` as it is typed: through a pipe, through a terminal, on a run."""

import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console
from weights import SHAPES, random_weights

from eyas.cli.chat import Source
from eyas.cli.chat_terminal import Terminal
from eyas.demo.play import BASE

QUESTION = "Denver is the home of Edgar, age 63."


@pytest.fixture
def typing(eyas, monkeypatch: pytest.MonkeyPatch):
    """`eyas chat` with lines on its standard input: exit code, standard output, standard error."""

    def run(*arguments: str, lines: str | bytes) -> tuple[int, str, str]:
        data = lines if isinstance(lines, bytes) else lines.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "ascii"))
        return eyas("chat", *arguments)

    return run


def test_a_line_is_a_turn(typing, eyas) -> None:
    lines = f"{QUESTION}\n\n/undo\n{QUESTION}\r\n/history\n/exit\nno more\n"
    code, out, err = typing(str(BASE), "--temperature", "0", "--max-tokens", "15", lines=lines)
    assert (code, err) == (0, "")
    first, second, *history = out.splitlines()
    assert first == second
    assert history == [f"User: {QUESTION}", "", f"Assistant: {first}"]
    code, generated, err = eyas(
        "generate", str(BASE), "--chat", QUESTION, "--temperature", "0", "--max-tokens", "15"
    )
    assert (code, generated, err) == (0, f"{first}\n", "")


def test_thinking_by_generate(eyas) -> None:
    asked = ("generate", str(BASE), "--chat", "hi", "--max-tokens", "5")
    code, out, err = eyas(*asked, "--think", "on")
    assert (code, out.startswith("<think"), err) == (0, True, "")
    code, out, err = eyas(*asked, "--think", "off")
    assert (code, "think" in out, err) == (0, False, "")
    code, out, err = eyas("generate", str(BASE), "--prompt", "hi", "--think", "on")
    assert (code, out) == (2, "")
    assert "--think goes with --chat" in err


def test_a_run_beside_its_base_and_its_newest_checkpoint(typing, eyas, folder: Path) -> None:
    quick = ("--rank", "2", "--ctx", "32", "--micro-batch", "4", "--out", "r", "--lr", "1e-2")
    assert eyas("train", "m.pth", "d.jsonl", *quick, "--steps", "2")[0] == 0
    greedy = ("--temperature", "0", "--max-tokens", "8", "--presence-penalty", "0")
    code, out, err = typing("r", *greedy, lines="/compare 7\n/save talk\n/reload\n7\n")
    assert (code, err) == (0, "")
    assert re.match(r"base: .*\ntuned: ", out, re.DOTALL)
    assert (folder / "talk").exists()
    code, out, err = typing("r", *greedy, "--load", "talk", lines="/history\n")
    assert (code, err) == (0, "")
    assert out.startswith("User: 7\n\nAssistant:")
    code, out, err = typing("m.pth", "--load", "talk", "--system", "x", lines="")
    assert (code, out) == (2, "")
    assert "leave out --system" in err


def test_a_run_that_trains_on(eyas) -> None:
    quick = ("--rank", "2", "--ctx", "32", "--micro-batch", "4", "--out", "r", "--save-every", "1")
    assert eyas("train", "m.pth", "d.jsonl", *quick, "--steps", "2")[0] == 0
    opened = Source(Path("r")).open()
    assert opened.told.startswith("r: x070 L2 C64")
    assert opened.told.endswith("step 2 of 2")
    assert opened.newer() is None
    assert eyas("train", "m.pth", "d.jsonl", *quick, "--steps", "3")[0] == 0
    newer = opened.newer()
    assert newer.told.endswith("step 3 of 3")
    assert newer.newer() is None


def test_a_run_is_asked_in_the_words_it_was_trained_with(typing, eyas, folder: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 4))
    (folder / "t.jinja").write_text(
        "{%- for m in messages %}[{{ m.role }}]{{ m.content }}[end]{% endfor %}"
        "{%- if add_generation_prompt %}[assistant]{% endif %}"
    )
    options = ("--template", "t.jinja", "--rank", "2", "--ctx", "32", "--micro-batch", "4")
    assert eyas("train", "m.pth", "t.jsonl", *options, "--steps", "1", "--out", "r")[0] == 0
    code, out, err = typing("r", "--max-tokens", "3", lines="hi\n/history\n")
    assert (code, err) == (0, "")
    assert re.search(r"^\[user\]hi\[end\]\[assistant\].*\[end\]$", out, re.DOTALL | re.MULTILINE)
    code, _, err = typing("r", "--think", "on", lines="hi\n")
    assert code == 2
    assert "those of G1's template" in err
    code, _, err = eyas("generate", "r", "--chat", "hi", "--think", "on")
    assert code == 2


def test_a_state_before_every_conversation(typing, eyas, folder: Path) -> None:
    trained = (
        "--method",
        "state",
        "--ctx",
        "32",
        "--micro-batch",
        "4",
        "--lr",
        "1",
        "--steps",
        "3",
    )
    assert eyas("train", "m.pth", "d.jsonl", *trained, "--out", "s")[0] == 0
    greedy = ("--temperature", "0", "--max-tokens", "8", "--think", "off")
    lines = "q\n/compare\n"
    said = {
        given: typing("m.pth", *greedy, "--state", given, lines=lines)
        for given in ("s", "s/adapter.safetensors")
    }
    run = typing("s", *greedy, lines=lines)
    assert run[0] == 0
    assert said["s"] == said["s/adapter.safetensors"] == run
    torch.save(random_weights(SHAPES["x070"], seed=1), folder / "other.pth")
    code, _, err = typing("other.pth", "--state", "s", lines="")
    assert code == 2
    assert "this state was trained over another model than other.pth" in err


@pytest.mark.parametrize(
    ("arguments", "lines", "said"),
    [
        (("m.pth",), "/undo\n", "standard input, line 1: /undo: there is no turn yet"),
        (("m.pth",), "\n/lod x\n", "line 2: /lod: no such command; did you mean '/load'"),
        (("m.pth",), b"/help\n\xff\n", "line 2: is not UTF-8 at byte 0"),
        (("m.pth", "--temperature", "-1"), "", "temperature"),
        (("m.pth", "--max-tokens", "0"), "", "max_tokens"),
        (("m.pth", "--load", "no"), "", "no: no such file"),
        (("m.pth", "--state", "d.jsonl"), "", "d.jsonl"),
        (("m.pth", "--template", "no.jinja"), "", "no.jinja"),
        (("nothing.pth",), "", "nothing.pth"),
    ],
)
def test_mistakes_are_one_line(typing, arguments, lines, said: str) -> None:
    code, _, err = typing(*arguments, lines=lines)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def endless(path: Path) -> Path:
    """A model that says a, whatever it reads: each logit is the sum of a row of the head."""
    weights = random_weights(SHAPES["x070"])
    weights["ln_out.weight"].zero_()
    weights["ln_out.bias"].fill_(1)
    weights["head.weight"].fill_(-1)
    weights["head.weight"][ord("a")] = 1
    torch.save(weights, path)
    return path


def test_answers_side_by_side_grow_together() -> None:
    pulled: list[str] = []

    def said(*pieces: str):
        for piece in pieces:
            pulled.append(piece)
            yield piece

    console = Console(file=(shown := io.StringIO()), width=40, height=10, force_terminal=True)
    answers = [("base", said("a1 ", "a2")), ("tuned", said("b1 ", "b2 ", "b3\n" * 30))]
    Terminal(console).compare(answers)
    assert pulled == ["a1 ", "b1 ", "a2", "b2 ", "b3\n" * 30]
    lines = _CONTROLS.sub("", shown.getvalue()).replace("\r", "").splitlines()
    final = [line.split() for line in lines[-33:]]
    assert ["┃", "base", "┃", "tuned", "┃"] in final
    assert ["│", "a1", "a2", "│", "b1", "b2", "b3", "│"] in final
    assert final.count(["│", "│", "b3", "│"]) == 29
    Terminal(console).compare([("base", said("好" * 99)), ("tuned", said("x" * 99))])
    assert shown.getvalue().rpartition("tuned")[2].count("好") == 99


_PROMPT = "\x1b[?2004h"  # pasting in brackets is switched on
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Typist:
    """Types into a terminal in which the chat runs, and reads what it shows."""

    def __init__(self, *arguments: str) -> None:
        pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")
        self.here, there = pty.openpty()
        env = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "eyas", "chat", *arguments],
            stdin=there,
            stdout=there,
            stderr=there,
            env=env,
            start_new_session=True,
        )
        os.close(there)
        self.raw, self.seen = b"", 0

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Reads up to the end of `text`, without what moves the cursor and sets colors."""
        end = time.monotonic() + seconds
        while (at := self._shown().find(text, self.seen)) < 0:
            assert time.monotonic() < end, f"{text!r} did not come: {self._shown()[self.seen :]!r}"
            if select.select([self.here], [], [], 0.1)[0]:
                self.raw += os.read(self.here, 4096)
        self.seen = at + len(text)

    def _shown(self) -> str:
        text = self.raw.decode(errors="replace")
        return _CONTROLS.sub("", text.replace(_PROMPT, "PROMPT"))

    def type(self, text: str) -> None:
        """Waits for the prompt, and types."""
        self.wait_for("PROMPT")
        os.write(self.here, text.encode())

    def close(self) -> int:
        try:
            while select.select([self.here], [], [], 5)[0] and os.read(self.here, 4096):
                pass
        except OSError:  # Linux's way to say that the other end is closed
            pass
        try:
            return self.process.wait(10)
        finally:
            self.process.kill()
            os.close(self.here)


def test_in_a_terminal(tmp_path: Path) -> None:
    typist = Typist(str(endless(tmp_path / "m.pth")), "--max-tokens", "1000000")
    try:
        typist.wait_for("/help for commands")
        typist.type("one\x1b\rtwo\r")  # Alt-Enter, a new line
        typist.wait_for("aaaaa")
        typist.process.send_signal(signal.SIGINT)
        typist.wait_for("stopped; what was said stays")
        typist.type("/history\r")
        typist.wait_for("User: one\r\ntwo\r\n\r\nAssistant: aaaaa")
        typist.type("/udno\r")
        typist.wait_for("did you mean '/undo'")
        typist.type("/undo\r")
        typist.wait_for("undone; 0 turns left")
        typist.type("\x03")
        typist.wait_for("Ctrl-D leaves")
        typist.type("\x04")
    finally:
        code = typist.close()
    assert code == 0
