"""Texts in the wrong encoding, made by Python's own codecs, and right texts in many languages."""

import pytest

from eyas.data.mojibake import demojibaked, mojibake

TEXTS = {
    "French": "Où est l’été ? C’est déjà l’hiver à Noël, « naïve » façon — “é”.",
    "German": "Größe und Maß: „Übung“ — schön, äöü ÄÖÜ, ‚so‘",
    "Polish": "Zażółć gęślą jaźń, „cytat” — święto",
    "Vietnamese": "Tiếng Việt là ngôn ngữ của người Việt “đó”",
    "Russian": "Привет, мир: «ёлка» — да. Съешь ещё этих булок. В «РФ»…",
    "Greek": "Η Ελλάδα είναι «όμορφη» χώρα — ΑΈΡΑΣ",
    "Turkish": "Iğdır’ın şekeri: “çok” güzel",
    "Chinese": "你好，世界。这是“引号”——还有……《书名》",
    "Japanese": "これはテストです。「日本語」も大丈夫！",
    "Korean": "안녕하세요. 이것은 “문장”입니다.",
    "Arabic": "مرحبا بالعالم، كيف الحال؟",
    "a tree": "├── src\n│   ├── é\n└── b",
    "mathematics": "√2 ≈ 1.41, α·β ≠ γ, 5°C, ½ × ¾, ±3 µm",
    "code": "x = a[b]; /* ©2024 Ünï */ print('é')",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_right_texts_are_left_alone(text: str) -> None:
    assert list(mojibake(text)) == []
    assert demojibaked(text) is text


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        ("French", "latin-1"),
        ("French", "cp1250"),
        ("German", "latin-1"),
        ("Russian", "cp1251"),
        ("Russian", "latin-1"),
        ("Polish", "latin-1"),
        ("Chinese", "latin-1"),
        ("Chinese", "mac_roman"),
        ("Japanese", "latin-1"),
    ],
)
def test_utf8_read_as_another_encoding(language: str, encoding: str) -> None:
    text = TEXTS[language]
    broken = text.encode().decode(encoding)
    assert broken != text
    assert demojibaked(broken) == text
    lines = f"first\n{broken}\nlast: café"
    (found,) = mojibake(lines)
    assert (lines[found[0] : found[1]], found[2]) == (broken, text)
    assert demojibaked(lines) == f"first\n{text}\nlast: café"


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        ("浣犲ソ锛屼笘鐣岋紒", "你好，世界！"),
        ("浣犲ソ锛屼笘鐣屻€傚ソ", "你好，世界。好"),  # Windows, where the byte 0x80 is a euro sign
    ],
)
def test_utf8_read_as_gbk(broken: str, text: str) -> None:
    assert text.encode().decode("gbk", "replace").replace("\ufffd", "€")[:6] == broken[:6]
    assert demojibaked(broken) == text


def test_what_cannot_be_undone_is_left() -> None:
    text = "浣犲ソ锛屼笘鐣"
    assert list(mojibake(text)) == []


def test_long_lines_come_in_parts() -> None:
    broken = "Größe".encode().decode("latin-1")
    text = "a" * 50_000 + broken + "b" * 50_000 + "\n" + broken
    assert demojibaked(text) == "a" * 50_000 + "Größe" + "b" * 50_000 + "\nGröße"
    assert len(list(mojibake(text))) == 2
