"""Text data of every kind, read record by record.

A reader gives records as they stand in a file (`data_files`, `hub`), `fields` says which of a
record's fields are what, `conversations` makes a text or a conversation of them, `rendering` the
spans of a document.
"""

from eyas.data.reading.config import DataType, ReadConfig
from eyas.data.reading.document import Bad, Document
from eyas.data.reading.fields import SHAPES
from eyas.data.reading.kinds import ACCEPTED
from eyas.data.reading.sources import is_tokens, read_documents, scan
from eyas.data.spans import Span

__all__ = [
    "ACCEPTED",
    "SHAPES",
    "Bad",
    "DataType",
    "Document",
    "ReadConfig",
    "Span",
    "is_tokens",
    "read_documents",
    "scan",
]
