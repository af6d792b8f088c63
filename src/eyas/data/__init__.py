"""From data files to batches: tokenizers, documents, token files, corpora, pieces.

`eyas.data.batches` is the module; the function of that name is imported from it.
"""

from eyas.data.batches import Batch, BatchConfig, Cursor, Share, one_pass, step_count
from eyas.data.corpus import Corpus, Summary, load_corpus, select, split_share, summarize
from eyas.data.preview import colored
from eyas.data.reading import Document, ReadConfig, Span, is_tokens, read_documents
from eyas.data.template import Mask, Message
from eyas.data.tokenizer import Tokenizer, decode, tokenizer_for, tokenizer_of_tokens

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
