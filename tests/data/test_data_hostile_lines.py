"""Lines of .jsonl files as they come from users: refused with the place and a next step."""

from pathlib import Path

import pytest
from documents import lines, problem, scanned, written

A, B = {"text": "a"}, {"text": "b"}
TURN = '{"messages": [{"role": "user", "content": "u"}, %s]}'

# a line, how its error begins, and what it goes on to say
REFUSED = {
    "bad UTF-8 in line 2": (
        b'{"text": "\xe4\xbd"}',
        "is not UTF-8 (byte 0xe4 at offset 24)",
        "--encoding",
    ),
    "a trailing comma": ('{"text": "a",}', "bad JSON (", "mend"),
    "two records in a line": (
        '{"text": "a"} {"text": "b"}',
        "bad JSON (Extra data at column 15)",
        "each line holds one",
    ),
    "a Python dict": ("{'text': 'a'}", "bad JSON: single quotes", "json.dumps"),
    "a raw control character": ('{"text": "a\tb"}', "bad JSON (Invalid control", "mend"),
    "a raw NUL": (b'{"text": "a\0b"}', "bad JSON (Invalid control", "mend"),
    "deep nesting": ("[" * 200_000, "bad JSON: a number or a nesting", "smaller"),
    "a number too long": ('{"text": %s}' % ("1" * 50_000), "bad JSON: a number", "smaller"),
    "a key twice": ('{"text": "a", "text": "b"}', "has the key 'text' twice", "keep one"),
    "a string": ('"a"', "is a string ('a'), not an object", "each record must be"),
    "a list": ('["a"]', "is a list, not an object", "must be"),
    "null": ("null", "is null, not an object", "must be"),
    "an empty object": ("{}", "is no record that eyas knows (its fields: none)", "--map"),
    "other fields": (
        '{"foo": "a", "bar": 1}',
        "is no record that eyas knows (its fields: ['foo', 'bar'])",
        "--map",
    ),
    "a field mistyped": ('{"txt": "a"}', "is no record", "did you mean 'text'?"),
    "null as a text": ('{"text": null}', '"text" is null, not a string', "make it one"),
    "NaN as a text": ('{"text": NaN}', '"text" is a number, not a string', "make it one"),
    "1e999 as a text": ('{"text": 1e999}', '"text" is a number', "make it one"),
    "a list as a text": ('{"text": ["a"]}', '"text" is a list', "make it one"),
    "an empty text": (r'{"text": " \n\u3000"}', '"text" is empty', "remove it or fill"),
    "a lone surrogate": (
        r'{"text": "ab\ud83d"}',
        "\"text\" has half a surrogate pair ('\\ud83d') at character 3",
        "write the whole",
    ),
    "text and messages": (
        '{"text": "a", "messages": []}',
        'has "text" and "messages"',
        "--map messages:messages",
    ),
    "two questions": (
        '{"prompt": "a", "question": "b", "answer": "c"}',
        'has "prompt", "question" and "answer"',
        "--map prompt:user,answer:assistant",
    ),
    "no messages": ('{"messages": []}', '"messages" is empty, not a list', "it must be [{"),
    "a message that is a text": (
        '{"messages": ["a"]}',
        "message 1: is 'a', not an object",
        "a turn is {",
    ),
    "a message without a role": (
        TURN % '{"content": "a"}',
        'message 2: has no "role" and "content" (found: [\'content\'])',
        "give both",
    ),
    "a role mistyped": (
        TURN % '{"role": "assistent", "content": "a"}',
        "message 2: has the role 'assistent'",
        "did you mean 'assistant'?",
    ),
    "a role that is a list": (
        TURN % '{"role": ["user"], "content": "a"}',
        "message 2: has the role ['user']",
        "accepted are system",
    ),
    "null as a content": (
        TURN % '{"role": "assistant", "content": null}',
        'message 2: "content" is null',
        "make it one",
    ),
    "an object as a content": (
        TURN % '{"role": "assistant", "content": {"a": 1}}',
        'message 2: "content" is an object',
        "make it one",
    ),
    "an empty content": (
        TURN % '{"role": "assistant", "content": " "}',
        'message 2: "content" is empty',
        "fill it in",
    ),
    "a picture": (
        TURN % '{"role": "user", "content": [{"type": "image_url"}]}',
        "message 2: has a part that is no text ('image_url')",
        "texts only",
    ),
}


@pytest.mark.parametrize(("line", "begin", "then"), REFUSED.values(), ids=REFUSED)
def test_a_bad_line_among_good_ones(
    tmp_path: Path, line: str | bytes, begin: str, then: str
) -> None:
    raw = line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass")
    path = written(tmp_path / "d.jsonl", lines(A, raw, B))
    said = problem(path)
    assert said.startswith(f"d.jsonl:2: {begin}")
    assert then in said[len(begin) :]
    assert len(said) < 500
    found = scanned(path)
    assert list(found) == ["d.jsonl:1", "d.jsonl:2", "d.jsonl:3"]
    assert (found["d.jsonl:1"], found["d.jsonl:3"]) == ("a", "b")
