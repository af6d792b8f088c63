"""Documents from text files and folders, good ones."""

import gzip
from pathlib import Path

import pytest
import zstandard
from documents import CHAT, CHAT_SPANS, jsonl, lines, problem, read, scanned, texts, written

from eyas.data.reading import Document, ReadConfig, Span, read_documents, scan
from eyas.errors import UserError

TEXT = ReadConfig(data_type="txt")


def test_text_and_messages(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": " x\r\n\r\n\ny ", "id": 3}, CHAT, {"text": "Assistant: c"})
    assert read(path) == [
        Document((Span(" x\r\n\r\n\ny ", True),), "data.jsonl:1"),
        Document(CHAT_SPANS, "data.jsonl:2"),
        Document((Span("Assistant: c", True),), "data.jsonl:3"),
    ]


def test_masks(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "x\n\nAssistant: y"}, CHAT)
    whole = [(Span("x\n\nAssistant: y", True),), (Span("User: a\n\nAssistant: b", True),)]
    answers = [(Span("x\n\nAssistant:", False), Span(" y", True)), CHAT_SPANS]
    between = [
        (Span("x\n\nAssi", False), Span("st", True), Span("ant: y", False)),
        (Span("User: a\n\nAssi", False), Span("st", True), Span("ant: b", False)),
    ]
    for mask, expected in {
        "auto": [whole[0], CHAT_SPANS],
        "all": whole,
        "none": whole,
        "pad": whole,
        "answers": answers,
        "qa": answers,
    }.items():
        assert [each.spans for each in read(path, ReadConfig(mask=mask))] == expected
    found = read(path, ReadConfig(mask="se", mask_id=("Assi", "t")))
    assert [each.spans for each in found] == between


def test_sft_trains_the_answers_of_any_record(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "x\n\nAssistant: y"}, {"query": "a", "response": "b"})
    sft = ReadConfig(data_type="sft")
    answers = [(Span("x\n\nAssistant:", False), Span(" y", True)), CHAT_SPANS]
    assert [each.spans for each in read(path, sft)] == answers
    everything = ReadConfig(data_type="sft", mask="all")
    assert all(each.spans[0].trained for each in read(path, everything))


def test_blank_lines_keep_the_numbers(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"text": "a"}, b"", b" \t\r", {"text": "b"}, b"")
    assert scanned(path) == {"data.jsonl:1": "a", "data.jsonl:4": "b"}


def test_an_empty_system_message_is_left_out(tmp_path: Path) -> None:
    for empty in ("", None):
        turns = [{"role": "system", "content": empty}, *CHAT["messages"]]
        assert read(jsonl(tmp_path, {"messages": turns}))[0].spans == CHAT_SPANS


def test_a_template_file_is_used(tmp_path: Path) -> None:
    template = tmp_path / "chat.jinja"
    template.write_text(
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    (document,) = read(jsonl(tmp_path, CHAT), ReadConfig(template=template))
    assert document.spans == (Span("<user>a\n<assistant>", False), Span("b\n", True))


def test_what_a_template_refuses_has_a_place(tmp_path: Path) -> None:
    template = tmp_path / "chat.jinja"
    template.write_text("{{ raise_exception('no turns of users') }}")
    said = problem(jsonl(tmp_path, CHAT), ReadConfig(template=template))
    assert said.startswith("data.jsonl:1: ")
    assert "no turns of users" in said


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    path = written(tmp_path / "Book.TXT", b"\xef\xbb\xbfa\r\n\r\nb\r\n")
    assert read(path) == [Document((Span("a\n\nb\n", True),), "Book.TXT")]
    path = written(tmp_path / "chat.txt", b"User: a\r\n\r\nAssistant: b\r\n\r\nUser: c")
    spans = (Span("User: a\n\nAssistant:", False), Span(" b\n\n", True), Span("User: c", False))
    assert read(path, ReadConfig(mask="answers"))[0].spans == spans


def test_text_of_the_tutorial_types(tmp_path: Path) -> None:
    path = written(tmp_path / "input.dat", "a\r\né".encode("utf-16-le"))
    assert texts(path, ReadConfig(data_type="utf-16le")) == ["a\né"]
    path = written(tmp_path / "marked.dat", "a\r\né".encode("utf-16"))
    assert texts(path, ReadConfig(data_type="utf-16le")) == ["a\né"]
    path = written(tmp_path / "input.dat", "a\r\né".encode())
    assert texts(path, ReadConfig(data_type="utf-8")) == ["a\né"]


def test_dummy_sums_need_no_file() -> None:
    found = [
        each.spans[0].text for each in read_documents("nothing", ReadConfig(data_type="dummy"))
    ]
    assert found[:3] == [".0+0=0.", ".1+1=2.", ".2+4=6."]
    assert found[-1] == ".9999+1=10000."
    for text in found:
        left, right = text.removeprefix(".").removesuffix(".").split("=")
        assert sum(map(int, left.split("+"))) == int(right)
    assert len(set(found)) == 10_000


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_files_keep_their_kind(tmp_path: Path, suffix: str) -> None:
    pack = gzip.compress if suffix == ".gz" else zstandard.compress
    for name, content, expected in (
        ("d.jsonl", lines({"text": "a"}, {"text": "b"}), ["a", "b"]),
        ("d.json", b'[{"text": "a"}]', ["a"]),
        ("d.csv", b"text\na\nb\n", ["a", "b"]),
        ("d.tsv", b"question\tanswer\na, b\tc\n", ["User: a, b\n\nAssistant: c"]),
        ("d.txt", b"a\r\nb", ["a\nb"]),
    ):
        assert texts(written(tmp_path / f"{name}{suffix}", pack(content))) == expected


def test_long_compressed_files(tmp_path: Path) -> None:
    expected = [f"{number} " * 1000 for number in range(500)]
    content = lines(*[{"text": text} for text in expected])
    frames = zstandard.ZstdCompressor(write_content_size=False)
    half = len(content) // 2
    for name, packed in {
        "d.jsonl.gz": gzip.compress(content, 1),
        "d.jsonl.zst": frames.compress(content[:half]) + frames.compress(content[half:]),
    }.items():
        assert texts(written(tmp_path / name, packed)) == expected


def test_a_folder_is_read_by_name(tmp_path: Path) -> None:
    for name in ("b.txt", "a/b.txt", "a/c/d.TXT", "z/b.txt.gz", "10.txt", "2.txt"):
        written(tmp_path / name, name.encode())
    for name in (".git/x.txt", "a/.x/y.txt", "._b.txt", "note.md", "picture.png"):
        written(tmp_path / name, b"\0\xff")
    (tmp_path / "folder.txt").mkdir()
    expected = ["10.txt", "2.txt", "a/b.txt", "a/c/d.TXT", "b.txt", "z/b.txt.gz"]
    assert scanned(tmp_path) == dict(zip(expected, expected, strict=True))


def test_a_folder_of_records_of_several_kinds(tmp_path: Path) -> None:
    written(tmp_path / "a.jsonl", lines({"text": "1"}, {"text": "2"}))
    written(tmp_path / "b" / "c.csv", b"text\n3\n")
    written(tmp_path / "d.json", b'[{"text": "4"}]')
    written(tmp_path / "dataset_info.json", b"{}")
    assert scanned(tmp_path) == {
        "a.jsonl:1": "1",
        "a.jsonl:2": "2",
        "b/c.csv:2": "3",
        "d.json:1 record 1": "4",
    }
    assert texts(tmp_path, ReadConfig(data_type="csv")) == ["3"]
    assert f"{tmp_path.name}: holds no .parquet files" in problem(
        tmp_path, ReadConfig(data_type="parquet")
    )


def test_texts_beside_records_are_not_guessed_about(tmp_path: Path) -> None:
    written(tmp_path / "a.jsonl", lines({"text": "1"}))
    written(tmp_path / "LICENSE.txt", b"free")
    said = problem(tmp_path)
    assert "holds 1 .txt and 1 other data files; choose with --data-type" in said
    assert texts(tmp_path, TEXT) == ["free"]
    assert texts(tmp_path, ReadConfig(data_type="jsonl")) == ["1"]


@pytest.mark.parametrize(
    ("trained", "held_out"),
    [
        (["train.jsonl"], ["test.jsonl", "validation.jsonl"]),
        (["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl"],
         ["data/test-00000-of-00001-0f3a.jsonl"]),
        (["train/0.jsonl", "train/1.jsonl"], ["dev/0.jsonl", "eval/0.jsonl"]),
        (["train_sft-0.jsonl"], ["test_sft-0.jsonl"]),
        (["other.jsonl", "train.jsonl"], ["val.jsonl"]),
        (["dev.jsonl", "test.jsonl"], []),
        (["attest.jsonl", "training.jsonl"], []),
    ],
)  # fmt: skip
def test_what_is_held_out_of_a_data_set_is_not_trained_on(
    tmp_path: Path, trained: list[str], held_out: list[str]
) -> None:
    for name in trained + held_out:
        written(tmp_path / name, lines({"text": name}))
    assert texts(tmp_path) == trained


def test_bad_files_of_a_folder_are_reported_together(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    written(folder / "a.txt", b"good")
    written(folder / "b.txt", b"x\n\xff")
    assert problem(folder).startswith("texts/b.txt:2: is not UTF-8 (byte 0xff at offset 2)")
    written(folder / "c.txt", b"\n")
    said = problem(folder)
    assert said.startswith("texts: 2 bad records: b.txt:2: is not UTF-8")
    assert said.endswith("; c.txt:1: the file is empty; remove it or fill it in")


def test_paths_that_are_no_data(tmp_path: Path) -> None:
    plain = ReadConfig()
    with pytest.raises(UserError, match=r"none\.jsonl: no such file.*\.txt.*, a folder of"):
        scan(tmp_path / "none.jsonl", plain)
    with pytest.raises(UserError, match=r"holds no \.jsonl, \.json, \.csv, \.parquet or \.txt"):
        scan(tmp_path, plain)
    written(tmp_path / "data.csv", b"text\na")
    with pytest.raises(UserError, match=r"did you mean .data\.csv.\?"):
        scan(tmp_path / "data.jsv", plain)
    written(tmp_path / "plain", b"a")
    with pytest.raises(UserError, match=r"unknown kind of data ''; data is \.jsonl, .*binidx"):
        scan(tmp_path / "plain", plain)
    with pytest.raises(UserError, match="no such file"):
        scan(tmp_path / ("x" * 5000), plain)
