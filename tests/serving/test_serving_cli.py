"""`eyas serve` as it is typed: from the command to a graceful end, and what is refused before."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import openai
import pytest

import eyas
from eyas.cli import main

BASE = Path(eyas.__file__).parent / "demo" / "base.pth"


def test_a_server_ends_gracefully(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    options = ["--port", "0", "--name", "demo", "--api-key-file", str(tmp_path / "key")]
    process = subprocess.Popen(
        [sys.executable, "-m", "eyas", "serve", str(BASE), *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("demo (x070 L6 C128")
        url = line.split(" at ")[1].split(";")[0]
        client = openai.OpenAI(base_url=url, api_key="s3cret", max_retries=0)
        stream = client.completions.create(
            model="demo", prompt="a", max_tokens=60, stream=True, temperature=0
        )
        chunks = [next(stream)]
        process.send_signal(signal.SIGTERM)
        chunks += stream  # what was begun is said to its end
        assert chunks[-1].choices[0].finish_reason == "length"
        assert process.wait(30) in (0, -signal.SIGTERM)
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.communicate()


MISTAKES = {
    "beyond this machine": (("--host", "0.0.0.0"), "--api-key-file"),
    "no host": (("--host", "nowhere.invalid", "--api-key", "x"), "is no address"),
    "foreign address": (("--host", "192.0.2.1", "--api-key", "x"), "cannot listen"),
    "port": (("--port", "70000"), "port = 70000"),
    "key": (("--api-key", "a b"), "without blanks"),
    "origin": (("--allow-origin", "example.org"), "must be an origin, as https://"),
    "any origin": (("--allow-origin", "*"), "needs an API key"),
    "device": (("--device", "tpu"), "--device tpu: is none of this machine"),
    "no device": (("--device", "cuda:77"), "--device cuda:77: is none of this machine"),
    "two keys": (("--api-key", "a", "--api-key-file", "f"), "exclude one another"),
    "no key file": (("--api-key-file", "nowhere"), "nowhere: cannot be read"),
    "adapter": (("--adapter", "a"), "--adapter a: write NAME=FILE"),
    "no adapter": (("--port", "0", "--adapter", "a=nowhere"), "nowhere: no such file"),
    "state": (("--state", "=x"), "--state =x: write NAME=FILE"),
    "rows": (("--max-rows", "0"), "max_rows = 0"),
    "limit": (("--max-tokens", "0"), "max_tokens = 0"),
    "temperature": (("--temperature", "-1"), "temperature = -1.0"),
    "template": (("--port", "0", "--template", "nowhere"), "nowhere: cannot be read"),
}


@pytest.mark.parametrize(("options", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(
    options: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["eyas", "serve", str(BASE), *options])
    assert main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("eyas: ")
    assert err.count("\n") == 1
    assert said in err


def test_a_port_that_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        monkeypatch.setattr(sys, "argv", ["eyas", "serve", str(BASE), "--port", port])
        assert main() == 2
    assert f"127.0.0.1:{port}: cannot listen there" in capsys.readouterr().err


def test_missing_libraries_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("eyas.cli.serve.find_spec", lambda name: None if name == "uvicorn" else 1)
    monkeypatch.setattr(sys, "argv", ["eyas", "serve", "m.pth"])
    assert main() == 2
    assert "eyas serve needs uvicorn; say: pip install 'eyas[serve]'" in capsys.readouterr().err
