"""Requests of every kind that is wrong, clients that are slow or go away: all are answered, and the
server is alive afterwards."""

import http.client
import json
import socket
import time
from typing import Any

import pytest

from eyas.serving.limits import CapacityConfig, LimitsConfig

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
GOOD: dict[str, Any] = {"model": "base", "prompt": "a", "max_tokens": 1}
TALK: dict[str, Any] = {
    "model": "base", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1,
}  # fmt: skip
JSON = {"Content-Type": "application/json"}


def asked(
    port: int, path: str, body: bytes, headers: dict[str, str] = JSON, method: str = "POST"
) -> tuple[int, dict[str, Any], dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), dict(response.getheaders())
    finally:
        connection.close()


def refused(port: int, path: str, body: bytes, **more: Any) -> tuple[int, str]:
    """Status and message of an error in OpenAI's format."""
    status, content, _ = asked(port, path, body, **more)
    assert set(content) == {"error"}
    assert set(content["error"]) == {"message", "type", "param", "code"}
    assert "\n" not in content["error"]["message"]
    return status, content["error"]["message"]


def alive(port: int) -> bool:
    return asked(port, TEXT, json.dumps(GOOD).encode())[0] == 200


WRONG: dict[str, tuple[str, Any, str]] = {
    "no field": (TEXT, {"model": "base"}, "'prompt' is missing"),
    "no model": (TEXT, {"prompt": "a"}, "'model' is missing"),
    "unknown field": (TEXT, {**GOOD, "temprature": 1}, "did you mean 'temperature'"),
    "n as text": (TEXT, {**GOOD, "n": "2"}, "'n' must be a valid integer"),
    "n true": (TEXT, {**GOOD, "n": True}, "'n' must be a valid integer"),
    "n 0": (TEXT, {**GOOD, "n": 0}, "'n' must be greater than or equal to 1"),
    "n large": (TEXT, {**GOOD, "n": 10**6}, "'n' = 1000000 is more than the 32"),
    "temperature": (TEXT, {**GOOD, "temperature": -1}, "temperature = -1.0 must be 0 or from"),
    "temperature huge": (TEXT, {**GOOD, "temperature": 10**400}, "'temperature'"),
    "top_p": (TEXT, {**GOOD, "top_p": 2}, "top_p = 2.0 must be from 0 to 1"),
    "max_tokens": (TEXT, {**GOOD, "max_tokens": 10**9}, "above 4096, this server's limit"),
    "seed": (TEXT, {**GOOD, "seed": 2**64}, "'seed'"),
    "stop": (TEXT, {**GOOD, "stop": [1]}, "'stop' must be a text or a list of texts"),
    "empty stop": (TEXT, {**GOOD, "stop": ""}, "empty text"),
    "stops": (TEXT, {**GOOD, "stop": ["a"] * 99}, "at most 16"),
    "prompt": (TEXT, {**GOOD, "prompt": {}}, "'prompt' must be a text"),
    "no prompt": (TEXT, {**GOOD, "prompt": []}, "'prompt' must be a text"),
    "prompts": (TEXT, {**GOOD, "prompt": ["a"] * 1000}, "at most 64"),
    "token": (TEXT, {**GOOD, "prompt": [1, 257]}, "holds token 257; there are 0 to 256"),
    "token below": (TEXT, {**GOOD, "prompt": [-1]}, "holds token -1"),
    "long prompt": (TEXT, {**GOOD, "prompt": "a" * 40000}, "40000 tokens, above 32768"),
    "surrogate": (TEXT, {**GOOD, "prompt": "\ud800"}, "half a surrogate pair, \\ud800"),
    "logprobs": (TEXT, {**GOOD, "logprobs": 21}, "'logprobs' must be less than or equal to 20"),
    "echo": (
        TEXT, {**GOOD, "echo": True, "logprobs": 1, "prompt": ["a" * 20000] * 2}, "40000 tokens",
    ),
    "answers": (TEXT, {**GOOD, "prompt": ["a"] * 60, "n": 30}, "for 1800 answers; at most 64"),
    "suffix": (TEXT, {**GOOD, "suffix": "b"}, "'suffix' is not supported"),
    "model": (TEXT, {**GOOD, "model": 3}, "'model' must be a valid string"),
    "messages": (CHAT, {**TALK, "messages": "hi"}, "'messages' must be a valid list"),
    "no messages": (CHAT, {**TALK, "messages": []}, "'messages'"),
    "role": (CHAT, {**TALK, "messages": [{"role": "king", "content": ""}]}, "'messages.0.role'"),
    "message": (CHAT, {**TALK, "messages": [3]}, "'messages.0'"),
    "image": (
        CHAT,
        {**TALK, "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "a part of type 'image_url'",
    ),
    "talk surrogate": (
        CHAT, {**TALK, "messages": [{"role": "user", "content": "\udc00"}]}, "half a surrogate",
    ),
    "tool call": (
        CHAT, {**TALK, "messages": [{"role": "assistant", "tool_calls": [{}]}]}, "no \"name\"",
    ),
    "tools": (CHAT, {**TALK, "tools": [{"type": "function"}]}, "'tools' is not supported"),
    "format": (CHAT, {**TALK, "response_format": {"type": "json_object"}}, "not supported"),
    "bias": (CHAT, {**TALK, "logit_bias": {"a": 3}}, "'logit_bias' holds 'a', which is no token"),
    "bias below": (CHAT, {**TALK, "logit_bias": {"-1": 3}}, "'-1', which is no token number"),
    "bias beyond": (CHAT, {**TALK, "logit_bias": {"257": 3}}, "holds token 257; there are 0 to"),
    "bias large": (CHAT, {**TALK, "logit_bias": {"1": 101}}, "numbers from -100 to 100"),
    "bias list": (CHAT, {**TALK, "logit_bias": [1]}, "'logit_bias' must be an object"),
    "top": (CHAT, {**TALK, "top_logprobs": 2}, "goes with logprobs = true"),
    "effort": (CHAT, {**TALK, "reasoning_effort": "much"}, "'reasoning_effort' must be"),
    "options": (CHAT, {**TALK, "stream_options": {"usage": True}}, "'stream_options.usage'"),
    "two": (TEXT, {**GOOD, "n": "x", "echo": "y"}, "'n' must be a valid integer"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "body", "said"), WRONG.values(), ids=WRONG)
def test_wrong_values_are_named(running, path: str, body: Any, said: str) -> None:
    status, message = refused(running.port, path, json.dumps(body).encode())
    assert status == 400
    assert said in message
    assert len(message) < 400


BODIES = {
    "empty": (b"", "the body is no JSON"),
    "no JSON": (b"{", "the body is no JSON"),
    "a list": (b"[]", "must be a JSON object"),
    "a number": (b"3", "must be a JSON object"),
    "UTF-16": (json.dumps(GOOD).encode("utf-16"), "not UTF-8 at byte 0"),
    "broken UTF-8": (b'{"model": "\xff"}', "not UTF-8 at byte 11"),
    "NaN": (b'{"temperature": NaN}', "NaN is no JSON number"),
    "deep": (b'{"a":' + b"[" * 100_000, "the body is no JSON"),
    "digits": (b'{"n": ' + b"9" * 10_000 + b"}", "the body is no JSON"),
    "two objects": (b"{}{}", "the body is no JSON"),
}


@pytest.mark.parametrize(("body", "said"), BODIES.values(), ids=BODIES)
def test_what_is_no_request(running, body: bytes, said: str) -> None:
    for path in (CHAT, TEXT):
        status, message = refused(running.port, path, body)
        assert (status, said in message) == (400, True), message


def test_other_mistakes_of_http(running) -> None:
    port, body = running.port, json.dumps(GOOD).encode()
    assert refused(port, "/v1/nothing", body)[0] == 404
    assert refused(port, TEXT, b"", method="GET")[0] == 405
    status, message = refused(port, TEXT, body, headers={"Content-Type": "text/plain"})
    assert (status, "application/json" in message) == (415, True)
    status, message = refused(port, TEXT, body, headers={**JSON, "Host": "evil.example:80"})
    assert (status, "localhost" in message) == (403, True)
    assert refused(port, TEXT, json.dumps({**GOOD, "model": "x"}).encode())[0] == 404
    assert asked(port, TEXT, body, headers={**JSON, "Host": "localhost"})[0] == 200
    assert asked(port, TEXT, body, headers={**JSON, "Host": "[::1]:99"})[0] == 200


def test_bodies_that_are_too_large(start, served) -> None:
    with start(served, limits=LimitsConfig(max_body_kib=2)) as running:
        large = json.dumps({**GOOD, "prompt": "a" * 5_000_000}).encode()
        status, message = refused(running.port, TEXT, large)
        assert (status, "2,048 bytes" in message) == (413, True)

        def parts():
            for _ in range(200):
                yield b" " * 1000

        status, _ = refused(running.port, TEXT, parts(), headers=JSON)
        assert status == 413
        assert alive(running.port)


def test_slow_clients(start, served) -> None:
    with start(served, limits=LimitsConfig(body_seconds=0.4)) as running:

        def sent(data: bytes) -> bytes:
            with socket.create_connection(("127.0.0.1", running.port), timeout=20) as client:
                client.sendall(data)
                assert alive(running.port)
                return b"".join(iter(lambda: client.recv(9999), b""))

        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        more = b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        late = sent(head + more)
        assert late.startswith(b"HTTP/1.1 408")
        assert b"did not arrive within 0.4 seconds" in late
        assert sent(head) == b""
        assert sent(b"") == b""
        assert sent(b"\x16\x03\x01 no HTTP\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_clients_that_do_not_read(start, served, await_, faults) -> None:
    """Their connection is ended, and so is what they asked for."""
    long = {"model": "base", "prompt": "\x01" * 2000, "max_tokens": 4000, "echo": True, "n": 8}
    with start(served, limits=LimitsConfig(body_seconds=0.3)) as running:
        running.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", running.port))
        body = json.dumps({**long, "logit_bias": {"0": -100}, "stream": True}).encode()
        head = f"POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        client.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        await_(lambda: gauge(running.port, "eyas_rows") == 8)
        await_(lambda: gauge(running.port, "eyas_requests_cancelled_total") == 1)
        await_(lambda: gauge(running.port, "eyas_rows") == 0)
        client.close()
    assert not faults


def test_an_upload_that_breaks_off_is_no_fault(running, await_, faults) -> None:
    name = 'eyas_requests_total{path="/v1/completions",status="499"}'
    head = f"POST {TEXT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.sendall(head.encode() + b"Content-Length: 99\r\n\r\n{")
    await_(lambda: gauge(running.port, name) == 1)
    assert not faults


def test_what_costs_much_to_refuse_is_refused_at_once(running) -> None:
    """Each of these took many seconds, and gigabytes, when every mistake was looked for."""
    messages = b'{"model": "base", "messages": ['
    bodies = {
        "'messages.0'": messages + b"1," * 200_000 + b"1]}",
        "'messages.0.role'": messages + b"{}," * 150_000 + b"{}]}",
        "'messages.0.tool_calls.0'": (
            messages + b'{"role": "user", "tool_calls": [' + b"1," * 200_000 + b"1]}]}"
        ),
        "object of 80001 fields": b'{"a": 0'
        + b"".join(b',"%d":1' % i for i in range(80_000))
        + b"}",
    }
    for said, body in bodies.items():
        begun = time.monotonic()
        status, message = refused(running.port, CHAT, body)
        assert (status, said in message) == (400, True), message
        assert time.monotonic() - begun < 5


def test_clients_that_go_away_free_their_places(start, served, await_) -> None:
    long = {"model": "base", "prompt": "a", "max_tokens": 4000, "temperature": 0}
    with start(served, CapacityConfig(max_rows=1)) as running:
        for stream in (True, False):
            connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
            connection.request("POST", TEXT, json.dumps({**long, "stream": stream}).encode(), JSON)
            if stream:
                assert connection.getresponse().read(20).startswith(b"data: {")
            else:
                await_(lambda: gauge(running.port, "eyas_rows") == 1)
            connection.sock.close() if connection.sock else None
            connection.close()
            begun = time.monotonic()
            assert alive(running.port)
            assert time.monotonic() - begun < 10
        await_(lambda: gauge(running.port, "eyas_requests_cancelled_total") == 2)
        assert gauge(running.port, "eyas_rows") == 0


def test_a_full_queue_says_when_to_come_again(start, served, await_) -> None:
    long = {"model": "base", "prompt": "a", "max_tokens": 4000, "stream": True}
    with start(served, CapacityConfig(max_rows=1, max_queue=1)) as running:
        waiting = []
        for place in ("eyas_rows", "eyas_queue_length"):
            client = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
            client.request("POST", TEXT, json.dumps(long).encode(), JSON)
            waiting.append(client)
            await_(lambda place=place: gauge(running.port, place) == 1)
        status, content, headers = asked(running.port, TEXT, json.dumps(GOOD).encode())
        assert (status, content["error"]["code"]) == (429, "queue_full")
        assert headers["retry-after"] == "3"
        for client in waiting:
            client.close()
        await_(lambda: gauge(running.port, "eyas_queue_length") == 0)
        assert alive(running.port)


def gauge(port: int, name: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    found = (float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} "))
    return next(found, 0.0)
