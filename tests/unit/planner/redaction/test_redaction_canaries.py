"""P7: ten thousand planted canaries, none survives."""

import pytest

from planner.core.redaction import redact
from tests.unit.planner.redaction.canaries import ENCODINGS, KINDS, canaries, survives

CANARIES, EACH = 10_000, 1_000


@pytest.mark.parametrize("first", range(0, CANARIES, EACH))
def test_P7_no_planted_canary_survives(first: int, record_property) -> None:
    redacted = [(canary, redact(canary.text)) for canary in canaries(first, EACH)]
    alive = [(canary.shape, canary.text, left) for canary, left in redacted if survives(canary, left)]
    record_property("measured", f"redaction canaries from {first}: {EACH - len(alive)} of {EACH} gone")
    assert alive == []


def test_P7_the_detector_sees_every_canary_that_was_not_redacted() -> None:
    assert [canary for canary in canaries(0, EACH) if not survives(canary, canary.text)] == []


def test_P7_canaries_take_every_format_in_every_encoding() -> None:
    planted = {(canary.kind, canary.shape) for canary in canaries(0, EACH)}
    wanted = {
        (kind, f"{form.__name__}, {name}") for kind, (_, forms) in KINDS.items() for form in forms for name in ENCODINGS
    }
    assert wanted <= planted
