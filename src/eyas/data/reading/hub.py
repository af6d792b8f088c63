"""Data sets on the Hugging Face hub, through the library `datasets`: streamed, never stored.

OWNER/NAME    OWNER/NAME:SPLIT    OWNER/NAME:CONFIG    OWNER/NAME:CONFIG:SPLIT
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eyas.data.reading.document import Bad
from eyas.data.reading.kinds import kind_of_name
from eyas.data.reading.mistakes import RecordError
from eyas.data.reading.record import Columns, Item
from eyas.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(:[\w.-]+){0,2}")
_TRAIN = "train"
_TIMEOUT_SECONDS = 10.0
_LONGEST = 200  # characters of what the libraries say


def is_hub_name(source: Path | str) -> bool:
    """Whether it is written as a data set of the hub, and cannot be a path that was mistyped."""
    name = source.as_posix() if isinstance(source, Path) else source
    if not _NAME.fullmatch(name) or os.path.lexists(source) or kind_of_name(Path(name)):
        return False
    return not os.path.isdir(name.partition("/")[0])


def hub_rows(name: str, columns: Columns) -> Iterator[Item]:
    """The rows of a split as records of the columns that are used; `train` where none is named.

    Raises UserError where the data set cannot be opened.
    """
    try:
        # Imported here: they take a second, and are an extra.
        from datasets import get_dataset_config_names, load_dataset
        from datasets.exceptions import DatasetsError
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise UserError(
            f"{name}: no such file or folder, and data sets of the Hugging Face hub need the "
            "extra eyas[hub] (pip install datasets)"
        ) from error
    # Its bases hold what the HTTP library below raises, which has not always been the same one.
    faults = (*HfHubHTTPError.__bases__, OSError, DatasetsError)
    repository, *parts = name.split(":")
    try:
        # Without a network this fails at once, where `datasets` tries for half a minute.
        HfApi().dataset_info(repository, timeout=_TIMEOUT_SECONDS)
        if len(parts) == 1:
            named = parts[0] in get_dataset_config_names(repository)
            parts = [parts[0], _TRAIN] if named else parts
        config, split = parts if len(parts) == 2 else (None, *(parts or [_TRAIN]))
        rows = load_dataset(repository, config, split=split, streaming=True)
    except ValueError as error:
        raise UserError(
            f"{name}: {_said(error)}; write {repository}:SPLIT or {repository}:CONFIG:SPLIT"
        ) from error
    except faults as error:
        folder = repository.partition("/")[2]
        raise UserError(
            f"{name}: no such file or folder here, and no data set of the Hugging Face hub that "
            f"can be reached ({_said(error)}); where there is a network: hf download {repository} "
            f"--repo-type dataset --local-dir {folder}, and name that folder"
        ) from error
    return _items(rows, f"{repository}:{split}", columns, faults)


def _items(
    rows: Iterable[Mapping[str, Any]],
    place: str,
    columns: Columns,
    faults: tuple[type[Exception], ...],
) -> Iterator[Item]:
    number, names = 0, None
    try:
        for number, row in enumerate(rows, start=1):
            names = names or columns(list(row))
            yield f"{place} row {number}", {column: row[column] for column in names}
    except RecordError as error:
        yield Bad(place, f"the data set {error}")
    except faults as error:
        yield Bad(place, f"the hub gave nothing after row {number} ({_said(error)}); run it again")


def _said(error: Exception) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
