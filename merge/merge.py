"""Merges what train.py wrote into its base model: see docs/rwkv-peft.md."""

import sys

try:
    from eyas.rwkv_peft.program import main
except ModuleNotFoundError as error:
    if error.name != "eyas":
        raise
    sys.exit(
        f"merge.py: eyas is not installed for {sys.executable}; in the folder above this one run: "
        f"{sys.executable} -m pip install -e ."
    )

if __name__ == "__main__":
    sys.exit(main(["merge", *sys.argv[1:]]))
