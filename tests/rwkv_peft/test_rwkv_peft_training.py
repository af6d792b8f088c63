"""A run through train.py: its files, going on, and folders that hold other things already."""

import json
import signal
from pathlib import Path

import pytest
import torch
from shell_words import quick

from eyas.adapters import load_adapter
from eyas.models import read_tensors
from eyas.run import read_run
from eyas.training import loop
from eyas.training.checkpoint import newest_checkpoint

THEIRS = ["init_pissa.pth", "loss_data.jsonl", "rwkv-0.pth", "rwkv-1.pth", "train_log.txt"]
OURS = [".lock", "adapter.safetensors", "checkpoints", "metrics.jsonl", "run.toml"]


def names(folder: str = "out") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def contents(folder: str = "out", *wanted: str) -> dict[str, object]:
    """What the files hold that do not tell the time."""
    chosen = wanted or ("rwkv-0.pth", "rwkv-1.pth", "init_pissa.pth")
    found = {name: torch.load(f"{folder}/{name}", weights_only=True) for name in chosen}
    return {f"{n} {key}": t.tolist() for n, tensors in found.items() for key, t in tensors.items()}


def test_the_files_of_a_run(done) -> None:
    out = done(*quick(train_parts="ln", epoch_begin=3, wandb=""))
    numbered = [name.replace("rwkv-0", "rwkv-3").replace("rwkv-1", "rwkv-4") for name in THEIRS]
    assert names() == sorted([*numbered, *OURS])
    trained, start = torch.load("out/rwkv-4.pth"), torch.load("out/init_pissa.pth")
    layers = {k.removesuffix(".lora_A"): t for k, t in trained.items() if k.endswith(".lora_A")}
    assert set(start) == {f"model.{k}.init_lora_{letter}" for k in layers for letter in "AB"}
    base = read_tensors("x060.pth")
    whole = set(trained) - {f"{k}.lora_{letter}" for k in layers for letter in "AB"}
    assert whole == {name for name in base if ".ln" in name or name.startswith("ln_out")}
    for key, A in layers.items():
        rows, columns = base[f"{key}.weight"].shape
        assert (tuple(A.shape), A.dtype) == ((8, columns), torch.float32)
        assert trained[f"{key}.lora_B"].shape == (rows, 8)
    assert len(layers) == 16  # RWKV-6 has 8 linears a layer
    log = Path("out/train_log.txt").read_text().splitlines()
    assert log[0].startswith("NEW RUN ")
    assert [line.split()[0] for line in log[2:]] == ["3", "4"]
    steps = [json.loads(line) for line in Path("out/loss_data.jsonl").read_text().splitlines()]
    assert [set(step) for step in steps] == [{"loss", "t_cost", "kt_s"}] * 4
    assert "2 of 2 steps of 5 x 1 rows" in out
    assert out.splitlines()[-1].startswith("Next: python merge/merge.py --type pissa --base_model")


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        (
            "deepspeed_stage_1",
            "--strategy deepspeed_stage_1: nothing to do (one device has it all)",
        ),
        ("deepspeed_stage_3_offload", "waiting in main memory"),
    ],
)
def test_what_a_strategy_does_on_one_device(strategy: str, said: str, done) -> None:
    out = done(*quick(strategy=strategy, peft="lora", epoch_steps=1, epoch_count=1))
    assert said in " ".join(out.split())


def test_files_are_written_when_epochs_end_and_not_else(done) -> None:
    done(*quick(epoch_count=4, epoch_save=2, epoch_steps=1, peft="lora"))
    assert [name for name in names() if name.startswith("rwkv-")] == [
        f"rwkv-{number}.pth" for number in (0, 2, 3)
    ]


def test_all_data_are_gone_through_however_few(done) -> None:
    """Theirs took the first epoch_steps x micro_bsz documents, or failed for want of them."""
    done(*quick(peft="lora", micro_bsz=4, epoch_steps=9, epoch_count=1, loss_mask="pad"))
    assert newest_checkpoint(Path("out")).progress.cursor.epoch == 2  # 10 documents, 16 pieces


def test_an_interrupted_run_goes_on_to_the_same_files(
    done, program, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(*quick(proj_dir="whole"))
    real = loop.learning_rate

    def interrupted(step: int, *rest: object) -> float:
        if step == 2:
            signal.raise_signal(signal.SIGINT)
        return real(step, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "learning_rate", interrupted)
        code, out, _ = program(*quick())
    assert code == 130
    assert out.splitlines()[-1] == "The same command goes on from here."
    assert "rwkv-0.pth" in names()
    assert "rwkv-1.pth" not in names()
    Path("out/rwkv-0.pth").unlink()
    assert "resuming after step 3" in done(*quick())
    Path("out/rwkv-0.pth").symlink_to("../whole/rwkv-0.pth")
    assert contents("out") == contents("whole")
    assert len(Path("out/loss_data.jsonl").read_text().splitlines()) == 4


def test_a_file_that_a_killed_run_still_owed(done) -> None:
    done(*quick())
    before = contents()
    for name in ("rwkv-1.pth", "init_pissa.pth"):
        Path("out", name).unlink()
    done(*quick())
    assert contents() == before


def test_more_epochs_of_the_same_run(done) -> None:
    done(*quick(epoch_count=1))
    done(*quick())
    done(*quick(proj_dir="whole"))
    assert contents("out") == contents("whole")


def test_other_settings_in_the_folder_of_a_run(done, refused) -> None:
    done(*quick(epoch_count=1, peft="lora"))
    line = refused(*quick(peft="lora", lr_init=1e-4))
    assert "holds another run" in line
    assert "choose another --proj_dir" in line


def test_a_folder_with_other_files(done) -> None:
    Path("out").mkdir()
    kept = {"notes.txt": "mine", "rwkv-7.pth": "theirs", "train_log.txt": "NEW RUN long ago\n"}
    for name, text in kept.items():
        Path("out", name).write_text(text)
    done(*quick(epoch_count=1))
    assert Path("out/notes.txt").read_text() == "mine"
    assert Path("out/rwkv-7.pth").read_text() == "theirs"
    assert Path("out/train_log.txt").read_text().startswith("NEW RUN long ago\nNEW RUN 2")


@pytest.mark.parametrize("name", ["rwkv-1.pth", "init_pissa.pth"])
def test_files_of_another_run_are_not_lost(name: str, refused) -> None:
    Path("out").mkdir()
    Path("out", name).write_text("theirs")
    line = refused(*quick())
    assert f"out/{name}: is there already" in line
    assert f"--epoch_begin {2 if 'rwkv' in name else 1}" in line
    assert names() == [name]


def test_what_is_wrong_leaves_nothing_behind(refused) -> None:
    words = quick(data_file="nowhere")
    assert "nowhere" in refused(*words)
    assert not Path("out").exists()
    Path("out").mkdir()
    Path("out/notes.txt").write_text("mine")
    refused(*words)
    assert names() == ["notes.txt"]
    Path("file").write_text("")
    assert "file: is a file and no folder; choose another --proj_dir" in refused(
        *quick(proj_dir="file")
    )


def test_what_the_model_file_says_otherwise(refused) -> None:
    line = refused(*quick(n_layer=32, my_testing="x070", vocab_size=65536, n_embd=64))
    assert "x060.pth: is x060 L2 C64 H4x16 F224 V256" in line
    assert "--n_layer 32, --my_testing x070" in line.replace("--vocab_size 65536, ", "")
    assert "--n_layer 2 --my_testing x060" in line
    assert "no such file" in refused(*quick(load_model="none.pth"))


LORA = '{"lora_load":"%s","lora_r":4,"lora_alpha":8,"lora_dropout":0}'
PISSA = '{"pissa_load":"%s","pissa_init":"%s","pissa_r":4}'
BONE = '{"bone_mode":"bone","bone_load":"%s","bone_r":16}'


@pytest.mark.parametrize(
    ("peft", "flags"),
    [
        ("lora", {"lora_config": LORA}),
        ("pissa", {"pissa_config": PISSA}),
        ("pissa", {"pissa_config": PISSA, "quant": "nf4"}),
        ("bone", {"bone_config": BONE}),
    ],
)
def test_going_on_from_files(peft: str, flags: dict[str, str], done) -> None:
    """A file of the same program, or of theirs: what training begins with is what is in it."""
    name, json_text = next(iter(flags.items()))
    begun = {**flags, name: json_text.replace("%s", "")}
    first = dict(peft=peft, epoch_count=1, **begun)
    done(*quick(proj_dir="first", **first))
    files = ["first/rwkv-0.pth", "first/init_pissa.pth"][: json_text.count("%s")]
    loaded = {**flags, name: json_text % tuple(files)}
    # With no rate nothing moves: what comes out is what went in.
    still = {"lr_init": 0, "lr_final": 0, "epoch_count": 1, "epoch_begin": 1}
    done(*quick(peft=peft, **still, **loaded))
    before, after = torch.load("first/rwkv-0.pth"), torch.load("out/rwkv-1.pth")
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    if peft == "pissa":
        assert contents("out", "init_pissa.pth") == contents("first", "init_pissa.pth")
    last = json.loads(Path("first/loss_data.jsonl").read_text().splitlines()[0])["loss"]
    goes_on = json.loads(Path("out/loss_data.jsonl").read_text().splitlines()[0])["loss"]
    assert goes_on < last


def test_files_that_do_not_fit_what_is_said_of_them(done, refused) -> None:
    done(*quick(proj_dir="first", peft="bone", bone_config="{bone_r:16}", epoch_count=1))
    path = "first/rwkv-0.pth"
    line = refused(*quick(peft="bone", bone_config=f"{{bone_load:{path},bone_r:8}}"))
    assert "has rank 16, and the flags say 8; write 16" in line
    line = refused(*quick(peft="lora", lora_config=f"{{lora_load:{path},lora_r:8}}"))
    assert "rwkv-0.pth: holds no lora_A and lora_B, which --lora_alpha is for" in line
    assert not Path("out").exists()


def test_going_on_from_another_file_in_the_same_folder(done, refused) -> None:
    for number, seed in enumerate((0, 1)):
        done(*quick(proj_dir=f"run{number}", peft="bone", epoch_count=1, random_seed=seed,
                    bone_config="{bone_r:16}"))  # fmt: skip
    words = [
        quick(peft="bone", bone_config=f"{{bone_load:run{number}/rwkv-0.pth,bone_r:16}}")
        for number in (0, 1)
    ]
    done(*words[0])
    done(*words[0])
    assert "went on from another file" in refused(*words[1])


def test_peft_none_writes_models(done, refused) -> None:
    out = done(*quick(peft="none", lr_init=1e-4, lr_final=1e-4))
    assert "Next:" not in out
    model, base = torch.load("out/rwkv-1.pth"), torch.load("x060.pth")
    assert {k: (t.dtype, t.shape) for k, t in model.items()} == {
        k: (t.dtype, t.shape) for k, t in base.items()
    }
    trained = load_adapter(Path("out/adapter.safetensors")).tensors
    for key, tensor in model.items():
        assert torch.equal(tensor, trained[key].to(tensor.dtype))
    line = refused("merge", "--base_model", "x060.pth", "--lora_checkpoint", "out/rwkv-1.pth",
                   "--output", "m.pth")  # fmt: skip
    assert "is a whole model" in line


def test_infinite_context(done) -> None:
    flags = {"peft": "bone", "epoch_count": 1, "loss_mask": "pad"}
    done(*quick(**flags))
    done(*quick(**flags, train_type="infctx", chunk_ctx=16, proj_dir="chunks"))
    assert read_run(Path("chunks")).loop.chunk == 16
    whole, chunks = (
        [json.loads(line)["loss"] for line in Path(f, "loss_data.jsonl").read_text().splitlines()]
        for f in ("out", "chunks")
    )
    assert chunks == pytest.approx(whole, rel=1e-5)
