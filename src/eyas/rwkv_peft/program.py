"""train.py and merge/merge.py: `python -m eyas.rwkv_peft train|merge FLAGS`."""

import sys
from collections.abc import Sequence

from eyas.config import did_you_mean
from eyas.errors import UserError
from eyas.files import is_disk_full
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

    return leave(code)


def _main(words: Sequence[str]) -> int:
    for stream in (sys.stdout, sys.stderr):  # a console of another encoding shows ? instead
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    verb = words[0] if words else ""
    if verb not in _VERBS:
        return _told(f"say train or merge, and their flags{did_you_mean(verb, _VERBS)}", "eyas")
    program = f"{verb}.py"
    try:
        given = parse(_VERBS[verb], words[1:], program, _ABOUT[verb])
    except UserError as error:
        return _told(str(error), program)
    try:
        return _run(verb, given, words[1:])
    except UserError as error:
        return _told(in_flags(str(error)), program)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        if error.filename is None and not is_disk_full(error):
            raise
        place = f"{error.filename}: " if error.filename else ""
        return _told(f"{place}{error.strerror}; check the path, or name another place", program)


def _run(verb: str, given: Given, words: Sequence[str]) -> int:
    # Imported here: a mistyped flag is told at once.
    if verb == "merge":
        from eyas.rwkv_peft.merging import merge

        return merge(given)
    from eyas.rwkv_peft.training import train

    return train(given, words)


def _told(message: str, who: str) -> int:
    print(f"{who}: {' '.join(message.splitlines())}", file=sys.stderr)
    return 2
