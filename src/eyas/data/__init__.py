"""From data files to batches: tokenizers, documents, token files, corpora, pieces.

`eyas.data.batches` is the module; the function of that name is imported from it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eyas.data.batches import Batch, BatchConfig, Cursor, Share, one_pass, step_count
    from eyas.data.corpus import Corpus, Summary, load_corpus, select, split_share, summarize
    from eyas.data.preview import colored
    from eyas.data.reading import Document, ReadConfig, Span, is_tokens, read_documents
    from eyas.data.template import Mask, Message
    from eyas.data.tokenizer import Tokenizer, decode, tokenizer_for, tokenizer_of_tokens

# Imported when they are asked for: processes that only encode text must not carry PyTorch.
_HOMES = {
    "batches": ("Batch", "BatchConfig", "Cursor", "Share", "one_pass", "step_count"),
    "corpus": ("Corpus", "Summary", "load_corpus", "select", "split_share", "summarize"),
    "preview": ("colored",),
    "reading": ("Document", "ReadConfig", "Span", "is_tokens", "read_documents"),
    "template": ("Mask", "Message"),
    "tokenizer": ("Tokenizer", "decode", "tokenizer_for", "tokenizer_of_tokens"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Batch",
    "BatchConfig",
    "Corpus",
    "Cursor",
    "Document",
    "Mask",
    "Message",
    "ReadConfig",
    "Share",
    "Span",
    "Summary",
    "Tokenizer",
    "colored",
    "decode",
    "is_tokens",
    "load_corpus",
    "one_pass",
    "read_documents",
    "select",
    "split_share",
    "step_count",
    "summarize",
    "tokenizer_for",
    "tokenizer_of_tokens",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'eyas.data' has no attribute '{name}'")
    return getattr(import_module(f"eyas.data.{_MODULES[name]}"), name)
