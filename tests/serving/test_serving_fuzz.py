"""Requests drawn at random around good ones: each is answered, and none shows a fault."""

import copy
import http.client
import json
import random
import socket
from collections.abc import Callable
from typing import Any

from eyas.serving.limits import CapacityConfig, LimitsConfig

STATUSES = (200, 400, 403, 404, 405, 408, 413, 415)
VALUES, HEADS = 200, 100  # requests of each kind
LIMITS = LimitsConfig(max_tokens=4, max_prompt_tokens=600, max_body_kib=16, body_seconds=0.2)
GOOD: dict[str, dict[str, Any]] = {
    "/v1/completions": {
        "model": "base", "prompt": ["The cat", [1, 2, 3]], "max_tokens": 2, "n": 2, "stop": ["\n"],
        "seed": 1, "temperature": 0.5, "top_p": 0.9, "logprobs": 2, "echo": True,
        "logit_bias": {"5": -3}, "stream": False, "stream_options": {"include_usage": True},
        "presence_penalty": 0.1, "frequency_penalty": 0, "user": "me",
    },
    "/v1/chat/completions": {
        "model": "base", "max_tokens": 2, "n": 1, "stop": None, "logprobs": True,
        "top_logprobs": 1, "reasoning_effort": "low", "stream": True,
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "猫"}]},
            {"role": "assistant", "content": "a", "reasoning_content": "b", "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "1", "content": "c"},
            {"role": "user", "content": "d"},
        ],
        "tools": [], "response_format": {"type": "text"}, "top_k": 3, "penalty_decay": 0.5,
    },
}  # fmt: skip
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 5, 2**31, 2**63, 2**70, -(2**70), 1e308, -1e308, 1e-320, 0.5, "",
    "a", "\x00", "\ud83d", "\udc00x", "🦅" * 50, "\n\n", "</think>", "{{ 1/0 }}", [], [[]], [[[]]],
    {}, {"a": {}}, {"": 1}, [1, "a"], ["a", "b"], [None], [[1], [2, 3]], [True], [1.0], [256],
    [257], {"type": "text"}, {"type": "image_url"}, "a" * 700, ["a"] * 70, 
    {str(i): 0 for i in range(300)},
]  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a value, with each of its keys."""
    keys = value if isinstance(value, dict) else range(len(value))
    if not isinstance(value, (dict, list)):
        return []
    found = [(value, key) for key in keys]
    inner = [places(value[key]) for key in keys if isinstance(value[key], (dict, list))]
    return found + [place for each in inner for place in each]


def odd(draw: random.Random) -> Any:
    return copy.deepcopy(draw.choice(ODD))


def changed(draw: random.Random, good: dict[str, Any]) -> bytes:
    body = copy.deepcopy(good)
    for _ in range(draw.choice([1, 1, 2, 4])):
        if not (there := places(body)):
            break
        container, key = draw.choice(there)
        kind = draw.random()
        if kind < 0.7:
            container[key] = odd(draw)
        elif kind < 0.85:
            del container[key]
        elif isinstance(container, dict):
            container[draw.choice(["odd\n", "", "é", "Model", "a" * 300])] = odd(draw)
        else:
            container.extend([odd(draw) for _ in range(draw.randint(1, 40))])
    data = bytearray(json.dumps(body, ensure_ascii=draw.random() < 0.5).encode(errors="replace"))
    return bytes(scratched(draw, data) if draw.random() < 0.2 else data)


def scratched(draw: random.Random, data: bytearray) -> bytearray:
    """With a few bytes replaced, left out or put in."""
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(data))
        data[at : at + draw.randint(0, 2)] = draw.choice(
            [b"", bytes([draw.randrange(256)]), b"\r\n", b"\x00", b'"', b"\xff\xfe", b"]" * 9]
        )
    return data


def test_values(start: Callable[..., Any], served: dict[str, Any], faults: list[str]) -> None:
    draw, seen = random.Random(0), set()
    with start(served, limits=LIMITS) as running:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
        for _ in range(VALUES):
            path = draw.choice(list(GOOD))
            body = changed(draw, GOOD[path])
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()  # UTF-8 whatever was sent
            assert response.status in (200, 400, 404, 413), (body, text)
            seen.add(response.status)
            if response.status != 200:
                error = json.loads(text)["error"]
                assert set(error) == {"message", "type", "param", "code"}
                assert error["message"].isprintable(), body
                assert len(error["message"]) < 1000
            elif text.startswith("data: "):
                assert text.endswith("data: [DONE]\n\n")
                assert '"error"' not in text, body
        connection.close()
    assert {200, 400, 404} <= seen
    assert not faults


def test_heads(start: Callable[..., Any], served: dict[str, Any], faults: list[str]) -> None:
    draw, seen = random.Random(0), []
    with start(served, CapacityConfig(prefix_mib=1), LIMITS) as running:
        for _ in range(HEADS):
            path = draw.choice(list(GOOD))
            body = json.dumps(GOOD[path]).encode()
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            data = scratched(draw, bytearray(head.encode()))
            with socket.create_connection(("127.0.0.1", running.port), timeout=30) as client:
                try:
                    client.sendall(bytes(data) + body)
                    answer = http.client.HTTPResponse(client)
                    answer.begin()
                    answer.read()
                except (ConnectionError, http.client.RemoteDisconnected):
                    continue  # it was told off while it still sent, or had nothing complete to say
            assert answer.status in STATUSES, data
            seen.append(answer.status)
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
        connection.request("GET", "/v1/models")
        assert connection.getresponse().status == 200
        connection.close()
    assert seen.count(400) > HEADS // 10
    assert not faults
