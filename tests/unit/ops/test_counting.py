"""Counts in what commands say: "1 session", and never "1 sessions"."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from ops.core.counting import number_of
from ops.core.replanning import ReplanSelection
from ops.core.replaying import ReplaySelection
from tests.unit.deploy.images import ROOT
from writer.core.history import Settled

COUNT = re.compile(r"\b(?:len|sum)\(|:,\}$")
"""In braces: a count that is written out."""
MANY = re.compile(r" (?:(?:more|later|unsettled) )*([a-z]+s|are|have|were)\b")
"""Behind a count: a word that is only right for several."""


def texts() -> dict[str, list[ast.JoinedStr]]:
    """The f-strings of the commands, by file. One over several lines is one."""
    return {
        str(path.relative_to(ROOT)): [
            each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.JoinedStr)
        ]
        for path in sorted((ROOT / "ops").rglob("*.py"))
    }


def counts(text: ast.JoinedStr) -> Iterator[tuple[str, str]]:
    """What is in braces, with the word for several right behind it. "1 of 3 sessions" is right as it is."""
    before = ""
    for value, behind in zip(text.values, [*text.values[1:], ast.Constant("")], strict=True):
        if isinstance(value, ast.FormattedValue) and isinstance(behind, ast.Constant) and not before.endswith(" of "):
            many = MANY.match(str(behind.value))
            if many and "number_of(" not in ast.unparse(value):
                yield ast.unparse(ast.JoinedStr([value]))[2:-1], many[1]
        before = str(value.value) if isinstance(value, ast.Constant) else ""


def counted() -> set[str]:
    """The words for several of what commands count anywhere."""
    calls = [
        each
        for path in (ROOT / "ops").rglob("*.py")
        for each in ast.walk(ast.parse(path.read_text()))
        if isinstance(each, ast.Call) and ast.unparse(each.func) == "number_of" and len(each.args) == 2
    ]
    ones = [each.args[1].value for each in calls if isinstance(each.args[1], ast.Constant)]
    return {f"{str(one).split()[-1]}s" for one in ones}


@pytest.mark.parametrize(("number", "said"), [(0, "0 plans"), (1, "1 plan"), (1234, "1,234 plans")])
def test_one_of_a_thing_is_said_without_the_s(number: int, said: str) -> None:
    assert number_of(number, "plan") == said
    assert number_of(number, "is", "are").endswith("is" if number == 1 else "are")


def test_no_command_says_1_sessions() -> None:
    """A count goes through `number_of`, also where only what is counted tells that it is one."""
    nouns = counted()
    assert nouns >= {"sessions", "partitions", "records", "brokers"}
    found = {
        f"{file}: {count} {many}"
        for file, strings in texts().items()
        for text in strings
        for count, many in counts(text)
        if COUNT.search(count) or many in nouns
    }
    assert found == set()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('f"{len(rows)} sessions"', [("{len(rows)}", "sessions")]),
        ('f"{count:,} more are left out"', [("{count:,}", "are")]),
        ('f"in {count:,} "\n"later unsettled sessions"', [("{count:,}", "sessions")]),
        ('f"{brokers} brokers"', [("{brokers}", "brokers")]),
        ("f\"{number_of(count, 'session')} is it, {done:,} of {count:,} sessions\"", []),
    ],
)
def test_a_count_that_is_written_out_is_seen(code: str, found: list[tuple[str, str]]) -> None:
    text = ast.parse(f"({code})", mode="eval").body
    assert isinstance(text, ast.JoinedStr)
    assert list(counts(text)) == found


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (
            1,
            [
                "1 has landed or was closed: the writer recognises that and sends nothing",
                "1 is in a conflict, and",
                "1 later unsettled session of the same queue items, appended behind",
                "1 more is unsettled, and not replayed: wait for the writer's result",
                "1 more has no plan any more (retired)",
                "1 more that you named is left out",
            ],
        ),
        (
            2,
            [
                "2 have landed or were closed: the writer recognises that and sends nothing",
                "2 are in a conflict, and",
                "2 later unsettled sessions of the same queue items, appended behind",
                "2 more are unsettled, and not replayed: wait for the writer's result",
                "2 more have no plan any more (retired)",
                "2 more that you named are left out",
            ],
        ),
    ],
)
def test_a_preview_of_a_replay_counts_in_words_that_fit(count: int, said: list[str]) -> None:
    chosen: dict[str | None, int] = {Settled.LANDED: count, Settled.CALL_ONLY: count}
    found = ReplaySelection(chosen=chosen, behind=count, unsettled=count, without_plan=count, unknown=count)
    _, *notes = found.preview("x").lines()
    assert [note[: len(start)] for note, start in zip(notes, said, strict=True)] == said


def test_a_preview_of_a_replan_counts_in_words_that_fit() -> None:
    _, one, many = (
        ReplanSelection(["sess-1"], {}, {"completed, not blocked": 1, "no plan any more": 2}).preview("x").lines()
    )
    assert one == "1 more is left out: completed, not blocked"
    assert many == "2 more are left out: no plan any more"
