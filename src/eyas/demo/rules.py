"""Simple rules that answer a demo task without learning: what its score is to be compared with.

Each takes the prompt and gives the whole answer. They are short attempts, written with the
training items at hand and before any model was trained; a longer program would do better.
"""

import json
import re

ENDINGS = {
    "Past tense": "ed",
    "Ing form": "ing",
    "Third person": "s",
    "Plural": "s",
    "Comparative": "er",
    "Superlative": "est",
}
NAME = r"[A-Z][a-z]+(?: [A-Z][a-z]+)*"
OPENERS = re.compile(
    r"\b(After|Age|Aged|At|Before|Born|By|For|From|He|Her|Hello|Hi|His|I|I'm|In|It|Meet|My"
    r"|Name|Next|Now|On|Once|Our|Please|She|Since|The|Their|There|They|This|Though|To|We|When"
    r"|While|You|Your|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)\b"
)
CLOSED_SYLLABLE = re.compile(r"[^aeiouy]*(?:qu)?[aeiouy][^aeiouwxy]")


def extract_by_pattern(prompt: str) -> str:
    """JSON of a sentence: the number is the age, the name after a word of place is the city."""
    sentence = OPENERS.sub(lambda opener: opener[0].lower(), prompt)
    age = re.search(r"\d+", sentence)
    names = re.findall(NAME, sentence)
    place = re.search(rf"\b(?:in|from|to|of|[Cc]ity:?|town) ({NAME})", sentence)
    city = place[1] if place else names[-1] if names else ""
    name = next((name for name in names if name != city), "")
    return json.dumps({"name": name, "age": int(age[0]) if age else 0, "city": city})


def inflect_by_appending(prompt: str) -> str:
    """The ending put after the word as it is: `Past tense of walk?` -> walked."""
    form, word = asked_form(prompt)
    return word + ENDINGS[form]


def inflect_by_spelling(prompt: str) -> str:
    """The ending put after the word by the spelling rules of English; no exceptions."""
    form, word = asked_form(prompt)
    return attach(word, ENDINGS[form])


def asked_form(prompt: str) -> tuple[str, str]:
    """The form and the word of an inflection prompt, `FORM of WORD?`."""
    form, _, word = prompt.rstrip("?").partition(" of ")
    return form, word


def attach(word: str, ending: str) -> str:
    """The word with -s, -ed, -ing, -er or -est: es after a hiss, y to i, e lost, stop doubled."""
    if ending == "s":
        if re.search(r"(s|x|z|ch|sh|[^aeiou]o)$", word):
            return word + "es"
        return re.sub(r"([^aeiou])y$", r"\1ie", word) + "s"
    if ending == "ing" and word.endswith("ie"):
        return word[:-2] + "ying"
    if CLOSED_SYLLABLE.fullmatch(word):
        return word + word[-1] + ending
    if ending == "ing":
        return re.sub(r"([^eoy])e$", r"\1", word) + ending
    return re.sub(r"([^aeiou])y$", r"\1i", word).removesuffix("e") + ending
