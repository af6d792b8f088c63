"""What is wrong with records, and how the mistakes of a source are told together."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from eyas.data.reading.document import Bad
from eyas.errors import UserError

_SHOWN = 5


class RecordError(Exception):
    """What is wrong with a record, with the next step; its reader knows the place."""


class EmptyError(RecordError):
    """A record whose text is blank."""


@dataclass
class Mistakes:
    """The mistakes of one source: the first few of them, and how many there are."""

    source: Path | str
    shown: list[Bad] = field(default_factory=list)
    count: int = 0

    def add(self, bad: Bad) -> None:
        self.count += 1
        if len(self.shown) < _SHOWN:
            self.shown.append(bad)

    def error(self) -> UserError:
        """All of them in a line; a single one begins with its place as a path."""
        if self.count == 1:
            return UserError(f"{self._path(self.shown[0].place)}: {self.shown[0].problem}")
        listed = "; ".join(f"{self._label(bad.place)}: {bad.problem}" for bad in self.shown)
        more = f"; and {self.count - _SHOWN} more" if self.count > _SHOWN else ""
        return UserError(f"{self.source}: {self.count} bad records: {listed}{more}")

    def _path(self, place: str) -> str:
        source = Path(self.source)
        if not os.path.lexists(source):
            return place  # of no file
        return str((source if source.is_dir() else source.parent) / place)

    def _label(self, place: str) -> str:
        """A place within the source."""
        line = place.removeprefix(f"{Path(self.source).name}:")
        return f"line {line}" if line != place and line.isdecimal() else place
