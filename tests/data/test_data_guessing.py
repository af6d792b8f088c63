"""Encodings, of texts that Python's own codecs wrote."""

import random

import pytest

from eyas.data.guessing import guess_encoding

CHINESE = "User: 请介绍一下北京。\n\nAssistant: 北京是中国的首都，位于华北平原北部。"
TAIWANESE = "使用者您好，請問今天天氣怎麼樣？我們可以一起去公園散步嗎。"
JAPANESE = "これは日本語のテストです。カタカナも漢字もあります。"
KOREAN = "안녕하세요. 이것은 한국어로 작성된 문장입니다."
RUSSIAN = "Привет, это текст на русском языке. Как дела?"
FRENCH = "Où est l’été ? C’est déjà l’hiver à Noël."


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CHINESE, "gb18030"),
        ('{"text": "你好，世界"}', "gb18030"),
        ("你好", "gb18030"),
        (TAIWANESE, "big5"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc_jp"),
        (KOREAN, "cp949"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        (FRENCH, "cp1252"),
        (CHINESE, "utf_16"),
        (CHINESE, "utf_16_le"),
        ("hello, world", "utf_16_be"),
    ],
)
@pytest.mark.parametrize("times", [1, 50, 10_000])
def test_texts_in_many_encodings(text: str, encoding: str, times: int) -> None:
    data = f"{text}\n".encode(encoding)
    assert guess_encoding(data * (times if encoding != "utf_16" else 1)) == encoding


def test_what_is_no_text() -> None:
    assert guess_encoding(b"") is None
    assert guess_encoding(random.Random(0).randbytes(5000)) is None
    assert guess_encoding(bytes(range(256)) * 9) is None
