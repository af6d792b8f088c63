"""Data sets that the library `datasets` saved: folders that `save_to_disk` wrote."""

import json
from pathlib import Path
from typing import Any

from eyas.data.reading.kinds import DataFile
from eyas.errors import UserError

_SET, _SETS = "state.json", "dataset_dict.json"
_TRAIN = "train"


def saved_files(folder: Path) -> list[DataFile] | None:
    """The files of a saved data set, or of the train part of several; None for another folder.

    Raises UserError where there are several parts and none is named train.
    """
    if (folder / _SETS).is_file():
        parts = _entry(folder / _SETS, "splits")
        part = _TRAIN if _TRAIN in parts else parts[0]
        if part != _TRAIN and len(parts) > 1:
            raise UserError(
                f"{folder}: holds the parts {', '.join(parts)}; name one, such as {folder / part}"
            )
        return _arrow_files(folder / part, f"{part}/")
    return _arrow_files(folder, "") if (folder / _SET).is_file() else None


def _arrow_files(folder: Path, prefix: str) -> list[DataFile]:
    names = [Path(entry["filename"]).name for entry in _entry(folder / _SET, "_data_files")]
    return [DataFile(folder / name, "arrow", prefix + name) for name in names]


def _entry(path: Path, key: str) -> list[Any]:
    try:
        found: list[Any] = json.loads(path.read_text("utf-8"))[key]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path}: is damaged; save the data set again") from error
    return found
