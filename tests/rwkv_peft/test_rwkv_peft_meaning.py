"""Flags whose meaning takes more than a line, one test each, named after the flag."""

import pytest
from shell_words import planned

from eyas.adapters import Bat, Full, LoRA, MiSS, PiSSA, State
from eyas.errors import UserError

PISSA = ("--peft", "pissa")


def refused(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        planned(*words)
    return str(caught.value)


def epochs(**flags: int):
    return planned(*(word for k, v in flags.items() for word in (f"--{k}", str(v)))).epochs


def optim(*words: str):
    return planned("--lr_init", "1e-3", *words).run.optim


def test_load_model() -> None:
    plan = planned("--load_model", "/a/b.pth")
    assert (str(plan.run.model), plan.new_model) == ("/a/b.pth", False)
    assert planned("--load_model", "").new_model


def test_data_file() -> None:
    assert [str(path) for path in planned("--data_file", "my/data").run.data] == ["my/data"]
    assert "--data_file is missing" in refused("--data_file", "")
    assert planned("--data_file", "", "--data_type", "dummy").run.reading.data_type == "dummy"


def test_my_sample_len() -> None:
    found = planned("--data_type", "uint16", "--my_sample_len", "128").run.reading
    assert (found.data_type, found.row_length) == ("uint16", 128)
    assert "uint16" in refused("--data_type", "uint16")


def test_sft_field() -> None:
    sft = ("--data_type", "sft", "--sft_field", "query", "response", "--loss_mask", "pad")
    found = planned(*sft).run.reading
    assert found.map == ("query:user", "response:assistant")
    assert found.mask == "auto"  # only what answers is trained
    assert "takes two names" in refused("--sft_field", "query")


def test_sft_split() -> None:
    hub = ("--data_file", "meta-math/MetaMathQA", "--data_type", "sft")
    assert str(planned(*hub).run.data[0]) == "meta-math/MetaMathQA"
    assert str(planned(*hub, "--sft_split", "test").run.data[0]) == "meta-math/MetaMathQA:test"
    assert "cut the data, or let --epoch_steps" in refused(*hub, "--sft_split", "train[:1000]")


def test_tokenizer() -> None:
    assert planned("--tokenizer", "bytes").run.tokenizer == "bytes"
    assert planned().run.tokenizer is None


def test_epoch_steps() -> None:
    assert epochs(epoch_steps=7).steps == 7
    # Lightning's sampler gives each device its share, and the last batches of an epoch make a step.
    assert epochs(epoch_steps=10, accumulate_grad_batches=4).steps == 3
    assert epochs(epoch_steps=1000, devices=8, accumulate_grad_batches=5).steps == 25
    assert epochs(epoch_steps=10, devices=2, num_nodes=2).steps == 3
    plan = planned("--epoch_steps", "7", "--epoch_count", "2", "--accumulate_grad_batches", "2")
    assert (plan.run.loop.steps, plan.run.loop.save_every, plan.run.watch.epoch_steps) == (8, 4, 4)
    assert plan.lines == ("an epoch of 7 micro-batches is 4 optimizer steps of 2",)
    assert "--epoch_steps 0 must be at least 1" in refused("--epoch_steps", "0")


def test_epoch_count() -> None:
    assert planned("--epoch_steps", "7", "--epoch_count", "3").run.loop.steps == 21
    assert "--epoch_count 0 must be at least 1" in refused("--epoch_count", "0")


def test_epoch_begin() -> None:
    assert epochs(epoch_count=2, epoch_begin=5, epoch_save=1).numbers_saved() == [5, 6]
    same = ("--lr_init", "1e-5", "--lr_final", "1e-5", "--epoch_begin", "5")
    assert planned(*same).lines == ()
    assert planned(*same).run.watch.epoch_begin == 5
    assert "the learning rate begins at lr_init" in planned("--epoch_begin", "5").lines[0]
    assert "--epoch_begin -1 must be at least 0" in refused("--epoch_begin", "-1")


def test_epoch_save() -> None:
    assert epochs(epoch_count=4, epoch_save=1).numbers_saved() == [0, 1, 2, 3]
    assert epochs(epoch_count=12, epoch_save=5).numbers_saved() == [0, 5, 10, 11]
    assert epochs(epoch_count=4, epoch_save=0).numbers_saved() == [3]
    found = epochs(epoch_steps=3, epoch_count=2, epoch_save=1)
    assert [found.number_saved_after(step) for step in range(7)] == [
        None, None, None, 0, None, None, 1,
    ]  # fmt: skip


def test_my_exit() -> None:
    assert epochs(epoch_count=9, my_exit=3).count == 4
    assert epochs(epoch_count=9, my_exit=3, epoch_begin=2).count == 2
    assert "ends the run before it begins" in refused("--my_exit", "3", "--epoch_begin", "4")


def test_random_seed() -> None:
    assert planned("--random_seed", "42").run.seed == 42
    assert planned("--random_seed", "-1").run.seed == 0


def test_lr_final() -> None:
    assert (optim("--lr_final", "1e-3").schedule, optim("--lr_final", "1e-3").lr_final) == (
        "constant", None,
    )  # fmt: skip
    found = optim("--lr_final", "1e-5")
    assert (found.schedule, found.lr, found.lr_final) == ("exponential", 1e-3, 1e-5)
    assert optim("--lr_final", "0").schedule == "linear"
    found = planned("--lr_init", "0", "--lr_final", "1e-4").run.optim
    assert (found.schedule, found.lr, found.lr_final) == ("linear", 0.0, 1e-4)


def test_lr_schedule() -> None:
    found = optim("--lr_final", "1e-4", "--lr_schedule", "cos", "--warmup_steps", "7")
    assert (found.schedule, found.lr_final, found.warmup_steps) == ("cosine", 1e-4, 7)
    found = optim("--lr_final", "1e-4", "--lr_schedule", "wsd")
    assert (found.schedule, found.lr_final, found.warmup_steps) == ("cosine", 0.0, 100)
    assert optim("--lr_final", "1e-3", "--lr_schedule", "cos").schedule == "constant"
    assert "--lr_schedule linear: there are cos and wsd" in refused("--lr_schedule", "linear")


def test_warmup_steps() -> None:
    assert optim("--warmup_steps", "50").warmup_steps == 50
    assert optim("--warmup_steps", "-1").warmup_steps == 0


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("none", Full()),
        ("sft", Full()),
        ("lora", LoRA(8, 32.0, 0.01)),
        ("pissa", PiSSA(8)),
        ("PiSSA", PiSSA(8)),
        ("bone", MiSS(64)),
        ("disha", MiSS(64)),
        ("miss", MiSS(64)),
        ("bat", Bat(64)),
        ("state", State()),
    ],
)
def test_peft(name: str, method: object) -> None:
    run = planned("--peft", name).run
    assert run.method == method
    assert run.train_parts == (() if isinstance(method, (Full, State)) else ("time", "ln"))
    assert "did you mean 'pissa'" in refused("--peft", "pisa")


def test_lora_config() -> None:
    json = '{"lora_load":"","lora_r":16,"lora_alpha":32,"lora_dropout":0.1}'
    assert planned("--peft", "lora", "--lora_config", json).run.method == LoRA(16, 32.0, 0.1)
    run = planned("--peft", "lora", "--lora_config", '{"lora_parts":"att,emb"}').run
    assert (run.targets, run.train_parts) == (("att",), ("time", "ln", "emb"))
    assert planned("--peft", "lora", "--lora_config", '{"lora_parts":"att,ffn"}').run.targets == ()
    assert "lora_parts: no part 'attn'" in refused(
        "--peft", "lora", "--lora_config", '{"lora_parts":"attn"}'
    )
    assert "--lora_config is not for --peft pissa, which takes --pissa_config" in refused(
        *PISSA, "--lora_config", '{"lora_r":4}'
    )
    both = planned(*PISSA, "--lora_config", "{lora_r:4}", "--pissa_config", "{pissa_r:2}")
    assert both.run.method == PiSSA(2)
    assert both.lines == ("--lora_config: no effect (--peft pissa)",)
    assert planned("--lora_config", "{lora_r:4}").lines == (
        "--lora_config: no effect (all weights train)",
    )
    assert "rank = 0 must be at least 1" in refused("--peft", "lora", "--lora_config", "{lora_r:0}")


def test_pissa_config() -> None:
    json = '{"pissa_load":"","pissa_init":"","pissa_r":32,"svd_niter":4}'
    plan = planned(*PISSA, "--pissa_config", json)
    assert plan.run.method == PiSSA(32, svd_niter=4)
    assert (plan.choice.load, plan.choice.start, plan.run.adapter) == (None, None, None)
    loaded = planned(*PISSA, "--pissa_config", "{pissa_load:/a/b.pth,pissa_init:c.pth}")
    assert (str(loaded.choice.load), str(loaded.choice.start)) == ("/a/b.pth", "c.pth")
    assert str(loaded.run.adapter) == "out/start.safetensors"
    assert "needs the pissa_init" in refused(*PISSA, "--pissa_config", "{pissa_load:b.pth}")
    assert "goes with pissa_load" in refused(*PISSA, "--pissa_config", "{pissa_init:b.pth}")


@pytest.mark.parametrize(
    ("flag", "json", "method"),
    [
        ("bone_config", '{"bone_mode":"bone","bone_load":"","bone_r":32}', MiSS(32)),
        ("bone_config", '{"bone_mode":"bat","bone_load":"","bone_r":32}', Bat(32)),
        ("disha_config", '{"mode":"bone","load":"","r":16}', MiSS(16)),
        ("disha_config", '{"mode":"bat","r":16}', Bat(16)),
        ("miss_config", '{"mode":"mode","load":"","r":16}', MiSS(16)),
    ],
)
def test_bone_config(flag: str, json: str, method: object) -> None:
    for name in ("bone", "disha", "miss"):
        assert planned("--peft", name, f"--{flag}", json).run.method == method
    assert "mode 'bad' is not bone or bat" in refused("--peft", "bone", f"--{flag}", "{mode:bad}")


def test_peft_config() -> None:
    json = '{"r":8,"lora_alpha":16,"lora_dropout":0.05}'
    assert planned("--peft", "lora", "--peft_config", json).run.method == LoRA(8, 16.0, 0.05)
    assert planned("--peft", "miss", "--peft_config", '{"r":8}').run.method == MiSS(8)


@pytest.mark.parametrize("words", [["time", "ln"], ['["time",', '"ln"]'], ["[time,ln]"]])
def test_train_parts(words: list[str]) -> None:
    assert planned(*PISSA, "--train_parts", *words).run.train_parts == ("time", "ln")
    assert planned(*PISSA, "--train_parts", "head", "emb").run.train_parts == ("emb", "head")
    assert planned(*PISSA, "--train_parts").run.train_parts == ()
    assert "no part 'tim'; did you mean 'time'" in refused(*PISSA, "--train_parts", "tim")
    assert planned("--peft", "state", "--train_parts", "ln").lines == (
        "--train_parts: no effect (state tuning trains the states alone)",
    )


def test_train_type() -> None:
    assert planned("--train_type", "state").run.method == State()
    assert planned("--train_type", "none").run.method == Full()
    run = planned("--train_type", "infctx", *PISSA, "--ctx_len", "2048").run
    assert (run.loop.chunk, run.loop.detach_state) == (512, False)
    assert "exclude one another" in refused("--train_type", "state", *PISSA)
    assert "--train_type states: there are" in refused("--train_type", "states")
    rate = ("--lr_init", "1", "--lr_final", "0.01")
    assert "far above what states bear" in planned("--train_type", "state", *rate).lines[0]


def test_state_tune() -> None:
    assert planned("--state_tune").run.method == State()


def test_chunk_ctx() -> None:
    infctx = ("--train_type", "infctx", "--ctx_len", "1024", "--chunk_ctx")
    assert planned(*infctx, "256").run.loop.chunk == 256
    assert "must be smaller than --ctx_len" in refused(*infctx, "1024")
    assert "goes with --train_type infctx" in planned("--chunk_ctx", "256").lines[0]


@pytest.mark.parametrize("name", ["none", "int8", "nf4", "fp4", "4bit"])
def test_quant(name: str) -> None:
    assert planned("--quant", name).run.frozen.quant == name
    assert "--quant int8/nf4 means one of the two" in refused("--quant", "int8/nf4")
    assert "--quant fp8: there are none, int8" in refused("--quant", "fp8")


def test_mask_id() -> None:
    se = ("--loss_mask", "se", "--mask_id")
    found = planned(*se, '{"mask0":"User:","mask1":"Assistant:"}').run.reading
    assert (found.mask, found.mask_id) == ("se", ("Assistant:", "User:"))
    found = planned(*se, '{"mask0":"<a>","mask01":"<b>"}').run.reading  # as their mask_se.sh has it
    assert found.mask_id == ("<b>", "<a>")
    assert "B begins what is trained" in refused("--loss_mask", "se")


def test_accelerator() -> None:
    gpu = ("--accelerator", "gpu", "--precision", "bf16")
    run = planned(*gpu).run
    assert (run.engine.accelerator, run.precision) == ("gpu", "bf16")
    plan = planned(*gpu, gpu=False)
    assert (plan.run.engine.accelerator, plan.run.precision) == ("auto", "auto")
    assert "finds no GPU here; this trains on the CPU, in fp32" in plan.lines[0]
    run = planned("--accelerator", "cpu", "--precision", "bf16", gpu=False).run
    assert (run.engine.accelerator, run.precision) == ("cpu", "bf16")
    assert planned("--accelerator", "cuda").run.engine.accelerator == "gpu"
    assert planned(gpu=False).lines == ()


def test_rendezvous() -> None:
    two = ("--num_nodes", "2")
    assert planned(*two, "--rendezvous", "a:1").run.engine.rendezvous == "a:1"
    assert planned(*two).run.engine.rendezvous == "first:29500"
    assert planned(*two, MASTER_PORT="7").run.engine.rendezvous == "first:7"
    assert planned().run.engine.rendezvous is None


def test_wandb() -> None:
    assert planned("--wandb", "RWKV-PEFT-PiSSA").run.watch.wandb == "RWKV-PEFT-PiSSA"
    assert planned("--wandb", "").run.watch.wandb is None
