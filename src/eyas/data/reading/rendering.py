"""Records become documents: their content in the template, and what of it is trained."""

import reprlib
from collections.abc import Sequence
from contextlib import suppress

from eyas.config import did_you_mean
from eyas.data.answers import Mask, masked, spans_of
from eyas.data.reading.config import ReadConfig
from eyas.data.reading.conversations import content_of
from eyas.data.reading.fields import SHAPES, Fields, by_map, is_known, recognized, shown
from eyas.data.reading.mapping import mapped_fields
from eyas.data.reading.mistakes import RecordError
from eyas.data.reading.values import kind_of
from eyas.data.spans import Span
from eyas.data.template import open_template


class Rendering:
    """How records become spans. Raises UserError for a template file that is none."""

    def __init__(self, config: ReadConfig) -> None:
        self._template = open_template(config.template)
        self._mapped = mapped_fields(config.map)
        instructed = config.data_type == "sft" and config.mask == "auto"
        self._mask: Mask = "answers" if instructed else config.mask
        self._mask_id = config.mask_id

    def spans(self, record: object) -> tuple[Span, ...]:
        """Raises RecordError for what is no record that can be used."""
        if not isinstance(record, dict):
            shown = f" ({reprlib.repr(record)})" if isinstance(record, (str, int, float)) else ""
            raise RecordError(
                f"is {kind_of(record)}{shown}, not an object; each record must be {SHAPES}"
            )
        content = content_of(record, self._fields(record))
        if isinstance(content, str):
            return spans_of(content, self._mask, self._mask_id)
        try:
            spans = self._template.render(content.messages, content.tools)
        except ValueError as error:
            raise RecordError(str(error)) from error
        return masked(spans, self._mask, self._mask_id)

    def columns(self, names: Sequence[str]) -> Sequence[str]:
        """Which of a table's columns are used; raises RecordError where they say nothing."""
        if not self._mapped:
            return recognized(tuple(names)).names
        for name, _ in self._mapped:
            if name not in names:
                raise RecordError(
                    f'has no column "{name}", which --map names ({shown(names)}); name one that '
                    f"it has{did_you_mean(name, names)}"
                )
        return by_map(self._mapped, names).names

    def is_field(self, name: str) -> bool:
        """Whether a name is one that records have."""
        return is_known(name) or any(name == field for field, _ in self._mapped)

    def _fields(self, record: dict[str, object]) -> Fields:
        if self._mapped:
            return by_map(self._mapped, record)
        if None in record.values():
            # Tables fill in null for what a record does not have.
            given = tuple(name for name, value in record.items() if value is not None)
            with suppress(RecordError):
                return recognized(given)
        return recognized(tuple(record))
