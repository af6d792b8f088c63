"""JSON and lists as shells hand them on, whole or without their quotes.

'{"pissa_r":32, "svd_niter":4}'             as it was meant
{"pissa_r":32,  "svd_niter":4}              an unquoted variable, split at the blank
{pissa_r:32,svd_niter:4}                    typed without quotes, or between double ones
pissa_r:32  svd_niter:4                     the same in bash, whose braces are a list
[time,ln]   [time,  ln]   time  ln          all of these are the list ["time", "ln"]
"""

import json
import re
from collections.abc import Sequence

# A name before a colon; no drive as in C:/models, and no scheme as in https://
_KEY = re.compile(r"""(?:^|(?<=[\s,{]))["']?([A-Za-z](?!:[/\\])|[A-Za-z_]\w+(?!://))["']?\s*:""")
_AROUND = " \t\n,"


def settings_of(words: Sequence[str]) -> dict[str, object]:
    """The object that these words of a command line were. Raises ValueError where they are none."""
    text = " ".join(words).strip()
    try:
        found = json.loads(text)
    except ValueError:
        found = _without_quotes(text)
    if not isinstance(found, dict):
        raise ValueError(f"{text!r} is no JSON object")
    return found


def list_of(words: Sequence[str]) -> tuple[str, ...]:
    """The words of a list, however it was written."""
    return tuple(re.findall(r"""[^\s,\[\]()"']+""", " ".join(words)))


def _without_quotes(text: str) -> dict[str, object]:
    bare = text.strip("'\"" + _AROUND)
    bare = bare.removeprefix("{").removesuffix("}").strip(_AROUND)
    keys = list(_KEY.finditer(bare))
    if bare and (not keys or bare[: keys[0].start()].strip()):
        raise ValueError(f"{text!r} is no JSON object")
    ends = [*(key.start() for key in keys[1:]), len(bare)]
    return {key[1]: _value(bare[key.end() : end]) for key, end in zip(keys, ends, strict=True)}


def _value(text: str) -> object:
    bare = text.strip(_AROUND)
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "'\"":
        return bare[1:-1]
    try:
        number = json.loads(bare)
    except ValueError:
        return bare
    return number if isinstance(number, (int, float)) else bare
