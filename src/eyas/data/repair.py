"""A repaired copy of data, with a report of every change. The input is never touched.

    OUT                  the copy: of a .txt file .txt, of everything else JSON lines
    OUT.report.txt       each change with its place, and how many there are of each kind
    OUT.rejected.jsonl   the records that cannot be read even so, where there are any

In a copy of JSON lines a record without a change stays as it is written, and every line keeps its
number: in the place of a record that is put aside there is a blank line.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from eyas.data.mender import Account
from eyas.data.outward import data_files_at
from eyas.data.reading import ACCEPTED, ReadConfig, is_tokens
from eyas.data.reading.compression import DamagedError
from eyas.data.reading.kinds import DataFile
from eyas.data.reading.mistakes import RecordError
from eyas.data.repairing import Copying
from eyas.errors import UserError
from eyas.files import atomic_path


@dataclass(frozen=True)
class Repaired:
    """What was written; `rejected` is None where no record was put aside."""

    out: Path
    report: Path
    rejected: Path | None
    account: Account


def repair(source: Path, out: Path, config: ReadConfig, overwrite: bool) -> Repaired:
    """Writes the repaired copy. Raises UserError, and leaves everything as it was."""
    files = _files(source, config)
    as_text = files[0].kind == "txt" and files[0].path == source
    report, rejected = (Path(f"{out}.{end}") for end in ("report.txt", "rejected.jsonl"))
    _check(source, (out, report, rejected), ".txt" if as_text else ".jsonl", overwrite)
    with ExitStack() as stack:
        # The first one is in its place the last; errors name it.
        new = [stack.enter_context(atomic_path(path)) for path in (out, report, rejected)]
        # Lone surrogates can only stand in keys, which JSON may escape.
        copy, told, aside = (
            stack.enter_context(
                path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
            )
            for path in new
        )
        account = Account(told, aside)
        _copy(files, as_text, Copying(copy, config, account))
        summary = ["", f"{out}: a repaired copy of {source}", *account.lines()]
        told.writelines(f"{line}\n" for line in summary)
    if not account.put_aside:
        rejected.unlink()
    return Repaired(out, report, rejected if account.put_aside else None, account)


def _copy(files: Sequence[DataFile], as_text: bool, copying: Copying) -> None:
    for file in files:
        try:
            if as_text:
                copying.text(file)
            else:
                copying.records(file)
        except (RecordError, DamagedError) as error:
            raise UserError(f"{file.path}: {error}") from error


def _files(source: Path, config: ReadConfig) -> Sequence[DataFile]:
    if is_tokens(source, config):
        raise UserError(f"{source}: holds tokens; repair the text that they were made from")
    if not source.exists():
        raise UserError(f"{source}: no such file or folder; only these can be repaired")
    files = data_files_at(source, config)
    if not files:
        raise UserError(f"{source}: is no data that can be repaired; data is {ACCEPTED}")
    return files


def _check(source: Path, written: Sequence[Path], suffix: str, overwrite: bool) -> None:
    out = written[0]
    if out.suffix.lower() != suffix:
        raise UserError(f"{out}: the repaired copy is {suffix}; name it {out.stem}{suffix}")
    within = source.resolve()
    if within in (path for each in written for path in (each.resolve(), each.resolve().parent)):
        raise UserError(f"{out}: lies in the data themselves; name another place for the copy")
    for path in written:
        if os.path.lexists(path) and not overwrite:
            raise UserError(f"{path}: exists already; add --overwrite, or name another --fix")
