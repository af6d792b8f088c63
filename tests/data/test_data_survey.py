"""Data read to be looked at: what counts, also where a run would refuse it."""

from pathlib import Path

import pytest
from documents import jsonl

from eyas.data.reading import ReadConfig
from eyas.data.survey import survey
from eyas.data.tokenizer import Bytes, Tokenizer, WorldBytes
from eyas.data.world import World


@pytest.mark.parametrize(("tokenizer", "counted"), [(Bytes(), 1), (WorldBytes(), 2), (World(), 2)])
def test_texts_with_nul_count_where_it_ends_no_document(
    tmp_path: Path, tokenizer: Tokenizer, counted: int
) -> None:
    path = jsonl(tmp_path, {"text": "a\0b, which is NUL"}, {"text": "and something else"})
    found = survey(path, tokenizer, ReadConfig(), 1, iter)
    assert found.corpus is not None
    assert (found.linter.documents, len(found.corpus)) == (2, counted)


def test_markers_may_be_tokens(tmp_path: Path) -> None:
    config = ReadConfig(mask="se", mask_id=("61", "63"))  # < and >, a byte and 1
    found = survey(jsonl(tmp_path, {"text": "not <this>"}), WorldBytes(), config, 1, iter)
    assert found.corpus is not None
    assert found.corpus.trained.tolist() == [False] * 5 + [True] * 6  # and the end
