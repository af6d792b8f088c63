"""Records of every shape, recognized by themselves or by --map."""

import json
from pathlib import Path

import pytest
from documents import jsonl, problem, read, spans, texts

from eyas.data.instructions import instruction_spans
from eyas.data.reading import ReadConfig, Span

ASKED = (Span("User: q\n\nAssistant:", False), Span(" r", True))
BOTH = "User: i\nx\n\nAssistant: o"
OLD = "Instruction: i\nInput: x\nResponse: r"


def turn(role: str, content: object, **more: object) -> dict[str, object]:
    return {"role": role, "content": content, **more}


SHAPES = {
    "query and response": {"query": "q", "response": "r"},
    "question and answer": {"question": "q", "answer": "r", "id": 7},
    "prompt and completion": {"prompt": "q", "completion": "r"},
    "input and output": {"input": "q", "output": "r"},
    "input and target": {"kind": "NLI", "input": "q", "target": "r"},
    "alpaca without an input": {"instruction": "q", "input": "", "output": "r"},
    "alpaca with null": {"instruction": "q", "input": None, "output": "r", "history": None},
    "alpaca with input alone": {"instruction": "", "input": "q", "output": "r"},
    "Chinese": {"问题": "q", "答案": "r"},
    "Chinese alpaca": {"指令": "q", "输入": "", "输出": "r"},
    "capitals": {"Question": "q", "Answer": "r"},
    "a prompt beside": {"prompt": "?", "messages": [turn("user", "q"), turn("assistant", "r")]},
    "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "r"}]},
    "roles in conversations": {"conversation": [turn("user", "q"), turn("assistant", "r")]},
    "names of roles": {"messages": [turn(" Human ", "q"), turn("MODEL", "r")]},
    "parts": {
        "messages": [turn("user", [{"type": "text", "text": "q"}]), turn("assistant", ["r"])]
    },
    "as a JSON text": {"messages": json.dumps([turn("user", "q"), turn("assistant", "r")])},
    "turns in prompt and completion": {
        "prompt": [turn("user", "q")],
        "completion": [turn("assistant", "r")],
    },
    "nulls of tables": {
        "text": None,
        "messages": [turn("user", "q", tool_calls=None), turn("assistant", "r", name=None)],
    },
}


@pytest.mark.parametrize("record", SHAPES.values(), ids=SHAPES)
def test_shapes(tmp_path: Path, record: dict[str, object]) -> None:
    assert spans(record, tmp_path) == ASKED


def test_what_stands_beside_a_question(tmp_path: Path) -> None:
    records = [
        {"instruction": "i", "input": "x", "output": "o"},
        {"instruction": "i", "context": "x", "response": "o", "category": "c"},
        {"system": "s", "instruction": "i", "input": "x", "output": "o"},
        {"system_prompt": "s", "question": "q", "response": "r"},
        {"system": "s", "conversations": [{"from": "human", "value": "q"}]},
        {"system": "s", "messages": [turn("system", "t"), turn("user", "q")]},
        {"instruction": "i", "output": "o", "history": [["a", "b"], ["c", "d"]], "system": "s"},
    ]
    assert texts(jsonl(tmp_path, *records)) == [
        BOTH,
        BOTH,
        f"System: s\n\n{BOTH}",
        "System: s\n\nUser: q\n\nAssistant: r",
        "System: s\n\nUser: q",
        "System: t\n\nUser: q",
        "System: s\n\nUser: a\n\nAssistant: b\n\nUser: c\n\nAssistant: d\n\n"
        "User: i\n\nAssistant: o",
    ]


def test_thinking_and_tools(tmp_path: Path) -> None:
    call = {"id": "1", "function": {"name": "f", "arguments": '{"x": 1}'}}
    tool = {"name": "f", "description": "d", "parameters": {"properties": {"x": {"type": "int"}}}}
    record = {
        "tools": json.dumps([{"type": "function", "function": tool}]),
        "messages": [
            turn("user", "q"),
            turn("assistant", None, tool_calls=[call], reasoning_content="why"),
            turn("tool", '{"y": 2}', tool_call_id="1"),
            turn("assistant", "r", thinking=""),
        ],
    }
    (document,) = read(jsonl(tmp_path, record))
    told = '{"name":"f","description":"d","arguments":{"x":{"type":"int"}}}'
    assert [(span.text, span.trained) for span in document.spans] == [
        (
            f"System: Tools:\n[\n{told}\n]\nReturn only a JSON function call.\n\n"
            "User: q\n\nAssistant:",
            False,
        ),
        (
            ' <think>\nwhy\n</think>\n```json\n{"name":"f","arguments":{"x":1}}\n```\n\n',
            True,
        ),
        ('User: Function output:\n{"y": 2}\n\nAssistant:', False),
        (" <think>\n</think>\nr", True),
    ]


def test_the_older_form_of_calls(tmp_path: Path) -> None:
    call = {"name": "f", "arguments": '{"x": 1}'}
    record = {
        "functions": [{"name": "f", "parameters": {"properties": {"x": {"type": "int"}}}}],
        "messages": [
            turn("user", "q"),
            turn("assistant", None, function_call=call),
            turn("function", "7", name="f"),
            turn("assistant", "r"),
        ],
    }
    told = '{"name":"f","arguments":{"x":{"type":"int"}}}'
    assert texts(jsonl(tmp_path, record)) == [
        f"System: Tools:\n[\n{told}\n]\nReturn only a JSON function call.\n\nUser: q\n\n"
        'Assistant: ```json\n{"name":"f","arguments":{"x":1}}\n```\n\n'
        "User: Function output:\n7\n\nAssistant: r"
    ]


def test_turns_of_weight_0_are_only_read(tmp_path: Path) -> None:
    said = [turn("user", "a"), turn("assistant", "b", weight=0), turn("user", "c")]
    weighed = {"messages": [*said, turn("assistant", "d", weight=1)]}
    assert spans(weighed, tmp_path) == (
        Span("User: a\n\nAssistant: b\n\nUser: c\n\nAssistant:", False),
        Span(" d", True),
    )
    bad = {"messages": [turn("user", "a"), turn("assistant", "b", weight=0.5)]}
    expected = 'data.jsonl:1: message 2: "weight" is 0.5; it must be 1, trained, or 0'
    assert problem(jsonl(tmp_path, bad)) == expected


def test_sharegpt_calls(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "q"},
        {"from": "function_call", "value": '{"name": "f", "arguments": {}}'},
        {"from": "observation", "value": "7"},
        {"from": "gpt", "value": "r"},
    ]
    assert texts(jsonl(tmp_path, {"conversations": turns, "tools": "[]"})) == [
        'User: q\n\nAssistant: ```json\n{"name":"f","arguments":{}}\n```\n\n'
        "User: Function output:\n7\n\nAssistant: r"
    ]


@pytest.mark.parametrize(
    ("entries", "record", "expected"),
    [
        (("a:user,b:assistant",), {"a": "q", "b": "r", "text": "t"}, ASKED),
        (("a:user", "b:assistant"), {"a": "q", "b": "r"}, ASKED),
        ((" a : user , b : assistant ",), {"a": "q", "b": "r"}, ASKED),
        (("a:b:user,c:assistant",), {"a:b": "q", "c": "r"}, ASKED),
        (("turns:messages",), {"turns": [turn("user", "q"), turn("assistant", "r")]}, ASKED),
        (("body:text",), {"body": "q", "text": "t"}, (Span("q", True),)),
        (("a:user,c:user,b:assistant",), {"a": "q", "c": None, "b": "r"}, ASKED),
        (("s:system,a:user,b:assistant",), {"a": "q", "b": "r"}, ASKED),
    ],
)
def test_map(
    tmp_path: Path, entries: tuple[str, ...], record: dict[str, object], expected: object
) -> None:
    assert spans(record, tmp_path, ReadConfig(map=entries)) == expected


def test_map_of_many_turns(tmp_path: Path) -> None:
    config = ReadConfig(map=("s:system,a:user,b:user,t:thinking,c:assistant,d:user,e:assistant",))
    record = {"s": "S", "a": "A", "b": "B", "t": "T", "c": "C", "d": "D", "e": "E"}
    assert texts(jsonl(tmp_path, record), config) == [
        "System: S\n\nUser: A\nB\n\nAssistant: <think>\nT\n</think>\nC\n\nUser: D\n\nAssistant: E"
    ]
    del record["s"], record["t"], record["b"]
    assert texts(jsonl(tmp_path, record), config) == [
        "User: A\n\nAssistant: C\n\nUser: D\n\nAssistant: E"
    ]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            {"prompts": "q", "answer": "r"},
            "has no \"prompt\" (its fields: ['prompts', 'answer']); give it; did",
        ),
        ({"prompt": "q"}, "has no \"answer\" (its fields: ['prompt']); give it"),
        ({"Prompt": "q"}, 'has no "prompt" and "answer", which --map names (its fields: [\'Pro'),
        ({"prompt": "q", "answer": 7}, '"answer" is a number, not a string'),
        ({"prompt": "", "answer": "r"}, '"prompt" is empty; remove it or fill it in'),
    ],
)
def test_records_that_do_not_fit_the_map(
    tmp_path: Path, record: dict[str, object], expected: str
) -> None:
    said = problem(jsonl(tmp_path, record), ReadConfig(map=("prompt:user,answer:assistant",)))
    assert said.startswith(f"data.jsonl:1: {expected}")
    if "Prompt" in record:
        assert said.endswith("did you mean 'Prompt'?")


def test_fields_that_contradict_each_other(tmp_path: Path) -> None:
    record = {"instruction": "i", "input": "x", "output": "o", "text": "t"}
    said = problem(jsonl(tmp_path, record))
    assert said.startswith(
        'data.jsonl:1: has "text", "instruction" and "output"; say which of them'
    )
    advised = said.rpartition("--map ")[2]
    assert texts(jsonl(tmp_path, record), ReadConfig(map=(advised,))) == [BOTH]
    config = ReadConfig(map=("turns:messages,tools:tools",))
    assert problem(jsonl(tmp_path, {"tools": "[]"}), config).startswith(
        "data.jsonl:1: has no \"turns\" (its fields: ['tools']); give it"
    )


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (("prompt",), "map entry 'prompt' is not FIELD:ROLE; write --map prompt:user,"),
        ((":user",), "map entry ':user' is not FIELD:ROLE"),
        (("a:usr",), "map entry 'a:usr': 'usr' is none of text, messages, system, user, "),
        (("a:usr",), "; did you mean 'user'?"),
        (("a:text,b:user",), "map makes a record text and user; one text is all of it"),
        (("a:text,b:text",), "map makes a record text and text; one text is all of it"),
        (("a:messages,b:user",), "map makes a record messages and user; one messages is all"),
        (("a:system,b:tools",), "map names no text, messages, user or assistant; write"),
    ],
)
def test_maps_that_cannot_be_meant(entries: tuple[str, ...], expected: str) -> None:
    with pytest.raises(ValueError, match=r"^map ") as caught:
        ReadConfig(map=entries)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ("a", '"history" is a string, not a list; it must be [["question", "answer"], ...]'),
        ([["a"]], '"history" has a list at 1; it must be [["question", "answer"], ...]'),
        ([["a", "b"], ["c", None]], '"history" at 2 is null, not a string'),
    ],
)
def test_bad_histories(tmp_path: Path, history: object, expected: str) -> None:
    record = {"instruction": "i", "output": "o", "history": history}
    assert problem(jsonl(tmp_path, record)).startswith(f"data.jsonl:1: {expected}")


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ("f", '"tools" is a string, not a list of objects'),
        (["f"], '"tools" is a list, not a list of objects'),
    ],
)
def test_bad_tools(tmp_path: Path, tools: object, expected: str) -> None:
    record = {"messages": [turn("user", "q")], "tools": tools}
    assert problem(jsonl(tmp_path, record)).startswith(f"data.jsonl:1: {expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OLD, [("Instruction: i\nInput: x\nResponse:", False), (" r", True)]),
        ("### Instruction:\ni\n\n### Response:\nr\nInput: y",
         [("### Instruction:\ni\n\n### Response:", False), ("\nr\nInput: y", True)]),
        ("p\nInstruction: a\nResponse: b\nInstruction: c\nResponse: d",
         [("p\nInstruction: a\nResponse:", False), (" b\n", True),
          ("Instruction: c\nResponse:", False), (" d", True)]),
        ("Instruction: i", []),
        ("Response: r", []),
        ("An Instruction: i\nResponse: r", []),
        ("", []),
    ],
)  # fmt: skip
def test_old_instructions(text: str, expected: list[tuple[str, bool]]) -> None:
    found = instruction_spans(text)
    assert [(span.text, span.trained) for span in found] == expected
    assert "".join(span.text for span in found) == (text if expected else "")


def test_old_instructions_are_texts_and_their_responses_answers(tmp_path: Path) -> None:
    assert spans({"text": OLD}, tmp_path) == (Span(OLD, True),)
    trained = (Span("Instruction: i\nInput: x\nResponse:", False), Span(" r", True))
    assert spans({"text": OLD}, tmp_path, ReadConfig(mask="answers")) == trained
    assert spans({"text": OLD}, tmp_path, ReadConfig(data_type="sft")) == trained
