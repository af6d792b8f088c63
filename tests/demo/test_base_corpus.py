"""The pretraining text of the base model: what is in it, and what is kept out of it."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "recipes" / "base" / "corpus.py"
NAMES = ("phase0", "phase1", "heldout_tales", "heldout_copy")


def write_tales(folder: Path) -> None:
    """Two made-up books of words that stand in for tales; no word is in both halves of a book."""
    rng = random.Random(0)
    folder.mkdir()
    for book in "ab":
        words = [f"{'bdfgklm'[i % 7]}a{'nprst'[i % 5]}{'aeiou'[i % 4]}" for i in range(140)]
        paragraphs = [
            "Once "
            + " ".join(rng.choices(words, k=rng.randint(5, 60)))
            + ". It was so, they said. "
            "Then it was over."
            for _ in range(600)
        ]
        (folder / f"{book}.txt").write_text("\n\n".join(paragraphs), encoding="ascii")


def write_corpus(tales: Path, out: Path) -> dict[str, list[str]]:
    sizes = ["--phase0-mb", "0.1", "--phase1-mb", "0.6", "--seed", "3"]
    command = [sys.executable, SCRIPT, "--tales", tales, "--out", out, *sizes]
    subprocess.run(command, check=True, capture_output=True)
    texts = {name: (out / f"{name}.jsonl").read_text(encoding="utf-8") for name in NAMES}
    return {
        name: [json.loads(line)["text"] for line in text.splitlines()]
        for name, text in texts.items()
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    folder = tmp_path_factory.mktemp("base")
    write_tales(folder / "tales")
    documents = write_corpus(folder / "tales", folder / "first")
    assert documents == write_corpus(folder / "tales", folder / "second")
    return documents


def test_sizes_are_as_asked(corpus: dict[str, list[str]]) -> None:
    sizes = {name: sum(map(len, documents)) for name, documents in corpus.items()}
    assert sizes["phase0"] == pytest.approx(0.1e6, rel=0.01)
    assert sizes["phase1"] == pytest.approx(0.6e6, rel=0.01)
    assert max(map(len, corpus["phase1"])) <= 255
    assert set(map(len, corpus["phase0"])) == {127}


def test_no_document_is_there_twice(corpus: dict[str, list[str]]) -> None:
    assert all(len(set(documents)) == len(documents) for documents in corpus.values())


def test_every_printable_byte_and_no_other_occurs(corpus: dict[str, list[str]]) -> None:
    assert set("".join(corpus["phase1"])) == {"\n", *map(chr, range(32, 127))}


def test_what_the_demo_teaches_is_kept_out(corpus: dict[str, list[str]]) -> None:
    text = "\n\n".join(corpus["phase1"])
    assert not re.search(r'"\w+"\s*:', text)
    assert not re.search(r'[{\[]\s*"\w', text)
    assert not re.search(r"\d{4}-\d\d-\d\d", text)
    assert not re.search(r"(?i)past tense|plural|comparative|superlative", text)


def test_half_is_tales_and_the_held_out_ends_are_not(corpus: dict[str, list[str]]) -> None:
    text = "\n\n".join(corpus["phase1"])
    tales = sum(len(document) for document in corpus["phase1"] if "it was" in document.lower())
    assert 0.4 < tales / len(text) < 0.6
    assert corpus["heldout_tales"]
    assert not any(document in text for document in corpus["heldout_tales"] if len(document) > 60)


def test_copy_documents_say_a_line_twice(corpus: dict[str, list[str]]) -> None:
    for document in corpus["heldout_copy"]:
        first, second, rest = document.split("\n")
        assert first == second
        assert rest == ""
        assert 8 <= len(first) <= 24
