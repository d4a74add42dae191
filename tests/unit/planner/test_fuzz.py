"""P6: a hundred thousand inputs, real ones mutated and made-up ones: none crashes or stalls, each has a decision."""

import random
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.core.deciding import AlreadyPlanned, Planned, Refused
from planner.kafka.rejections import rejection
from planner.pins.memory import MemoryPins
from schemas.codec import single_object
from schemas.headers import reasons
from schemas.records import CallOutcome, Disposition, Utterance
from schemas.records import Warning as Notice
from tests.support.factories import make_baseline, make_outcome
from tests.unit.planner.strategies import outcomes
from tests.unit.planner.test_batch import a_decider, decided, incoming
from tests.unit.planner.test_planning import EXPECTED, outcome_of

CODEC = single_object(CallOutcome)
MUTANTS = 100_000
PARTS = 4
_STALLED_S = 1.0


def real_messages() -> list[bytes]:
    rich = make_outcome(
        disposition=Disposition.CALL_BACK_LATER,
        summary="They asked us to call after 3 pm.",
        callback_window="after 3 pm",
        captured_email="kim@example.com",
        captured_email_verified=True,
        transcript=(Utterance(role="agent", text="Hello"), Utterance(role="contact", text="Call me later")),
        warnings=(Notice(code="noise", message="much of it"),),
        baseline=make_baseline(preserved={"medx_notes": "VIP", "medx_priority": 3}),
    )
    plain = [CODEC.encode(outcome_of(each)) for each in EXPECTED]
    return [CODEC.encode(rich), *plain * 3]  # free text takes the redactor a hundred times longer than all the rest


def mutated(message: bytes, dice: random.Random) -> bytes:
    """Flipped, cut, doubled, filled: a few things at a time, the framing now and then included."""
    held = bytearray(message)
    for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
        place = dice.randrange(0 if dice.random() < 0.1 else 10, max(11, len(held)))
        match dice.randrange(6):
            case 0 if place < len(held):
                held[place] ^= 1 << dice.randrange(8)
            case 1 if place < len(held):
                held[place] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del held[place : place + dice.randrange(1, 9)]
            case 3:
                held[place:place] = dice.randbytes(dice.randrange(1, 9))
            case 4:
                held[place:place] = held[place : place + dice.randrange(1, 33)]
            case _:
                del held[place:]
    return bytes(held)


def of_its_own(dice: random.Random, messages: list[bytes]) -> bytes:
    """A message whose session nobody else has, so that it is judged by itself and not as a duplicate."""
    return dice.choice(messages).replace(b"sess-000001", b"s%010d" % dice.randrange(10**10))


@pytest.mark.parametrize("part", range(PARTS))
def test_P6_mutated_messages_are_planned_or_rejected(part):
    dice, messages, decisions = random.Random(part), real_messages(), Counter()
    decider, slowest = a_decider(MemoryPins()), 0.0
    key = make_outcome().queue_item_id.encode()
    for start in range(0, MUTANTS // PARTS, 500):
        batch = [
            incoming(make_outcome(), start + number, key=key, value=mutated(of_its_own(dice, messages), dice))
            for number in range(500)
        ]
        began = time.process_time()
        found = decided(decider, batch)
        slowest = max(slowest, time.process_time() - began)
        assert len(found) == len(batch)
        for each in found:
            assert isinstance(each, Planned | AlreadyPlanned | Refused)
            if isinstance(each, Refused):
                assert reasons(rejection(each, topic="t", by="v").headers)
        decisions.update(type(each).__name__ for each in found)
    assert decisions["Planned"] > 500
    assert decisions["Refused"] > 5_000
    assert slowest < _STALLED_S * 10


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: CODEC.encode(make_outcome())[:10] + tail))
def test_P6_any_bytes_are_planned_or_rejected(value):
    (found,) = decided(a_decider(), [incoming(make_outcome(), value=value)])
    assert isinstance(found, Planned | Refused)


@settings(max_examples=200)
@given(outcomes(), st.booleans(), st.none() | st.binary(max_size=40))
def test_P6_any_outcome_under_any_key_is_planned_or_rejected(outcome, right, other):
    key = outcome.queue_item_id.encode() if right else other
    (found,) = decided(a_decider(), [incoming(outcome, key=key, received_at=None)])
    assert isinstance(found, Planned if right else Refused)
