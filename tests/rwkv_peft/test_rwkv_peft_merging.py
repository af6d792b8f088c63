"""merge.py: its flags, and files as RWKV-PEFT lays them out, made here by hand."""

from pathlib import Path

import pytest
import torch
from shell_words import quick
from tolerance import assert_close

from eyas.models import read_tensors
from eyas.quant.nf4 import NF4

R, ALPHA = 4, 8.0


def draw(*shape: int, size: float = 0.1) -> torch.Tensor:
    return size * torch.randn(shape)


def linears(path: str) -> dict[str, torch.Tensor]:
    found = read_tensors(path).items()
    return {
        name.removesuffix(".weight"): tensor.float()
        for name, tensor in found
        if name.startswith("blocks") and name.endswith(".weight") and tensor.dim() == 2
    }


def lora_file(path: str = "rwkv-3.pth", base: str = "x060.pth") -> dict[str, torch.Tensor]:
    """A LoRA's file as theirs; the change of each weight."""
    torch.manual_seed(0)
    tensors, changes = {}, {}
    for name, weight in linears(base).items():
        A, B = draw(R, weight.shape[1]).bfloat16(), draw(weight.shape[0], R).bfloat16()
        tensors |= {f"{name}.lora_A": A, f"{name}.lora_B": B}
        changes[name] = ALPHA / R * B.float() @ A.float()
    torch.save({**tensors, "blocks.0.ln1.weight": draw(64).bfloat16()}, path)
    return changes


def pissa_files(prefix: str, base: str = "x060.pth") -> dict[str, tuple[torch.Tensor, ...]]:
    """rwkv-3.pth and init_pissa.pth as theirs; A0, B0, A, B of each layer."""
    torch.manual_seed(0)
    start, trained, pairs = {}, {}, {}
    for name, weight in linears(base).items():
        U, S, V = torch.linalg.svd(weight)
        A0, B0 = S[:R, None] ** 0.5 * V[:R], U[:, :R] * S[:R] ** 0.5
        A, B = ((t + draw(*t.shape, size=0.02)).bfloat16() for t in (A0, B0))
        trained |= {f"{name}.lora_A": A, f"{name}.lora_B": B}
        start |= {f"{prefix}{name}.init_lora_A": A0, f"{prefix}{name}.init_lora_B": B0}
        pairs[name] = (A0, B0, A.float(), B.float())
    torch.save(trained, "rwkv-3.pth")
    torch.save(start, "init_pissa.pth")
    return pairs


def merge_words(**flags: object) -> list[str]:
    typed = {"base_model": "x060.pth", "lora_checkpoint": "rwkv-3.pth", "output": "m.pth", **flags}
    return ["merge", *(word for name, value in typed.items() for word in (f"--{name}", str(value)))]


def assert_merged(expected: dict[str, torch.Tensor]) -> None:
    found = torch.load("m.pth", weights_only=True)
    for name, weight in expected.items():
        merged = found[f"{name}.weight"]
        assert_close(merged.float(), weight.to(merged.dtype).float())  # rounded once


@pytest.fixture
def run_of(done):
    """Trains with these flags; the folder."""

    def run(**flags: object) -> Path:
        done(*quick(epoch_count=1, **flags))
        return Path(str(flags.get("proj_dir", "out")))

    return run


def test_merge_lora_alpha(done, refused) -> None:
    changes = lora_file()
    done(*merge_words(type="lora", lora_alpha=8))
    assert_merged({name: weight + changes[name] for name, weight in linears("x060.pth").items()})
    found = torch.load("m.pth", weights_only=True)["blocks.0.ln1.weight"]
    assert torch.equal(found, torch.load("rwkv-3.pth")["blocks.0.ln1.weight"])
    assert "--lora_alpha: missing; give the lora_alpha" in refused(*merge_words(type="lora"))


@pytest.mark.parametrize("prefix", ["", "model."])
def test_merge_lora_init(prefix: str, done, refused) -> None:
    pairs, weights = pissa_files(prefix), linears("x060.pth")
    expected = {
        n: w + pairs[n][3] @ pairs[n][2] - pairs[n][1] @ pairs[n][0] for n, w in weights.items()
    }
    done(*merge_words(type="pissa", lora_init="init_pissa.pth"))
    assert_merged(expected)
    done(*merge_words(type="pissa", pissa_init="init_pissa.pth"))
    assert "init_pissa.pth, which lies beside the checkpoint" in done(*merge_words(type="pissa"))
    assert_merged(expected)
    Path("init_pissa.pth").unlink()
    assert "--lora_init: missing; give the init_pissa.pth" in refused(*merge_words(type="pissa"))


def test_merge_quant(done, refused) -> None:
    """W' = quantize(W - B0 A0) + B A, quantized as bitsandbytes does it."""
    pairs = pissa_files("model.")
    done(*merge_words(type="pissa", quant="nf4"))
    expected = {}
    for name, weight in linears("x060.pth").items():
        A0, B0, A, B = pairs[name]
        rest = (weight.double() - B0.double() @ A0.double()).float()
        codes = NF4().quantize(rest)
        expected[name] = NF4().dequantize(codes, rest.shape) + B @ A
    assert_merged(expected)
    assert "--quant int8/nf4 means one of the two" in refused(*merge_words(quant="int8/nf4"))


def test_merge_type(done, refused) -> None:
    lora_file()
    assert "--type lorra: there are pissa, lora" in refused(*merge_words(type="lorra"))
    assert "is lora or pissa, and --type says bone" in refused(*merge_words(type="bone"))
    done(*merge_words(lora_alpha=8))  # left out: what else would alpha be for
    weights = linears("x060.pth")
    torch.save({f"{n}.disha": draw(8, len(w)) for n, w in weights.items()}, "rwkv-4.pth")
    done(*merge_words(lora_checkpoint="rwkv-4.pth"))
    for name in ("bone", "disha", "miss"):
        done(*merge_words(lora_checkpoint="rwkv-4.pth", type=name))
    assert "is bone, and --type says lora" in refused(
        *merge_words(lora_checkpoint="rwkv-4.pth", type="lora", lora_alpha=8)
    )


@pytest.mark.parametrize("name", ["lora", "pissa", "bone", "disha", "miss", "state", "peft"])
def test_merge_lora_checkpoint(name: str, done, refused) -> None:
    torch.save({f"blocks.{i}.att.time_state": draw(4, 16, 16) for i in range(2)}, "s.pth")
    words = ["merge", "--base_model", "x060.pth", "--output", "m.pth"]
    done(*words, f"--{name}_checkpoint", "s.pth")
    merged = torch.load("m.pth", weights_only=True)
    states = torch.load("s.pth")
    assert all(torch.equal(merged[key], state.bfloat16()) for key, state in states.items())
    assert "--lora_checkpoint: missing" in refused(*words)


def test_merge_base_model(done, refused) -> None:
    lora_file()
    line = refused(*merge_words(base_model="x070.pth", type="lora", lora_alpha=8))
    assert "rwkv-3.pth: does not fit x070.pth (x070 L2" in line
    assert "no such file" in refused(*merge_words(base_model="none.pth"))
    assert "is a whole model" in refused(*merge_words(lora_checkpoint="x052.pth"))
    done(*merge_words(type="lora", lora_alpha=8))


def test_merge_output(done, refused) -> None:
    lora_file()
    lora = {"type": "lora", "lora_alpha": 8}
    done(*merge_words(**lora))
    first = Path("m.pth").read_bytes()
    Path("m.pth").write_bytes(b"older")
    done(*merge_words(**lora))
    assert Path("m.pth").read_bytes() == first
    for name in ("x060.pth", "rwkv-3.pth"):
        assert "is what is to be merged" in refused(*merge_words(**lora, output=name))
    assert "the folder nowhere does not exist" in refused(
        *merge_words(**lora, output="nowhere/m.pth")
    )


def test_nothing_to_do_for_a_merge(done) -> None:
    lora_file()
    out = done(*merge_words(type="lora", lora_alpha=8, device="cuda"))
    assert "--device cuda: nothing to do" in out


def test_a_run_of_eyas_knows_how_it_was_trained(run_of, done, refused) -> None:
    folder = run_of(quant="nf4", peft="lora", lora_config="{lora_r:4,lora_alpha:8}")
    known = {"lora_checkpoint": folder / "rwkv-0.pth"}
    done(*merge_words(**known))
    merged = Path("m.pth").read_bytes()
    done(*merge_words(**known, type="lora", quant="nf4", lora_alpha=8))
    assert Path("m.pth").read_bytes() == merged
    assert "trained over a base quantized to nf4" in refused(*merge_words(**known, quant="int8"))
    assert "trained with 8; write that" in refused(*merge_words(**known, lora_alpha=32))
    assert "was trained as lora, and --type says pissa" in refused(
        *merge_words(**known, type="pissa")
    )


def test_the_codes_of_a_quantized_run_are_checked(run_of, refused) -> None:
    folder = run_of(quant="int8")
    start = torch.load(folder / "init_pissa.pth")
    torch.save({name: 1.01 * tensor for name, tensor in start.items()}, folder / "init_pissa.pth")
    line = refused(*merge_words(type="pissa", lora_checkpoint=folder / "rwkv-0.pth"))
    assert "is not the one this adapter was trained on" in line
