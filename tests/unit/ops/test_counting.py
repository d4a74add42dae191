"""Counts in what commands say: "1 session", and never "1 sessions"."""

from __future__ import annotations

import re

import pytest

from ops.core.counting import number_of
from ops.core.replanning import ReplanSelection
from ops.core.replaying import ReplaySelection
from tests.unit.deploy.images import ROOT
from writer.core.history import Settled

MANY = re.compile(r"(?<! of )\{[^{}]*(?:len\(|:,)[^{}]*\} (?:(?:more|later|unsettled) )*([a-z]+s|are|have|were)\b")
"""A count that is written out, and behind it a word that is only right for several."""


@pytest.mark.parametrize(("number", "said"), [(0, "0 plans"), (1, "1 plan"), (1234, "1,234 plans")])
def test_one_of_a_thing_is_said_without_the_s(number: int, said: str) -> None:
    assert number_of(number, "plan") == said
    assert number_of(number, "is", "are").endswith("is" if number == 1 else "are")


def test_no_command_says_1_sessions() -> None:
    """A count goes through `number_of`; "1 of 3 sessions" is right as it is."""
    found = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "ops").rglob("*.py"))
        for line in path.read_text().splitlines()
        if MANY.search(line)
    }
    assert found == set()


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (
            1,
            [
                "1 has landed or was closed: the writer recognises that and sends nothing",
                "1 is in a conflict, and",
                "1 later unsettled session of the same queue items, appended behind",
                "1 more is before the writer already, and not replayed",
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
                "2 more are before the writer already, and not replayed",
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
