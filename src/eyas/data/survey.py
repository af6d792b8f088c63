"""Data read to be looked at: what is wrong with them does not stop the reading."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from eyas.data.corpus import Corpus, load_corpus
from eyas.data.lint import Linter
from eyas.data.markers import with_marker_texts
from eyas.data.outward import data_files_at, outward_findings
from eyas.data.reading import Bad, Document, ReadConfig, is_tokens, scan
from eyas.data.spans import Span
from eyas.data.spooling import spooled
from eyas.data.tokenizer import Ids, Tokenizer
from eyas.errors import UserError

Watch = Callable[[Iterable[Document | Bad]], Iterable[Document | Bad]]


@dataclass(frozen=True)
class Survey:
    """What a source holds. `corpus` is None where there is none, and `problem` says why."""

    source: Path
    linter: Linter
    corpus: Corpus | None
    problem: str = ""


def survey(
    source: Path, tokenizer: Tokenizer, reading: ReadConfig, processes: int, watch: Watch
) -> Survey:
    """Reads a source to its end; `watch` sees its records on their way.

    Raises UserError where the source as a whole cannot be read.
    """
    reading = with_marker_texts(reading, tokenizer)
    linter = Linter(rendered=reading.mask == "auto")
    if is_tokens(source, reading):
        corpus = load_corpus([source], tokenizer, tokenizer.vocab_size, reading)
        if not isinstance(tokenizer, Ids):
            for record in watch(_decoded(corpus, tokenizer)):
                linter.look(record)
        return Survey(source, linter, corpus)
    records = linter.watching(watch(scan(source, reading)))
    for file in data_files_at(source, reading):
        for kind, times in outward_findings(file):
            linter.add(kind, file.place, times=times)
    try:
        found = spooled(_usable(records, tokenizer), tokenizer, processes)
    except UserError as error:
        return Survey(source, linter, None, str(error))
    if not len(found.places):
        return Survey(source, linter, None, "there is no document that could be trained on")
    return Survey(source, linter, Corpus(found.tokens, found.trained, found.offsets, found.places))


def _usable(records: Iterable[Document | Bad], tokenizer: Tokenizer) -> Iterator[Document]:
    """The documents that can be encoded: in some vocabularies NUL is the end of a document."""
    any_text = _takes_nul(tokenizer)
    for record in records:
        if isinstance(record, Document) and (
            any_text or not any("\0" in span.text for span in record.spans)
        ):
            yield record


def _takes_nul(tokenizer: Tokenizer) -> bool:
    try:
        return bool(tokenizer.encode_bytes(b"\0").all())
    except UserError:
        return False


def _decoded(corpus: Corpus, tokenizer: Tokenizer) -> Iterator[Document]:
    # A table: asking the tokenizer for each token would take ten times as long.
    pieces = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]
    bounds = corpus.offsets.tolist()
    for place, begin, end in zip(corpus.places, bounds[:-1], bounds[1:], strict=True):
        data = b"".join([pieces[token] for token in corpus.tokens[begin:end].tolist()])
        yield Document((Span(data.decode(errors="replace"), True),), place)
