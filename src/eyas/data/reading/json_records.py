"""JSON that is no JSON Lines: an array of records, one within an object, or records as they come.

[{"text": …}, …]
{"version": …, "data": [{"text": …}, …]}
{"text": …} {"text": …}
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from io import TextIOWrapper

from eyas.data.reading.document import Bad
from eyas.data.reading.json_window import BrokenError, JsonWindow
from eyas.data.reading.mistakes import RecordError
from eyas.data.reading.record import Item
from eyas.data.reading.splits import is_held_out

Reopen = Callable[[], AbstractContextManager[TextIOWrapper]]


def json_records(
    reopen: Reopen, place: str, encoding: str, is_field: Callable[[str], bool]
) -> Iterator[Item]:
    """The records of a text, which is opened once or twice.

    `is_field`: whether a name is one that records have; an object without any holds records.
    """
    line = 1
    try:
        with reopen() as text:
            key = _list_within(JsonWindow(text, encoding), is_field)
        with reopen() as text:
            values = _values(JsonWindow(text, encoding), key)
            for number, (line, value) in enumerate(values, start=1):
                where = f"{place}:{line} record {number}"
                yield Bad(where, str(value)) if isinstance(value, RecordError) else (where, value)
    except BrokenError as error:
        yield Bad(f"{place}:{error.line}", str(error))
    except RecordError as error:
        yield Bad(place, str(error))


def _list_within(window: JsonWindow, is_field: Callable[[str], bool]) -> str | None:
    """The key of the list of records that an object is; None where there is no such object.

    Raises RecordError where there are several that may be meant.
    """
    if window.peek() != "{":
        return None
    lists = []
    for key in _members(window):
        if is_field(key):
            return None
        if window.peek() != "[":
            _value(window)
        elif sum(isinstance(value, dict) for _, value in _elements(window)):
            lists.append(key)
    if window.peek() or not lists:
        return None
    training = [key for key in lists if not is_held_out(key)]
    if len(training) == 1:
        return training[0]
    names = ", ".join(map(repr, lists))
    raise RecordError(f"holds several lists of records ({names}); put one into a file of its own")


def _values(window: JsonWindow, key: str | None) -> Iterator[tuple[int, object | RecordError]]:
    """The records, or what is wrong with one, and the line in which each begins."""
    if key is not None:
        for name in _members(window):
            if name == key:
                yield from _elements(window)
                return
            _value(window)
    while (begin := window.peek()) and begin != "[":
        yield window.line, _value(window)
    if begin:
        yield from _elements(window)
        window.check_end()


def _elements(window: JsonWindow) -> Iterator[tuple[int, object | RecordError]]:
    window.take("[")
    if window.peek() == "]":
        window.take("]")
        return
    while True:
        window.peek()
        yield window.line, _value(window)
        if window.take(",", "]") == "]":
            return


def _members(window: JsonWindow) -> Iterator[str]:
    """The keys of an object; who iterates reads the value of each before the next."""
    window.take("{")
    if window.peek() == "}":
        window.take("}")
        return
    while True:
        key = str(_value(window))
        window.take(":")
        yield key
        if window.take(",", "}") == "}":
            return


def _value(window: JsonWindow) -> object | RecordError:
    try:
        return window.value()
    except RecordError as error:
        return error
