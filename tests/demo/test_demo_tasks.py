"""The demo's fine-tuning data: right answers, parts that share nothing, reproducible files."""

import datetime
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from eyas.demo.rules import attach, extract_by_pattern, inflect_by_appending, inflect_by_spelling
from eyas.demo.tasks import TASK_NAMES, Item, Rule, Task, load_task, read_items, score
from eyas.errors import UserError

REPOSITORY = Path(__file__).parents[2]
SHIPPED = sorted((REPOSITORY / "src" / "eyas" / "demo").glob("*.jsonl"))
PARTS = ("train", "valid", "test")


def parts_of(task: Task) -> dict[str, list[Item]]:
    return {part: read_items(getattr(task, part)) for part in PARTS}


def all_items(name: str) -> list[Item]:
    task = load_task(name)
    paths = [task.train, task.valid, task.test, *([task.unseen] if task.unseen else [])]
    return [item for path in paths for item in read_items(path)]


def test_generator_reproduces_the_shipped_files(tmp_path: Path) -> None:
    script = REPOSITORY / "recipes" / "demo" / "tasks.py"
    subprocess.run([sys.executable, script, "--out", tmp_path], check=True, capture_output=True)
    written = sorted(tmp_path.iterdir())
    assert [path.name for path in written] == [path.name for path in SHIPPED]
    for new, shipped in zip(written, SHIPPED, strict=True):
        assert new.read_bytes() == shipped.read_bytes(), shipped.name


def test_files_are_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED) < 1_500_000


@pytest.mark.parametrize("name", TASK_NAMES)
def test_no_question_is_asked_twice(name: str) -> None:
    questions = [item.question for item in all_items(name)]
    assert len(set(questions)) == len(questions)


# What each question is about: no two parts may share any of it.


def json_subjects(item: Item) -> set[object]:
    return set(json.loads(item.answer).values())


def inflection_subjects(item: Item) -> set[object]:
    return {item.question.partition(" of ")[2]}


def date_subjects(item: Item) -> set[object]:
    return {item.answer[:4]}


def number_subjects(item: Item) -> set[object]:
    return {item.answer}


@pytest.mark.parametrize(
    ("name", "subjects"),
    [
        ("json", json_subjects),
        ("inflection", inflection_subjects),
        ("dates", date_subjects),
        ("numbers", number_subjects),
    ],
)
def test_parts_share_nothing(name: str, subjects) -> None:
    task = load_task(name)
    about = {
        part: set().union(*map(subjects, items)) for part, items in parts_of(task).items() if items
    }
    assert set(about) == set(PARTS)
    assert about["train"].isdisjoint(about["valid"] | about["test"])
    assert about["valid"].isdisjoint(about["test"])
    if task.unseen:
        unseen = set().union(*map(subjects, read_items(task.unseen)))
        assert unseen.isdisjoint(about["train"] | about["valid"])


def wording(item: Item) -> str:
    fields = json.loads(item.answer)
    text = item.question
    for key in ("name", "city", "age"):
        text, count = re.subn(rf"\b{fields[key]}\b", f"<{key}>", text)
        assert count == 1, item
    return text


def test_unseen_wordings_are_never_trained_on() -> None:
    task = load_task("json")
    trained, tested = ({wording(item) for item in read_items(p)} for p in (task.train, task.test))
    assert task.unseen is not None
    unseen = {wording(item) for item in read_items(task.unseen)}
    assert len(trained) >= 30
    assert tested == trained
    assert len(unseen) >= 6
    assert unseen.isdisjoint(trained)


# The answers, against other sources than the script that wrote them.


def test_json_answers_have_the_three_fields_in_order() -> None:
    for item in all_items("json"):
        assert list(json.loads(item.answer)) == ["name", "age", "city"]
        assert item.answer == json.dumps(json.loads(item.answer))


def parsed_date(text: str) -> datetime.date:
    plain = re.sub(r"(\d)(st|nd|rd|th)\b", r"\1", text.removeprefix("the "))
    for form in (
        "%B %d, %Y", "%d %B %Y", "%d of %B %Y", "%b %d, %Y", "%d-%b-%Y", "%Y, %B %d",
        "%d.%m.%Y", "%m/%d/%Y", "%A, %B %d, %Y", "%Y/%m/%d",
    ):  # fmt: skip
        try:
            return datetime.datetime.strptime(plain, form).date()
        except ValueError:
            continue
    raise AssertionError(text)


def test_dates_are_right() -> None:
    for item in all_items("dates"):
        date = parsed_date(item.question)
        assert item.answer == date.isoformat()
        if "day," in item.question:
            assert item.question.startswith(date.strftime("%A"))


def parsed_number(text: str) -> int:
    units = (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen"
    )
    values = {word: value for value, word in enumerate(units.split())}
    tens = "twenty thirty forty fifty sixty seventy eighty ninety"
    values |= {word: 10 * value for value, word in enumerate(tens.split(), start=2)}
    total = below_thousand = 0
    for word in re.split(r"[ -]", text):
        if word == "thousand":
            total, below_thousand = below_thousand * 1000, 0
        elif word == "hundred":
            below_thousand *= 100
        elif word != "and":
            below_thousand += values[word]
    return total + below_thousand


def test_numbers_are_right() -> None:
    for item in all_items("numbers"):
        assert item.answer == str(parsed_number(item.question))


INFLECTED = [
    ("Past tense of", "walk walked, bake baked, try tried, play played, stop stopped, go went"),
    ("Past tense of", "visit visited, agree agreed, sing sang, panic panicked, regret regretted"),
    ("Ing form of", "make making, run running, die dying, agree agreeing, begin beginning"),
    ("Third person of", "watch watches, fly flies, do does, have has, play plays, mix mixes"),
    ("Plural of", "box boxes, city cities, day days, child children, piano pianos, knife knives"),
    ("Comparative of", "big bigger, nice nicer, happy happier, good better, gray grayer"),
    ("Superlative of", "hot hottest, late latest, dry driest, bad worst, slow slowest"),
]


@pytest.mark.parametrize(("form", "words"), INFLECTED)
def test_inflections_are_right(form: str, words: str) -> None:
    answers = {item.question: item.answer for item in all_items("inflection")}
    for pair in words.split(", "):
        word, inflected = pair.split()
        assert answers[f"{form} {word}?"] == inflected


# The rules


@pytest.mark.parametrize(
    ("word", "ending", "inflected"),
    [
        ("walk", "ed", "walked"),
        ("bake", "ing", "baking"),
        ("tie", "ing", "tying"),
        ("try", "ed", "tried"),
        ("try", "ing", "trying"),
        ("quit", "ing", "quitting"),
        ("box", "s", "boxes"),
        ("echo", "s", "echoes"),
        ("radio", "s", "radios"),
        ("big", "est", "biggest"),
        ("low", "er", "lower"),
        ("quiet", "er", "quieter"),
        ("true", "er", "truer"),
        ("dye", "ing", "dyeing"),
    ],
)
def test_spelling_rules(word: str, ending: str, inflected: str) -> None:
    assert attach(word, ending) == inflected


def test_rules_answer_in_the_form_of_the_task() -> None:
    assert inflect_by_appending("Past tense of bake?") == "bakeed"
    assert inflect_by_spelling("Past tense of bake?") == "baked"
    sentence = "At 63, Ada works in New Haven."
    assert extract_by_pattern(sentence) == '{"name": "Ada", "age": 63, "city": "New Haven"}'
    assert extract_by_pattern("no one") == '{"name": "", "age": 0, "city": ""}'


def test_score_is_the_share_of_exact_answers() -> None:
    items = [Item("a", "A"), Item("b", "B"), Item("c", "c"), Item("d", "D")]
    assert score(Rule("upper case", str.upper), items) == 3 / 4


def test_rules_score_between_nothing_and_all() -> None:
    (pattern,) = load_task("json").rules
    assert 0.5 < score(pattern, read_items(load_task("json").test)) < 1
    appending, spelling = load_task("inflection").rules
    items = read_items(load_task("inflection").test)
    assert 0.5 < score(appending, items) < score(spelling, items) < 1
    assert load_task("dates").rules == load_task("numbers").rules == ()


def test_unknown_task_names_the_choices() -> None:
    with pytest.raises(UserError, match=r"'jsno'.*json, inflection, dates, numbers"):
        load_task("jsno")
