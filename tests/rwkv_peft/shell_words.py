"""Command lines: as a list of words, and as the scripts of the repository make them."""

import os
import subprocess
from pathlib import Path

from eyas.rwkv_peft.meaning import Plan, plan_of
from eyas.rwkv_peft.parsing import parse
from eyas.rwkv_peft.table import TRAIN

SCRIPTS = Path(__file__).parents[2] / "scripts"


def planned(*words: str, gpu: bool = True, **environment: str) -> Plan:
    """What these flags mean, beside a model and data."""
    given = parse(TRAIN, ["--load_model", "m.pth", "--data_file", "d", *words], "train.py")
    return plan_of(given, gpu, {"MASTER_ADDR": "first", **environment})


def quick(version: str = "x060", **flags: object) -> list[str]:
    """A command line of a short run, with these flags changed."""
    typed: dict[str, object] = {
        "load_model": f"{version}.pth", "proj_dir": "out", "data_file": "d", "ctx_len": 48,
        "micro_bsz": 5, "epoch_steps": 2, "epoch_count": 2, "epoch_save": 1,
        "lr_init": 1e-3, "lr_final": 1e-3, "peft": "pissa", **flags,
    }  # fmt: skip
    return ["train", *(word for name, value in typed.items() for word in (f"--{name}", str(value)))]


def words_of_script(name: str, shell: str = "sh", more: str = "", **filled_in: object) -> list[str]:
    """What a script hands to `python`, with its variables and flags filled in as in an editor.

    A flag is named with its dashes. more: flags that are put in.
    """
    lines = (SCRIPTS / name).read_text().splitlines()
    text = "\n".join(_filled(line, filled_in) for line in lines)
    return words_of(with_more(text, more), shell)


def with_more(script: str, more: str) -> str:
    """The script with more flags behind its first line of them."""
    return script.replace(" \\\n", f" {more} \\\n", 1)


def _filled(line: str, values: dict[str, object]) -> str:
    name, equals, _ = line.partition("=")
    if equals and name in values:
        return f"{name}='{values[name]}'"
    words = line.split(" ")
    for at, word in enumerate(words[:-1]):
        if word in values:
            words[at + 1] = str(values[word])
    return " ".join(words)


def words_of(script: str, shell: str = "sh") -> list[str]:
    """What a script hands to `python`, and for which program."""
    stub = Path("stub")
    stub.mkdir(exist_ok=True)
    (stub / "python").write_text(
        '#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done > words\n'
    )
    (stub / "python").chmod(0o755)
    Path("script.sh").write_text(script)
    path = f"{stub.resolve()}:{os.environ['PATH']}"
    subprocess.run([shell, "script.sh"], check=True, env={**os.environ, "PATH": path})
    program, *words = Path("words").read_text().split("\0")[:-1]
    return [{"train.py": "train", "merge/merge.py": "merge"}[program], *words]
