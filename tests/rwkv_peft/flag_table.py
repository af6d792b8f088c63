"""The table of flags in docs/rwkv-peft.md, made from their declarations.

PYTHONPATH=tests/rwkv_peft python -m flag_table     writes it into the page
"""

from collections.abc import Sequence
from pathlib import Path

from eyas.rwkv_peft.flags import Flag, Handled, Idle, OfFile, Only, Sets
from eyas.rwkv_peft.table import MERGE, TRAIN

PAGE = Path(__file__).parents[2] / "docs" / "rwkv-peft.md"
_TESTS = {
    Sets: "test_a_setting[{}]",
    OfFile: "test_what_the_file_says[{}]",
    Only: "test_one_meaning[{}]",
    Idle: "test_nothing_to_do[{}]",
    Handled: "test_{}",
}


def proof_of(flag: Flag, program: str) -> str:
    """The test of a flag, by what it does."""
    if program == "merge" and isinstance(flag.does, Idle):
        return "test_nothing_to_do_for_a_merge"
    name = flag.name if program == "train" else f"merge_{flag.name}"
    return _TESTS[type(flag.does)].format(name)


def table(flags: Sequence[Flag], program: str) -> str:
    lines = ["| flag | there (default) | here | tested by |", "| --- | --- | --- | --- |"]
    for flag in flags:
        names = ", ".join(f"`--{name}`" for name in (flag.name, *flag.also))
        there = f"{flag.there} {_default(flag)}" if flag.there else "– (ours)"
        lines.append(f"| {names} | {there} | {_here(flag)} | `{proof_of(flag, program)}` |")
    return "\n".join(lines)


def page_with_tables(page: str) -> str:
    """The page with both tables as they are now."""
    for program, flags in (("train", TRAIN), ("merge", MERGE)):
        begin, end = f"<!-- {program} -->\n", f"\n<!-- end of {program} -->"
        before, _, rest = page.partition(begin)
        after = rest.partition(end)[2]
        page = f"{before}{begin}{table(flags, program)}{end}{after}"
    return page


def _default(flag: Flag) -> str:
    default = flag.default
    if flag.kind == "switch":
        return "(off)"
    if flag.kind == "settings" or default in ("", ()):
        return "(none)"
    shown = f"`{' '.join(default) if isinstance(default, tuple) else default}`"
    return f"({shown})" if flag.ours in (None, "") else f"({shown}; here `{flag.ours}`)"


def _here(flag: Flag) -> str:
    if isinstance(flag.does, Only):
        return (
            f"only `{flag.does.values[0]:g}`: {flag.here}"
            if _number(flag)
            else (f"only `{flag.does.values[0]}`: {flag.here}")
        )
    return f"nothing to do: {flag.here}" if isinstance(flag.does, Idle) else flag.here


def _number(flag: Flag) -> bool:
    return flag.kind in ("int", "float")


if __name__ == "__main__":
    PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
