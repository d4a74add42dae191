"""P7: what the redactor does with its findings, asked of its private functions."""

import pytest

from planner.core import redaction
from planner.core.redaction import MARKER


@pytest.mark.parametrize(
    ("spans", "left"),
    [
        ([], "abcdef"),
        ([(0, 6)], MARKER),
        ([(0, 6), (1, 3)], MARKER),
        ([(1, 3), (2, 4)], f"a{MARKER}ef"),
        ([(1, 2), (3, 4)], f"a{MARKER}c{MARKER}ef"),
    ],
)
def test_P7_findings_that_overlap_leave_one_marker_and_nothing_between(spans: list[tuple[int, int]], left: str) -> None:
    assert redaction._cut_out("abcdef", spans) == left


def test_P7_a_text_that_never_becomes_stable_goes_as_a_whole() -> None:
    assert redaction._until_stable("x", lambda text: text + "x") == MARKER
