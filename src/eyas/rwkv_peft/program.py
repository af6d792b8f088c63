"""train.py and merge/merge.py: `python -m eyas.rwkv_peft train|merge FLAGS`."""

import os
import sys
from collections.abc import Sequence

from eyas.complaints import accept_any_text, complain, mendable
from eyas.config import did_you_mean
from eyas.errors import ToldElsewhereError, UserError
from eyas.rwkv_peft.flags import Given
from eyas.rwkv_peft.parsing import parse
from eyas.rwkv_peft.table import MERGE, TRAIN
from eyas.rwkv_peft.words import in_flags

_VERBS = {"train": TRAIN, "merge": MERGE}
_ABOUT = {
    "train": "Fine-tunes an RWKV model as RWKV-PEFT does, with its flags.",
    "merge": "Merges what train.py wrote into its base model.",
}
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(words: Sequence[str]) -> int:
    """Runs `train` or `merge`, the first word, with the flags behind it; the exit code.

    What the user can mend is one line on standard error and 2; a fault of ours keeps its traceback.
    """
    code = _main(words)
    if "torch.distributed" not in sys.modules:
        return code
    from eyas.training.ranks import leave

    return leave(code, os.environ)


def _main(words: Sequence[str]) -> int:
    accept_any_text()
    verb = words[0] if words else ""
    if verb not in _VERBS:
        known = did_you_mean(verb, _VERBS)
        return complain(UserError(f"say train or merge, and their flags{known}"), "eyas")
    program = f"{verb}.py"
    try:
        given = parse(_VERBS[verb], words[1:], program, _ABOUT[verb])
    except UserError as error:
        return complain(error, program)
    try:
        return _run(verb, given, words[1:])
    except ToldElsewhereError as error:
        return complain(error, program)
    except UserError as error:
        return complain(UserError(in_flags(str(error))), program)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        return complain(mendable(error), program)


def _run(verb: str, given: Given, words: Sequence[str]) -> int:
    # Imported here: a mistyped flag is told at once.
    if verb == "merge":
        from eyas.rwkv_peft.merging import merge

        return merge(given)
    from eyas.rwkv_peft.training import train

    return train(given, words)
