"""Command lines: as a list of words, and as the scripts of the repository make them."""

import os
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"


def quick(version: str = "x060", **flags: object) -> list[str]:
    """A command line of a short run, with these flags changed."""
    typed: dict[str, object] = {
        "load_model": f"{version}.pth", "proj_dir": "out", "data_file": "d", "ctx_len": 48,
        "micro_bsz": 5, "epoch_steps": 2, "epoch_count": 2, "epoch_save": 1,
        "lr_init": 1e-3, "lr_final": 1e-3, "peft": "pissa", **flags,
    }  # fmt: skip
    return ["train", *(word for name, value in typed.items() for word in (f"--{name}", str(value)))]


def words_of_script(name: str, shell: str = "sh", **filled_in: object) -> list[str]:
    """What a script hands to `python`, with variables and flags filled in as with an editor.

    A flag is named with its dashes: `**{"--devices": 2}`.
    """
    lines = (SCRIPTS / name).read_text().splitlines()
    text = "\n".join(filled(line, filled_in) for line in lines)
    Path(name).write_text(text)
    return words_of(f"{shell} {name}")


def filled(line: str, values: dict[str, object]) -> str:
    name, _, rest = line.partition("=")
    if rest and name in values:
        return f"{name}='{values[name]}'"
    words = line.split(" ")
    for at, word in enumerate(words[:-1]):
        if word in values:
            words[at + 1] = str(values[word])
    return " ".join(words)


def words_of(command: str) -> list[str]:
    """What a command of the shell hands to `python`."""
    place = Path("stub")
    place.mkdir(exist_ok=True)
    stub = place / "python"
    stub.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done > words\n')
    stub.chmod(0o755)
    path = f"{place.resolve()}:{os.environ['PATH']}"
    subprocess.run(command, shell=True, check=True, env={**os.environ, "PATH": path})
    program, *words = Path("words").read_text().split("\0")[:-1]
    return [{"train.py": "train", "merge/merge.py": "merge"}[program], *words]
