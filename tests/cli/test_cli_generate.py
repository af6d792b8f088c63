"""`eyas generate --storage`: how the weights are kept while text is made."""

import pytest

ASK = ("--prompt", "a", "--max-tokens", "4", "--temperature", "0")
TRAIN = ("train", "m.pth", "d.jsonl", "--rank", "2", "--ctx", "32", "--steps", "1", "--out", "r")


def test_what_the_file_holds_says_the_same_in_wider_types(eyas) -> None:
    _, as_is, _ = eyas("generate", "m.pth", *ASK)
    code, wide, err = eyas("generate", "m.pth", *ASK, "--storage", "fp32")
    assert (code, err, wide) == (0, "", as_is)


@pytest.mark.parametrize("storage", ["bf16", "fp16", "int8", "nf4", "fp4"])
def test_models_and_runs_are_kept_in_any_type(eyas, storage: str) -> None:
    assert eyas(*TRAIN)[0] == 0
    for model in ("m.pth", "r"):
        code, out, err = eyas("generate", model, *ASK, "--storage", storage)
        assert (code, err) == (0, "")
        assert out.endswith("\n")


def test_a_quantized_base_stays_as_it_was_trained_over(eyas) -> None:
    assert eyas(*TRAIN, "--quant", "int8")[0] == 0
    code, _, err = eyas("generate", "r", *ASK, "--storage", "nf4")
    assert code == 2
    assert "the run's base is quantized; leave --storage out" in err
