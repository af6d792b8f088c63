"""What is said of data: all of it for `eyas inspect`, what matters before a run in a few lines."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from eyas.data.batches import BatchConfig, step_count
from eyas.data.corpus import Corpus
from eyas.data.lint import NEAR_EMPTY, Found, Kind, Linter
from eyas.data.statistics import document_hashes, losses, repeated, trained_targets
from eyas.data.survey import Survey
from eyas.errors import UserError
from eyas.observe.lengths import described, text_histogram

Sections = dict[str, list[str]]

_MANY = 0.01  # the share of documents from which a run is told of copies and of empty ones
_SHOWN = 3


def full_report(
    data: Survey, held_out: Survey | None, tokenizer: str, batch: BatchConfig, accumulate: int
) -> Sections:
    """Everything that is known of data, and of held-out data beside them."""
    corpus = data.corpus
    sections = {"documents": list(_documents(data, tokenizer))}
    if corpus is not None:
        lengths = np.diff(corpus.offsets)
        sections["lengths"] = [described(lengths), *text_histogram(lengths, batch.ctx)]
        sections["context"] = list(_context(corpus, batch))
        sections["trained"] = list(_trained(corpus))
        sections["an epoch"] = [_epoch(corpus, batch, accumulate)]
    if held_out is not None:
        sections["held out"] = list(_held_out(held_out, corpus))
    sections["warnings"] = list(warnings(data.linter)) or ["none"]
    return sections


def warnings(linter: Linter) -> Iterator[str]:
    """Each kind of finding with its count, the first of them with their places."""
    for kind, found in _by_count(linter):
        yield f"{found.count:,} x {kind.label}"
        yield from (f"    {place}  {shown}".rstrip() for place, shown in found.first)
        if (more := found.places - len(found.first)) > 0:
            yield f"    and at {more:,} more places"


def short_report(
    sources: Sequence[object], linter: Linter, corpus: Corpus, held_out: Corpus | None = None
) -> list[str]:
    """What one should know before a run: nothing where all is well.

    `linter` has watched the documents on their way into the corpora; where there were none, all
    being tokens, nothing is said.
    """
    if not linter.documents:
        return []  # tokens alone, which may be more than one wants to read before a run
    hashes = document_hashes(corpus)
    copies, _ = repeated(hashes)
    lines = []
    if len(copies) > _MANY * len(corpus):
        lines.append(f"{_of(len(copies), len(corpus))} documents are exact copies of others")
    if held_out is not None and (both := _in_both(document_hashes(held_out), hashes)):
        lines.append(f"{_of(both, len(held_out))} held-out documents are in the training data too")
    for kind, found in _by_count(linter):
        if kind != NEAR_EMPTY or found.count > _MANY * len(corpus):
            lines.append(f"{found.count:,} x {kind.label}, the first at {found.first[0][0]}")
    if lines:
        names = [shlex.quote(str(source)) for source in sources]
        lines.append(f"eyas inspect {names[0] if len(names) == 1 else 'FILE'} shows all of it")
    return lines


def _documents(data: Survey, tokenizer: str) -> Iterator[str]:
    linter, corpus = data.linter, data.corpus
    text = f"{linter.documents:,} documents, {linter.characters:,} characters"
    if corpus is None:
        yield text
        yield f"tokens cannot be counted: {data.problem}"
        return
    if not linter.documents:
        text = f"{len(corpus):,} documents"
    yield f"{text}, {int(corpus.offsets[-1] - corpus.offsets[0]):,} tokens ({tokenizer})"
    copies, originals = repeated(document_hashes(corpus))
    if not len(copies):
        yield "no document is there twice"
        return
    yield f"{_of(len(copies), len(corpus))} are exact copies of an earlier one:"
    pairs = zip(copies[:_SHOWN].tolist(), originals[:_SHOWN].tolist(), strict=True)
    yield from (f"    {corpus.places[copy]} of {corpus.places[first]}" for copy, first in pairs)
    if len(copies) > _SHOWN:
        yield f"    and {len(copies) - _SHOWN:,} more"


def _context(corpus: Corpus, batch: BatchConfig) -> Iterator[str]:
    ways = losses(corpus.offsets, batch.ctx)
    long = ways["drop"].documents
    if not long:
        yield f"all documents fit {batch.ctx:,} tokens"
        return
    yield f"{_of(long, len(corpus))} are longer than {batch.ctx:,} tokens. What each way loses:"
    targets = int((np.diff(corpus.offsets) - 1).clip(0).sum())
    for way, loss in ways.items():
        chosen = "  (as it is set)" if way == batch.long else ""
        lost = (
            f"{loss.targets:,} tokens, {loss.targets / targets:.1%}" if loss.targets else "nothing"
        )
        yield f"    --long {way:<8}  {lost}{chosen}"


def _trained(corpus: Corpus) -> Iterator[str]:
    counts = trained_targets(corpus)
    targets = int((np.diff(corpus.offsets) - 1).clip(0).sum())
    total = int(counts.sum())
    yield f"{total:,} of {targets:,} targets, {total / max(targets, 1):.1%}"
    none = np.flatnonzero(counts == 0)
    if len(none):
        where = _some(corpus.places[index] for index in none[: _SHOWN + 1].tolist())
        yield f"{_of(len(none), len(corpus))} documents have nothing trained: {where}"


def _epoch(corpus: Corpus, batch: BatchConfig, accumulate: int) -> str:
    try:
        rows = step_count(corpus, replace(batch, micro_batch=1), 1)
        steps = step_count(corpus, batch, accumulate)
    except UserError as error:
        return str(error)
    return (
        f"{rows:,} rows (--ctx {batch.ctx} --dataload {batch.dataload}), {steps:,} steps of "
        f"{batch.micro_batch} x {accumulate} rows"
    )


def _held_out(held_out: Survey, corpus: Corpus | None) -> Iterator[str]:
    if held_out.corpus is None:
        yield f"{held_out.source}: {held_out.problem}"
        return
    count = len(held_out.corpus)
    tokens = int(held_out.corpus.offsets[-1] - held_out.corpus.offsets[0])
    yield f"{held_out.source}: {count:,} documents, {tokens:,} tokens"
    if corpus is not None:
        both = _in_both(document_hashes(held_out.corpus), document_hashes(corpus))
        share = f"{_of(both, count)} documents are" if both else "none of them is"
        yield f"{share} in the training data too"
    yield from warnings(held_out.linter)


def _in_both(ours: Int64[np.ndarray, "n"], theirs: Int64[np.ndarray, "m"]) -> int:
    return int(np.isin(ours, theirs).sum())


def _by_count(linter: Linter) -> list[tuple[Kind, Found]]:
    return sorted(linter.found.items(), key=lambda item: -item[1].count)


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.1%})"


def _some(places: Iterable[str]) -> str:
    listed = list(places)
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
