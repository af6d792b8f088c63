"""How reading is asked for, and what each source is taken for."""

from pathlib import Path

import pytest
from documents import written

from eyas.config import from_mapping, to_mapping
from eyas.data.reading import ReadConfig, is_tokens
from eyas.errors import UserError


def test_a_config_goes_to_a_file_and_back() -> None:
    config = ReadConfig(
        data_type="sft", map=("a:user", "b:assistant"), mask="se", mask_id=("<", ">"),
        template=Path("chat.jinja"), encoding="gb18030",
    )  # fmt: skip
    assert from_mapping(ReadConfig, to_mapping(config), "run.toml") == config


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"encoding": "gb18031"}, "encoding 'gb18031' is unknown; did you mean 'gb18030'?"),
        ({"encoding": "quux"}, "encoding 'quux' is unknown; give one such as utf-8, "),
        ({"encoding": "hex"}, "encoding 'hex' is unknown"),
        ({"encoding": ""}, "encoding '' is unknown"),
        ({"encoding": "idna"}, "encoding 'idna' is unknown"),
        ({"encoding": "punycode"}, "encoding 'punycode' is unknown"),
        ({"mask": "se"}, "mask se needs two markers"),
        ({"mask": "se", "mask_id": ["<"]}, "mask se needs two markers"),
        ({"mask": "qa", "mask_id": ["<", ">"]}, "mask_id goes with mask se, not qa; leave one"),
        ({"map": ["a:b"]}, "map entry 'a:b': 'b' is none of text, messages, system"),
        ({"data_type": "wds_img"}, "data_type wds_img was left over from an image experiment"),
        ({"data_type": "uint16"}, "data_type uint16 is rows of tokens without an index"),
        ({"data_type": "uint16", "row_length": 1}, "data_type uint16 is rows of tokens"),
        ({"row_length": 8}, "row_length goes with data_type uint16; leave it out"),
        ({"data_type": "json1"}, "data_type = 'json1' must be one of auto, jsonl, json"),
    ],
)
def test_what_cannot_be_meant(values: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        from_mapping(ReadConfig, values, "run.toml")
    assert str(caught.value).startswith(f"run.toml: {expected}")


def test_which_sources_are_tokens(tmp_path: Path) -> None:
    array, text = written(tmp_path / "d.npy", b"x"), written(tmp_path / "d.jsonl", b"x")
    pair = written(tmp_path / "p.bin", b"x")
    plain = ReadConfig()
    assert [is_tokens(path, plain) for path in (array, text, pair, tmp_path / "p")] == [
        True, False, True, True,
    ]  # fmt: skip
    assert not is_tokens(tmp_path, plain)
    assert is_tokens(text, ReadConfig(data_type="numpy"))
    assert is_tokens(text, ReadConfig(data_type="uint16", row_length=4))
    assert is_tokens(text, ReadConfig(data_type="binidx"))
    assert not is_tokens(pair, ReadConfig(data_type="jsonl"))
    assert not is_tokens(pair, ReadConfig(data_type="dummy"))
