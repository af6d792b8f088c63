"""Masks over data of tokens: found in the text, whatever the tokenizer made of it."""

import numpy as np
import pytest

from eyas.data.token_answers import answers_in_tokens

# A vocabulary by hand, with tokens that cut across markers and characters.
PIECES = [
    b"", b"User:", b" hi", b"\n\n", b"Assistant:", b" yes", b"Assist", b"ant: y", b"es",
    b"\n\nUser", b": no", "好".encode()[:2], "好".encode()[2:], b"\xff", b"<a>", b"b</", b"a>",
    b"Instruction:", b"\nResponse:",
]  # fmt: skip
ID = {piece: number for number, piece in enumerate(PIECES)}


def trained(pieces, mask="qa", mask_id=(), before=()):
    """The flags of one document that lies behind another."""
    tokens = np.array([ID[piece] for piece in (*before, *pieces)], np.uint16)
    offsets = np.array([0, len(before), len(tokens)] if before else [0, len(tokens)])
    found = answers_in_tokens(tokens, offsets, mask, mask_id, PIECES.__getitem__)
    return "".join("x" if flag else "." for flag in found[len(before) :])


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"User:", b" hi", b"\n\n", b"Assistant:", b" yes", b"\n\n", b""], "....xxx"),
        ([b"User:", b" hi", b"\n\n", b"Assist", b"ant: y", b"es", b""], "....xxx"),
        ([b"Assistant:", b" yes", b"\n\nUser", b": no", b"\n\n", b""], ".xx..."),
        ([b"User:", "好".encode()[:2], "好".encode()[2:], b""], "...."),
        ([b"Assistant:", "好".encode()[:2], "好".encode()[2:], b"\xff", b""], ".xxxx"),
        ([b"", b"Assistant:", b" yes"], "..x"),
        ([b" hi", b""], ".."),
        ([b""], "."),
    ],
)
def test_tutorials_qa(pieces, expected):
    assert trained(pieces) == expected


def test_two_markers_of_mask_id():
    pieces = [b" hi", b"<a>", b" yes", b"b</", b"a>", b" hi", b""]
    assert trained(pieces, "se", ("<a>", "</a>")) == "..xxx.."


def test_old_instructions():
    pieces = [b"Instruction:", b" hi", b"\nResponse:", b" yes", b""]
    assert trained(pieces, "answers") == "...xx"


def test_each_document_for_itself():
    first = (b"Assistant:", b" yes", b"")
    assert trained([b" hi", b"Assistant:", b" hi"], before=first) == "..."
    assert trained([b"Assistant:", b" hi"], before=first) == ".x"
    assert trained([], before=first) == ""


def test_tokens_outside_all_documents_are_not_trained():
    tokens = np.array([ID[b" yes"], ID[b"Assistant:"], ID[b" yes"], ID[b" yes"]], np.int32)
    offsets = np.array([1, 3])
    found = answers_in_tokens(tokens, offsets, "qa", (), PIECES.__getitem__)
    assert found.tolist() == [False, False, True, False]
