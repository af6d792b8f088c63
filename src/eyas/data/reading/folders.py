"""The data files of a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

from eyas.data.reading.config import DataType
from eyas.data.reading.kinds import DataFile, kind_of_name, kind_of_type
from eyas.data.reading.saved_sets import saved_files
from eyas.data.reading.splits import trained_parts
from eyas.errors import UserError

# What data sets say about themselves.
_ABOUT = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}


def files_of(folder: Path, data_type: DataType) -> list[DataFile]:
    """By name, those of all folders in it too; of a data set in parts, what is trained on.

    Raises UserError where there are none, and where texts lie beside records.
    """
    saved = saved_files(folder)
    if saved is not None:
        return saved
    wanted = kind_of_type(data_type)
    kinds = {path: kind_of_name(path) for path in _walk(folder) if path.name not in _ABOUT}
    found = {path: kind for path, kind in kinds.items() if kind and wanted in (None, kind)}
    if not found:
        kinds_shown = f".{wanted}" if wanted else ".jsonl, .json, .csv, .parquet or .txt"
        raise UserError(f"{folder}: holds no {kinds_shown} files; name a folder or file of data")
    if {"txt"} < set(found.values()):
        texts = sum(kind == "txt" for kind in found.values())
        raise UserError(
            f"{folder}: holds {texts} .txt and {len(found) - texts} other data files; choose with "
            "--data-type, such as txt or jsonl"
        )
    places = {path.relative_to(folder): path for path in sorted(found)}
    names = list(places) if "txt" in found.values() else trained_parts(places)
    return [DataFile(places[name], found[places[name]], name.as_posix()) for name in names]


def _walk(folder: Path) -> Iterator[Path]:
    """All that is no folder, links followed, each folder once.

    Names that begin with a dot are the system's: macOS puts "._a.txt" beside "a.txt".
    """
    seen = set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in names if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be read ({error.strerror}); check the path")
