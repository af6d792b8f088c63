"""Which tokens of data that are tokens already are trained, by the text that they stand for.

A document's tokens are turned back into text, the markers are found in that (`answers`), and a
token is trained where any of its bytes is: so a marker that was merged with its neighbor counts
like any other, and a token that holds a marker's end and an answer's beginning is trained. A token
without bytes, as the end of a document is one, goes with what stands before it.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Int64, Integer

from eyas.data.answers import Mask, spans_of
from eyas.files import temporary_files


def answers_in_tokens(
    tokens: Integer[np.ndarray, "tokens"],
    offsets: Int64[np.ndarray, "bounds"],
    mask: Mask,
    mask_id: Sequence[str],
    token_bytes: Callable[[int], bytes],
) -> Bool[np.ndarray, "tokens"]:
    """Whether each token is trained, in a file without a name; document i is between offsets.

    mask: qa, answers or se, the last with the two markers of `mask_id`.
    """
    known: dict[int, bytes] = {}
    with temporary_files() as opened:
        file = opened()
        file.write(bytes(int(offsets[0])))
        for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            ids = tokens[begin:end].tolist()
            for token in set(ids) - known.keys():
                known[token] = token_bytes(token)
            pieces = [known[token] for token in ids]
            file.write(_trained(pieces, mask, mask_id).tobytes())
        file.write(bytes(len(tokens) - int(offsets[-1])))
        file.flush()
        return np.memmap(file, bool, mode="r", shape=tokens.shape)


def _trained(
    pieces: Sequence[bytes], mask: Mask, mask_id: Sequence[str]
) -> Bool[np.ndarray, "tokens"]:
    text = b"".join(pieces).decode("utf-8", "surrogateescape")
    spans = spans_of(text, mask, mask_id)
    lengths = [len(span.text.encode("utf-8", "surrogateescape")) for span in spans]
    flags = np.repeat(np.array([span.trained for span in spans], bool), np.array(lengths, int))
    before = np.concatenate([[0], np.cumsum(flags)])  # trained bytes before each place
    sizes = np.array([len(piece) for piece in pieces], int)
    ends = np.cumsum(sizes)
    starts = np.maximum(ends - np.maximum(sizes, 1), 0)
    found: np.ndarray = before[ends] > before[starts]
    return found
