"""eyas eval: a model alone, a run beside its base, and what is wrong with what was typed."""

import json
from pathlib import Path

import pytest
import torch


def scores(eyas, *words: str) -> dict[str, dict[str, dict[str, float]]]:
    code, _, said = eyas("eval", *words, "--json", "scores.json")
    assert code == 0, said
    found: dict[str, dict[str, dict[str, float]]] = json.loads(Path("scores.json").read_text())[
        "measures"
    ]
    return found


def test_a_run_beside_its_base(eyas) -> None:
    settings = ["--ctx", "64", "--rank", "4", "--steps", "4", "--lr", "1e-2", "--out", "run"]
    assert eyas("train", "m.pth", "d.jsonl", *settings)[0] == 0
    assert eyas("merge", "run", "--dtype", "fp32")[0] == 0
    both = scores(eyas, "run", "d.jsonl")
    alone = scores(eyas, "m.pth", "d.jsonl")
    merged = scores(eyas, "run/m-merged.pth", "d.jsonl")
    assert set(both) == {"loss", "perplexity", "bits_per_byte"}  # of texts all is trained
    for name, found in both.items():
        assert found["base"] == alone[name]["model"]
        assert found["tuned"]["value"] == pytest.approx(merged[name]["model"]["value"], rel=1e-4)
        change = found["tuned"]["value"] - found["base"]["value"]
        assert found["difference"]["value"] == pytest.approx(change)
    loss = both["loss"]
    assert loss["difference"]["value"] < 0
    assert 0 < loss["difference"]["standard_error"] < loss["base"]["standard_error"] * 2
    code, out, _ = eyas("eval", "run", "d.jsonl")
    assert code == 0
    assert out.split()[:3] == ["base", "tuned", "difference"]
    assert f"{loss['difference']['value']:+.4f} ± {loss['difference']['standard_error']:.4f}" in out


def test_answers_and_choices(folder: Path, eyas) -> None:
    rows = [{"question": f"{i}", "answer": f"{i}"} for i in range(3)]
    (folder / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = eyas("eval", "m.pth", "qa.jsonl", "--rows", "2", "--chunk", "5")
    assert code == 0
    assert "exact match" in out
    assert "3 documents, 3 with an answer to give" in out
    assert "exact match" not in eyas("eval", "m.pth", "qa.jsonl", "--no-answers")[1]
    row = json.dumps({"question": "a", "choices": ["b", "c"], "answer": "A"})
    (folder / "c.jsonl").write_text(f"{row}\n")
    code, out, _ = eyas("eval", "m.pth", "c.jsonl")
    assert code == 0
    assert "accuracy per byte" in out
    assert "Over 1 record with choices" in out
    quoted = json.dumps({"question": "a", "choices": ["b", "c"], "answer": "1"})
    (folder / "c.jsonl").write_text(f"{row}\n{quoted}\n")
    code, _, err = eyas("eval", "m.pth", "c.jsonl")
    assert code == 2
    assert 'c.jsonl:2: has the text "1" as its "answer", which none of its choices is' in err


def test_a_run_is_asked_in_the_words_it_was_trained_with(folder: Path, eyas) -> None:
    rows = [{"question": f"{i}", "answer": "yes"} for i in range(4)]
    (folder / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "t.jinja").write_text(
        "{%- for m in messages %}[{{ m.role }}]{{ m.content }}[end]{% endfor %}"
        "{%- if add_generation_prompt %}[assistant]{% endif %}"
    )
    settings = ["--template", "t.jinja", "--ctx", "64", "--steps", "2", "--rank", "2"]
    assert eyas("train", "m.pth", "qa.jsonl", *settings, "--out", "run")[0] == 0
    asked = scores(eyas, "run", "qa.jsonl")
    assert asked == scores(eyas, "run", "qa.jsonl", "--template", "t.jinja")
    assert (
        asked["loss"]["base"]
        == scores(eyas, "m.pth", "qa.jsonl", "--template", "t.jinja")["loss"]["model"]
    )
    assert asked != scores(eyas, "m.pth", "qa.jsonl")
    assert scores(eyas, "run/checkpoints/00000002", "qa.jsonl") == asked


def test_logits_that_are_no_numbers(folder: Path, eyas) -> None:
    weights = torch.load("m.pth")
    torch.save({**weights, "ln_out.bias": torch.full((64,), torch.nan)}, folder / "nan.pth")
    code, out, err = eyas("eval", "nan.pth", "d.jsonl", "--json", "s.json")
    assert (code, out) == (2, "")
    assert "logits are not finite" in err


def test_a_base_that_was_moved(folder: Path, eyas) -> None:
    settings = ["--ctx", "64", "--rank", "2", "--steps", "1", "--out", "run"]
    assert eyas("train", "m.pth", "d.jsonl", *settings)[0] == 0
    (folder / "m.pth").rename("moved.pth")
    for words in (["eval", "run", "d.jsonl"], ["chat", "run"], ["merge", "run"]):
        code, _, err = eyas(*words)
        assert code == 2
        assert "m.pth, is not there; say with --base where it is now" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch.pth", "d.jsonl"], "nosuch.pth: no such file"),
        (["m.pth", "nosuch.jsonl"], "nosuch.jsonl: no such file or folder"),
        (["m.pth", "d.jsonl", "--rows", "0"], "rows = 0 must be at least 1"),
        (["m.pth", "d.jsonl", "--stop", ""], "--stop: a text that ends an answer is empty"),
        (["m.pth", "d.jsonl", "--base", "m.pth"], "m.pth: is a model itself"),
        (["m.pth", "d.jsonl", "--json", "no/such/f.json"], "the folder no/such does not exist"),
    ],
)
def test_what_is_wrong(words: list[str], said: str, eyas) -> None:
    code, _, error = eyas("eval", *words)
    assert code == 2
    assert error.count("\n") == 1
    assert said in error
