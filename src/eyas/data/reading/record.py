"""What the readers of files give: records as they stand there, each with its place."""

from collections.abc import Callable, Sequence

from eyas.data.reading.document import Bad

Record = tuple[str, object]
"""The place of a record, and its decoded value, whatever that is."""

Item = Record | Bad

Columns = Callable[[Sequence[str]], Sequence[str]]
"""Which of a table's columns are used; raises RecordError where they say nothing."""
