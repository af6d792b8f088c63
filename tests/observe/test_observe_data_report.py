"""What is said of data before a run and by `eyas inspect`."""

import json
from pathlib import Path

import numpy as np

from eyas.data.batches import BatchConfig
from eyas.data.binidx import write
from eyas.data.corpus import Corpus
from eyas.data.lint import Linter
from eyas.data.reading import ReadConfig, read_documents
from eyas.data.spooling import spooled
from eyas.data.survey import Survey, survey
from eyas.data.tokenizer import Bytes, Ids
from eyas.observe.data_report import full_report, short_report

AS_IT_IS = ReadConfig()


def lines(path: Path, *texts: str) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def surveyed(path: Path, reading: ReadConfig = AS_IT_IS) -> Survey:
    return survey(path, Bytes(), reading, 1, iter)


def loaded(path: Path) -> tuple[Corpus, Linter]:
    """As a run loads it: the linter watches on the way."""
    linter = Linter()
    found = spooled(linter.watching(read_documents(path, AS_IT_IS)), Bytes(), 1)
    return Corpus(found.tokens, found.trained, found.offsets, found.places), linter


def report(data: Survey, held_out: Survey | None = None, **batch: object) -> dict[str, list[str]]:
    return full_report(data, held_out, "bytes", BatchConfig(**batch), 2)


def test_everything_about_data(tmp_path: Path) -> None:
    texts = ["a" * 19, "b" * 29, "a" * 19, "c" * 9, "a" * 19]
    data = surveyed(lines(tmp_path / "d.jsonl", *texts))
    told = report(data, ctx=20, micro_batch=2)
    characters = sum(map(len, texts))
    assert told["documents"] == [
        f"5 documents, {characters} characters, {characters + 5} tokens (bytes)",
        "2 of 5 (40.0%) are exact copies of an earlier one:",
        "    d.jsonl:3 of d.jsonl:1",
        "    d.jsonl:5 of d.jsonl:1",
    ]
    assert told["lengths"][0].startswith("10 to 30 tokens, mean 20; half have at most 20")
    assert told["context"] == [
        "1 of 5 (20.0%) are longer than 20 tokens. What each way loses:",
        "    --long split     nothing  (as it is set)",
        f"    --long truncate  9 tokens, {9 / characters:.1%}",
        f"    --long drop      29 tokens, {29 / characters:.1%}",
    ]
    assert told["trained"] == [f"{characters} of {characters} targets, 100.0%"]
    # 3 x 19 pairs fill three rows, 29 one and a half, and 9 fits beside the half.
    assert told["an epoch"] == [
        "5 rows (--ctx 20 --dataload pack), 2 steps of 2 x 2 rows",
    ]
    assert told["warnings"] == [
        "1 x nearly empty, less than 10 characters",
        "    d.jsonl:4  'ccccccccc'",
    ]


def test_the_policy_that_is_set(tmp_path: Path) -> None:
    data = surveyed(lines(tmp_path / "d.jsonl", "a" * 19, "b" * 29))
    told = report(data, ctx=20, long="drop", dataload="pad")
    assert told["context"][3].endswith("(as it is set)")
    assert told["an epoch"] == ["1 rows (--ctx 20 --dataload pad), 1 steps of 1 x 2 rows"]
    assert report(data)["context"] == ["all documents fit 512 tokens"]


def test_documents_with_nothing_trained(tmp_path: Path) -> None:
    texts = ("no turn at all", "User: a question\n\nAssistant: bc")
    path = lines(tmp_path / "d.jsonl", *texts)
    told = report(surveyed(path, ReadConfig(mask="answers")))
    # " bc" and the end of the document
    assert told["trained"] == [
        f"4 of {len(''.join(texts))} targets, {4 / len(''.join(texts)):.1%}",
        "1 of 2 (50.0%) documents have nothing trained: d.jsonl:1",
    ]


def test_held_out_data_are_looked_for(tmp_path: Path) -> None:
    data = surveyed(lines(tmp_path / "d.jsonl", "one and only", "two and only"))
    held_out = surveyed(
        lines(tmp_path / "v.jsonl", "two and only", "three and only", "\ufffd" * 10)
    )
    assert report(data, held_out)["held out"] == [
        f"{tmp_path / 'v.jsonl'}: 3 documents, 59 tokens",
        "1 of 3 (33.3%) documents are in the training data too",
        "10 x characters lost in a wrong decoding (U+FFFD, 锟斤拷)",
        "    v.jsonl:3  10 times",
    ]
    other = surveyed(lines(tmp_path / "o.jsonl", "four and only"))
    assert report(data, other)["held out"][1] == "none of them is in the training data too"


def test_bad_records_do_not_stop_it(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"text": "good enough"}\r\n{\r\n{"text": "NUL \\u0000 in it"}\r\n'
    )
    data = surveyed(path)
    told = report(data)
    assert told["documents"][0] == "2 documents, 22 characters, 12 tokens (bytes)"
    warnings = "\n".join(told["warnings"])
    assert "1 x cannot be read\n    d.jsonl:2  bad JSON" in warnings
    assert "1 x a NUL character\n    d.jsonl:3" in warnings
    assert "1 x a byte order mark\n    d.jsonl" in warnings
    assert "3 x line ends of Windows (CRLF)\n    d.jsonl  3 times" in warnings


def test_more_places_than_are_shown(tmp_path: Path) -> None:
    data = surveyed(lines(tmp_path / "d.jsonl", *["\ufffd in all of them"] * 8))
    assert report(data)["warnings"][-1] == "    and at 3 more places"


def test_nothing_that_can_be_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes("你好，世界".encode("gbk") + b"\n")
    data = surveyed(path)
    assert data.corpus is None
    told = report(data)
    assert told["documents"] == [
        "0 documents, 0 characters",
        "tokens cannot be counted: there is no document that could be trained on",
    ]
    assert "an epoch" not in told
    assert "probably gb18030; give --encoding gb18030" in told["warnings"][1]


def test_data_of_tokens_are_read_as_text(tmp_path: Path) -> None:
    texts = [b"User: a good day\nAssistant: yes", b"another text"]
    write(tmp_path / "d", [[*text, 0] for text in texts], np.uint16)
    told = report(surveyed(tmp_path / "d"))
    assert told["documents"][0] == "2 documents, 43 characters, 45 tokens (bytes)"
    assert told["warnings"] == [
        "1 x no blank line before a turn",
        "    d.bin document 1  'Assistant: yes'",
    ]
    unknown = survey(tmp_path / "d", Ids(256, ""), AS_IT_IS, 1, iter)
    assert report(unknown)["documents"][0] == "2 documents, 45 tokens (bytes)"
    assert report(unknown)["warnings"] == ["none"]


def test_before_a_run_only_what_matters(tmp_path: Path) -> None:
    good = [f"User: question {i}\n\nAssistant: answer {i}" for i in range(300)]
    path = lines(tmp_path / "d.jsonl", *good, good[0], "hi")
    corpus, linter = loaded(path)
    assert short_report([path], linter, corpus) == []
    path = lines(
        tmp_path / "d.jsonl", *good, *good[:9], "User: b\nAssistant: c", "User: c\nAssistant: d"
    )
    corpus, linter = loaded(path)
    held_out, _ = loaded(lines(tmp_path / "v.jsonl", good[5], "something new"))
    assert short_report([path], linter, corpus, held_out) == [
        "9 of 311 (2.9%) documents are exact copies of others",
        "1 of 2 (50.0%) held-out documents are in the training data too",
        "2 x no blank line before a turn, the first at d.jsonl:310",
        f"eyas inspect {path} shows all of it",
    ]
