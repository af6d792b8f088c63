"""Every flag is declared once: what follows from the declarations, and that none is missing."""

from pathlib import Path

import pytest
from flag_table import PAGE, page_with_tables, proof_of
from shell_words import planned, quick

from eyas.models import Shape
from eyas.rwkv_peft.flags import Flag, Idle, OfFile, Only, Sets
from eyas.rwkv_peft.meaning import check_shape
from eyas.rwkv_peft.table import MERGE, TRAIN
from eyas.settings import flat, run_to_mapping

# Read off RWKV-PEFT's train.py, at e184ef6 (2024-12) and 5b8aac9 (2025-06).
OF_2024 = {
    "load_model", "wandb", "proj_dir", "random_seed", "data_file", "data_type", "vocab_size",
    "ctx_len", "epoch_steps", "epoch_count", "epoch_begin", "epoch_save", "micro_bsz", "n_layer",
    "n_embd", "dim_att", "dim_ffn", "pre_ffn", "head_qk", "tiny_att_dim", "tiny_att_layer",
    "lr_init", "lr_final", "warmup_steps", "beta1", "beta2", "adam_eps", "grad_cp", "dropout",
    "weight_decay", "weight_decay_final", "my_pile_version", "my_pile_stage", "my_pile_shift",
    "my_pile_edecay", "layerwise_lr", "ds_bucket_mb", "my_sample_len", "my_ffn_shift",
    "my_att_shift", "head_size_a", "head_size_divisor", "my_pos_emb", "load_partial",
    "magic_prime", "my_qa_mask", "my_random_steps", "my_testing", "my_exit", "my_exit_tokens",
    "peft", "train_parts", "lora_config", "pissa_config", "bone_config", "quant", "dataload",
    "state_tune", "chunk_ctx", "fla", "train_type", "loss_mask", "mask_id", "data_shuffle",
    "optim", "avg_loss", "sft_field", "sft_split", "accelerator", "strategy", "devices",
    "num_nodes", "precision", "accumulate_grad_batches",
}  # fmt: skip
NEW_IN_2025 = {"disha_config", "op", "fused_kernel", "lr_schedule"}
OF_THE_MERGES = {
    "type", "base_model", "lora_init", "lora_checkpoint", "peft_checkpoint", "state_checkpoint",
    "output", "quant", "device", "lora_alpha",
}  # fmt: skip

# What is typed for a flag that sets something, and what the setting is then.
SETTINGS = {
    "proj_dir": ("here", str(Path("here"))),
    "data_type": ("jsonl", "jsonl"),
    "ctx_len": ("768", 768),
    "micro_bsz": ("3", 3),
    "accumulate_grad_batches": ("4", 4),
    "lr_init": ("3e-4", 3e-4),
    "beta1": ("0.8", 0.8),
    "beta2": ("0.999", 0.999),
    "adam_eps": ("1e-6", 1e-6),
    "weight_decay": ("0.01", 0.01),
    "layerwise_lr": ("0", False),
    "dataload": ("get", "get"),
    "loss_mask": ("qa", "qa"),
    "devices": ("2", 2),
    "num_nodes": ("2", 2),
    "strategy": ("deepspeed_stage_2_offload", "deepspeed_stage_2_offload"),
    "precision": ("tf32", "tf32"),
    "grad_cp": ("1", True),
}
SHAPE = Shape("x060", 24, 2048, 32, 7168, 65536)
OF_THE_FILE = {  # what it says, and another value
    "n_layer": (24, 32),
    "n_embd": (2048, 2560),
    "my_testing": ("x060", "x070"),
    "dim_att": (2048, 4096),
    "dim_ffn": (7168, 8192),
    "head_size_a": (64, 32),
    "vocab_size": (65536, 50277),
}


def flags_that(does: type) -> list[str]:
    return [flag.name for flag in TRAIN if isinstance(flag.does, does)]


def flag_named(name: str) -> Flag:
    return next(flag for flag in TRAIN if flag.name == name)


def test_every_flag_of_theirs_is_there() -> None:
    spellings = {spelling for flag in TRAIN for spelling in (flag.name, *flag.also)}
    assert (OF_2024 | NEW_IN_2025) - spellings == set()


def test_every_flag_of_their_merges_is_there() -> None:
    spellings = {spelling for flag in MERGE for spelling in (flag.name, *flag.also)}
    assert OF_THE_MERGES - spellings == set()


@pytest.mark.parametrize("name", flags_that(Sets))
def test_a_setting(name: str) -> None:
    typed, expected = SETTINGS[name]
    found = flat(run_to_mapping(planned(f"--{name}", typed).run))
    assert found[flag_named(name).does.setting] == expected


@pytest.mark.parametrize("name", flags_that(OfFile))
def test_what_the_file_says(name: str) -> None:
    right, wrong = OF_THE_FILE[name]
    check_shape(planned(f"--{name}", str(right)).given, SHAPE, Path("m.pth"))
    with pytest.raises(Exception, match=rf"m.pth: is x060 L24 C2048 .*--{name} {right}"):
        check_shape(planned(f"--{name}", str(wrong)).given, SHAPE, Path("m.pth"))


@pytest.mark.parametrize("name", ["vocab_size", "dim_att", "dim_ffn"])
def test_0_leaves_it_to_the_file(name: str) -> None:
    check_shape(planned(f"--{name}", "0").given, SHAPE, Path("m.pth"))


def test_what_is_not_typed_contradicts_nothing() -> None:
    check_shape(planned().given, SHAPE, Path("m.pth"))


@pytest.mark.parametrize("name", flags_that(Only))
def test_one_meaning(name: str) -> None:
    flag = flag_named(name)
    only = flag.does.values[0]
    lines = planned(f"--{name}", str(only)).lines
    assert lines == (f"--{name} {only}: nothing to do ({flag.here})",)
    other = "adam_mini" if flag.kind == "text" else "7"
    with pytest.raises(Exception, match=rf"^--{name} 7|adam_mini.*: only .* can be done"):
        planned(f"--{name}", other)


@pytest.mark.parametrize("name", flags_that(Idle))
def test_nothing_to_do(name: str) -> None:
    flag = flag_named(name)
    typed = [] if flag.kind == "switch" else ["1"]
    plan = planned(f"--{name}", *typed)
    assert plan.lines == (f"{' '.join([f'--{name}', *typed])}: nothing to do ({flag.here})",)
    assert plan.run == planned().run


def test_the_defaults_are_theirs() -> None:
    run = planned().run
    assert (run.batch.ctx, run.batch.micro_batch, run.batch.dataload) == (1024, 12, "pad")
    assert (run.loop.steps, run.optim.lr, run.optim.lr_final) == (500_000, 6e-4, 1e-5)
    assert (run.method.name, run.precision, run.reading.data_type) == ("full", "auto", "auto")


def test_the_last_time_counts() -> None:
    run = planned("--dataload", "get", "--ctx_len", "8", "--dataload", "pad").run
    assert (run.batch.dataload, run.batch.ctx) == ("pad", 8)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ctx_length", "5"], "no flag --ctx_length; did you mean '--ctx_len'?"),
        (["--ctx-len=5"], "no flag --ctx-len=5; did you mean '--ctx_len'?"),
        (["--lora_r", "5"], "--lora_r goes into the JSON of --lora_config"),
        (["--svd_niter", "5"], "--svd_niter goes into the JSON of --pissa_config"),
        (["--ctx_len", "many"], "--ctx_len 'many' is not a whole number"),
        (["--lr_init", "high"], "--lr_init 'high' is not a number"),
        (["--data_file"], "--data_file has no value: the variable behind it is empty"),
        (["--data_file", "my", "data"], "--data_file takes one text and got 2 (my data); quote it"),
        (["--pissa_config", "32"], "--pissa_config '32' is no JSON object; write it between"),
        (["--pissa_config", "{pissa_rank:4}"], "knows no 'pissa_rank'; did you mean 'pissa_r'?"),
        (["--pissa_config"], "--pissa_config has no value"),
        (["--fla", "yes"], "'yes' follows no flag"),
        (["--ctx", "5", "--epoch", "3"], "no flag --ctx; did you mean '--ctx_len'?; no flag"),
        (["--micro_bsz", "0"], "--micro_bsz must be at least 1 row, not 0"),
        (["--dataload", "padd"], "--dataload = 'padd' must be one of pack, pad, only, get; did"),
        (["--data_type", "wds_img"], "data_type wds_img was left over from an image experiment"),
        (["--beta1", "2"], "beta1 = 2.0 must be at least 0 and below 1"),
        (["--precision", "bf61"], "--precision = 'bf61' must be one of"),
        (["--random_seed", str(2**64)], "--random_seed = 18446744073709551616 must be"),
        (["--pissa_config", "{pissa_r:x}"], "--pissa_config: pissa_r = 'x' must be a whole"),
        (["--pissa_config", "{svd_niter:x}"], "--pissa_config: svd_niter = 'x' must be a whole"),
        (["--peft", "bone", "--bone_config", "{r:x}"], "--bone_config: bone_r = 'x' must be a"),
        (["--strategy", "deepspeed"], "--strategy = 'deepspeed' must be one of auto, ddp, fsdp"),
    ],
)
def test_mistakes_are_one_line_in_the_words_of_the_flags(refused, words, said) -> None:
    line = refused(*quick(), *words)
    assert line.startswith("train.py: ")
    assert said in line


def test_help_names_every_flag(program) -> None:
    with pytest.raises(SystemExit):
        program("train", "--help")


def test_the_table_in_the_docs() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with_tables(page)


def test_the_tests_of_the_table_are_there() -> None:
    texts = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    wanted = [proof_of(f, p) for p, flags in (("train", TRAIN), ("merge", MERGE)) for f in flags]
    for test in wanted:
        name = f"def {test.partition('[')[0]}("
        assert any(name in text for text in texts), name
