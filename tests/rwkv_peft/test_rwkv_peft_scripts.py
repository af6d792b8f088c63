"""The scripts, paths filled in: what they train, merged, is what the `rwkv` package runs."""

from pathlib import Path

import pytest
import torch
from peer import rwkv_logits
from shell_words import SCRIPTS, words_of, words_of_script
from tolerance import LOGITS
from weights import write_model

from eyas.merging import load_adapted
from eyas.models import Model, load
from eyas.run import adapter_at, read_run

TOKENS = torch.arange(32, 44)
VARIANTS = {
    "pissa": ("pissa", "none"),
    "pissa-int8": ("pissa", "int8"),
    "pissa-nf4": ("pissa", "nf4"),
    "lora": ("lora", "none"),
    "bone": ("bone", "none"),
    "state": ("state", "none"),
}
CONFIGS = {
    "pissa_config": '{"pissa_load":"","pissa_init":"","pissa_r":4,"svd_niter":4}',
    "lora_config": '{"lora_load":"","lora_r":4,"lora_alpha":8,"lora_dropout":0.0}',
    "bone_config": '{"bone_mode":"bone","bone_load":"","bone_r":16}',
}


def run_words(name: str, version: str, shell: str = "sh", more: str = "", **changed: object):
    values = {
        "load_model": "base.pth", "proj_dir": name, "data_file": "d", "n_layer": 2, "n_embd": 64,
        "micro_bsz": 5, "epoch_steps": 2, "ctx_len": 48, **CONFIGS, "--my_testing": version,
        "--vocab_size": 256, "--lr_init": 1e-2, "--lr_final": 1e-2, **changed,
    }  # fmt: skip
    return words_of_script(f"run_{VARIANTS.get(name, (name, ''))[0]}.sh", shell, more, **values)


def merge_words(name: str, run: str):
    script, quant = VARIANTS[name]
    values = {
        "base_model": "base.pth", "output": f"{run}.pth", "Lora_alpha": 8,
        "pissa_init": f"{run}/init_pissa.pth", f"{script}_checkpoint": f"{run}/rwkv-0.pth",
    }  # fmt: skip
    return words_of_script(f"merge_{script}.sh", more=f"--quant {quant}", **values)


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.std())


@torch.no_grad()
def logits(model: Model) -> torch.Tensor:
    return model(TOKENS[None])[0][0]


@pytest.mark.parametrize("versions", [("x052", "x060"), ("x070",)])
def test_trained_and_merged(versions: tuple[str, ...], folder: Path, done) -> None:
    trained: dict[Path, torch.Tensor] = {}
    for version in versions:
        base = write_model(folder / "base.pth", version)
        before = logits(load(base))
        for name, (_, quant) in VARIANTS.items():
            run = f"{version}-{name}"
            done(*run_words(name, version, more=f"--quant {quant}", proj_dir=run))
            done(*merge_words(name, run))
            found = logits(load_adapted(base, adapter_at(folder / run)))
            assert difference(before, found) > 100 * LOGITS, run
            merged = folder / f"{run}.pth"
            if run == "x070-state":  # the package ignores it in RWKV-7
                assert difference(logits(load(merged)), found) <= LOGITS
            else:
                trained[merged] = found
    results = rwkv_logits(list(trained), TOKENS.tolist(), versions[0], folder)
    for (path, found), (theirs, _) in zip(trained.items(), results, strict=True):
        assert difference(theirs, found) <= LOGITS, path


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("name", ["pissa", "lora", "bone"])
def test_unquoted_and_with_blanks_as_scripts_have_it(folder, shell: str, name: str) -> None:  # noqa: ARG001
    from shell_words import planned

    quoted = run_words(name, "x060", shell)
    loose = {key: json.replace(",", ", ") for key, json in CONFIGS.items()}
    words_of_script(f"run_{name}.sh", **loose)
    script = Path("script.sh").read_text()
    unquoted = words_of(script.replace(f'"${name}_config"', f"${name}_config"), shell)
    assert len(unquoted) > len(words_of(script, shell))
    assert planned(*unquoted[1:]).run.method == planned(*quoted[1:]).run.method


@pytest.mark.parametrize(
    "names", [("pissa_init", "pissa_checkpoint"), ("lora_init", "lora_checkpoint")]
)
def test_both_names_of_the_variables_in_merge_pissa(folder, names: tuple[str, str]) -> None:  # noqa: ARG001
    text = (SCRIPTS / "merge_pissa.sh").read_text()
    for old, new, value in zip(("pissa_init", "pissa_checkpoint"), names, "ab", strict=True):
        lines = text.splitlines()
        lines = [f"{new}='{value}'" if line.startswith(f"{old}=") else line for line in lines]
        text = "\n".join(lines)
    words = words_of(text)
    assert words[words.index("--lora_init") + 1] == "a"
    assert words[words.index("--lora_checkpoint") + 1] == "b"


def test_the_tutorials_merge_script_has_empty_variables(folder, refused) -> None:  # noqa: ARG001
    """As printed it defines pissa_init and passes $lora_init: files beside --output are meant."""
    script = "python merge/merge.py --base_model b --lora_init $lora_init \\\n"
    script += "--lora_checkpoint $lora_checkpoint --output nowhere/o --type pissa"
    line = refused(*words_of(script))
    assert "--lora_checkpoint: missing (the variable behind it is empty, or of another name" in line


def test_every_script_runs_in_every_shell(folder, refused) -> None:  # noqa: ARG001
    for path in sorted(SCRIPTS.glob("*.sh")):
        for shell in ("sh", "bash"):
            line = refused(*words_of(path.read_text(), shell))
            assert "/home/rwkv/" in line, path  # nothing else is wrong with it as it is


def test_sft(folder: Path, done) -> None:
    write_model(folder / "base.pth", "x060")
    rows = [f'{{"query":"{i}?","response":"number {i}"}}\n' for i in range(9)]
    Path("d.jsonl").unlink()
    Path("d.jsonl").write_text("".join(rows))
    out = done(*run_words("sft", "x060", data_file="d.jsonl"))
    assert "[[ number 0" in out
    assert "User: 0?" in out
    assert read_run(folder / "sft").method.name == "miss"
    files = {"base_model": "base.pth", "bone_checkpoint": "sft/rwkv-0.pth", "output": "m.pth"}
    done(*words_of_script("merge_sft.sh", **files))
    found = logits(load_adapted(folder / "base.pth", adapter_at(folder / "sft")))
    assert difference(logits(load(folder / "m.pth")), found) <= LOGITS
