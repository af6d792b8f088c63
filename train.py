"""Fine-tunes a model with the flags of RWKV-PEFT: see docs/rwkv-peft.md."""

import sys

try:
    from eyas.rwkv_peft.program import main
except ModuleNotFoundError as error:
    if error.name != "eyas":
        raise
    sys.exit(
        f"train.py: eyas is not installed for {sys.executable}; in the folder of this file run: "
        f"{sys.executable} -m pip install -e ."
    )

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
