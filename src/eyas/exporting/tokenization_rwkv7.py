"""The World tokenizer for transformers: greedy longest match over bytes. Written by `eyas export`.

It needs nothing but transformers and the vocabulary beside it, with one token a line: id, a Python
string or bytes literal, its length in bytes. Token 0 is in no vocabulary: it ends a text.
"""

import ast
import shutil
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizer

VOCABULARY = "rwkv_vocab_v20230424.txt"


class RWKV7Tokenizer(PreTrainedTokenizer):
    """A token is known to transformers by its bytes, each as the character of that number."""

    vocab_files_names = {"vocab_file": VOCABULARY}  # noqa: RUF012
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(
        self,
        vocab_file: str,
        eos_token: str = "<|endoftext|>",
        pad_token: str = "<|endoftext|>",
        **kwargs: Any,
    ) -> None:
        self._file = vocab_file
        self._ids = {str(eos_token): 0, **_read(vocab_file)}
        self._tokens = {token: text for text, token in self._ids.items()}
        self._longest: dict[str, int] = {}
        for text, token in self._ids.items():
            if token:
                self._longest[text[:1]] = max(len(text), self._longest.get(text[:1], 0))
        super().__init__(eos_token=eos_token, pad_token=pad_token, **kwargs)

    @property
    def vocab_size(self) -> int:
        return max(self._tokens) + 1

    def get_vocab(self) -> dict[str, int]:
        return {**self._ids, **self.added_tokens_encoder}

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:  # noqa: ARG002
        data, tokens, at = text.encode().decode("latin-1"), list[str](), 0
        while at < len(data):
            end = min(len(data), at + self._longest.get(data[at], 0))
            while end > at and not self._ids.get(data[at:end]):
                end -= 1
            if end == at:
                raise ValueError(f"the vocabulary has no token for the byte {ord(data[at]):#04x}")
            tokens.append(data[at:end])
            at = end
        return tokens

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, 0)

    def _convert_id_to_token(self, index: int) -> str:
        return self._tokens.get(index, "")

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        texts = (token for token in tokens if token not in self.all_special_tokens)
        return "".join(texts).encode("latin-1").decode(errors="replace")

    def save_vocabulary(
        self, save_directory: str, filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        name = f"{filename_prefix}-{VOCABULARY}" if filename_prefix else VOCABULARY
        path = Path(save_directory) / name
        if path.resolve() != Path(self._file).resolve():
            shutil.copyfile(self._file, path)
        return (str(path),)


def _read(path: str) -> dict[str, int]:
    """token -> id of a vocabulary file."""
    ids = {}
    # Not splitlines: tokens may hold other line separators, such as U+2028, as they are.
    for line in Path(path).read_text(encoding="utf-8").split("\n"):
        if line:
            number, rest = line.split(" ", 1)
            token = ast.literal_eval(rest.rpartition(" ")[0])
            data = token.encode() if isinstance(token, str) else token
            ids[data.decode("latin-1")] = int(number)
    return ids
