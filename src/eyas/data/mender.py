"""Records repaired one by one, and an account of it."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from eyas.data.lint import Finding, Kind
from eyas.data.mending import mended
from eyas.data.reading import ReadConfig
from eyas.data.reading.mapping import mapped_fields
from eyas.data.reading.mistakes import RecordError
from eyas.data.reading.rendering import Rendering


@dataclass
class Account:
    """What was changed and what was put aside, written down as it happens."""

    report: TextIO
    rejected: TextIO
    records: int = 0
    changed: int = 0
    put_aside: int = 0
    counts: Counter[Kind] = field(default_factory=Counter)

    def tell(self, place: str, finding: Finding) -> None:
        self.counts[finding.kind] += finding.times
        times = f" ({finding.times:,} times)" if finding.times > 1 else ""
        self.report.write(f"{place}: {finding.kind.label}{times} {finding.shown}".rstrip() + "\n")

    def reject(self, place: str, problem: str, record: object) -> None:
        self.put_aside += 1
        self.report.write(f"{place}: put aside: {problem}\n")
        line = json.dumps({"place": place, "problem": problem, "record": record})
        self.rejected.write(f"{line}\n")

    def lines(self) -> Iterator[str]:
        """All of it in short."""
        yield f"{self.records:,} records, {self.changed:,} of them changed"
        for kind, count in self.counts.most_common():
            yield f"{count:,} x {kind.label}: {kind.repair}"
        if self.put_aside:
            yield f"{self.put_aside:,} records put aside: they cannot be read even so"


class Mender:
    """Repairs records as a reader of `config` takes them."""

    def __init__(self, config: ReadConfig, account: Account) -> None:
        self._account = account
        self._rendering = Rendering(config)
        mapped = mapped_fields(config.map)
        self._texts = {name for name, target in mapped if target == "text"} if mapped else {"text"}

    def record(
        self, place: str, record: object, before: Sequence[Finding] = ()
    ) -> tuple[object, bool] | None:
        """The record repaired, and whether anything was; None where it cannot be used even so.

        before: what was found in it, and repaired, already.
        """
        found = list(before)
        whole = record
        if isinstance(record, dict):
            # A text may hold turns; a message is one, whatever stands in it.
            whole = {
                key: _mended(value, found, key.lower() in self._texts or key in self._texts)
                for key, value in record.items()
            }
        try:
            self._rendering.spans(whole)
        except RecordError as error:
            self._account.reject(place, str(error), record)
            return None
        self._account.records += 1
        self._account.changed += bool(found)
        for finding in found:
            self._account.tell(place, finding)
        return whole, len(found) > len(before)


def _mended(value: object, found: list[Finding], in_turns: bool) -> object:
    if isinstance(value, str):
        text, wrong = mended(value, in_turns)
        found += [finding for _, finding in wrong]
        return text
    if isinstance(value, list):
        return [_mended(each, found, False) for each in value]
    if isinstance(value, dict):
        return {key: _mended(each, found, False) for key, each in value.items()}
    return value
