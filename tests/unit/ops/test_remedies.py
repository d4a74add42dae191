"""Whether a rejected record can be published again, and what helps, is known for every reason there is."""

from __future__ import annotations

import pytest

from ops.core.remedies import _REMEDIES, Again, remedies, remedy
from planner.core.rejection_reasons import REASONS


def test_every_remedy_is_of_a_reason_that_exists() -> None:
    of_the_writer = {"too_large"}
    assert _REMEDIES.keys() <= {*REASONS, *of_the_writer}


@pytest.mark.parametrize("code", REASONS)
def test_every_reason_has_a_remedy(code: str) -> None:
    again, what = remedy(code)
    assert again in Again
    assert what


def test_of_several_reasons_the_least_hopeful_decides_and_each_remedy_is_named_once() -> None:
    assert remedies(["misplaced", "unknown_schema"])[0] is Again.OTHER_KEY
    again, what = remedies(["invalid_id", "text_too_long", "misplaced"])
    assert again is Again.NO
    assert len(what) == 2
    assert remedies([]) == (Again.NO, ())
