"""P7 and B1: ten thousand planted canaries, encoded forms included, and none in what leaves the planner.

A canary is an address or a number made for one outcome. It may stay where a field is for it: the number that was
called, the verified address in the callback task, the columns that the CRM itself gave.
"""

import asyncio
import base64
import html
import io
import json
import random
import urllib.parse
from collections.abc import Callable, Iterator

import pytest
import structlog
from prometheus_client import generate_latest

from planner.core.fence import Membership
from planner.core.planning import Policy
from schemas.codec import single_object
from schemas.records import Account, CallOutcome, Disposition, PlannedWriteback, Utterance
from schemas.records import Warning as Notice
from tests.support.factories import an_id
from tests.unit.planner.test_batch import a_decider, decided, incoming
from tests.unit.planner.test_planning import outcome_of
from tests.unit.planner.test_service import FakePublisher, a_service

CANARIES = 10_000
PER_OUTCOME = 5
PARTS = 4


def addresses(dice: random.Random) -> tuple[str, str]:
    """An address, and what must not be found of it."""
    mark = f"canary{dice.randrange(10**9):09d}"
    return f"{mark}@example.com", mark


def phone_numbers(dice: random.Random) -> tuple[str, str]:
    last = f"55501{dice.randrange(100):02d}"
    area = dice.choice(("212", "530", "415"))
    form = dice.choice(("+1{0}{1}", "({0}) {2}-{3}", "{0}-{2}-{3}", "{0}.{2}.{3}", "+1 {0} {2} {3}", "1-{0}-{2}-{3}"))
    return form.format(area, last, last[:3], last[3:]), f"{last[:3]}-{last[3:]}"


def cards(dice: random.Random) -> tuple[str, str]:
    digits = [4, *(dice.randrange(10) for _ in range(14))]
    total = sum(sum(divmod(2 * d, 10)) if place % 2 == 0 else d for place, d in enumerate(digits))
    number = "".join(map(str, [*digits, -total % 10]))
    return " ".join(number[at : at + 4] for at in range(0, 16, 4)), number


def social_security_numbers(dice: random.Random) -> tuple[str, str]:
    parts = f"{dice.randrange(1, 666):03d}", f"{dice.randrange(1, 100):02d}", f"{dice.randrange(1, 10_000):04d}"
    return "-".join(parts), "-".join(parts)


KINDS: tuple[Callable[[random.Random], tuple[str, str]], ...] = (
    addresses,
    phone_numbers,
    cards,
    social_security_numbers,
)
ENCODINGS: tuple[Callable[[str], str], ...] = (
    str,
    str,
    str,
    html.escape,
    urllib.parse.quote,
    lambda text: "".join(f"&#{ord(each)};" for each in text),
    lambda text: "".join(f"%{ord(each):02X}" for each in text),
    lambda text: text.translate({ord(str(d)): 0xFF10 + d for d in range(10)}),
    lambda text: text.replace("-", "\u2011").replace(" ", "\u00a0"),
    lambda text: json.dumps(text),
    lambda text: base64.b64encode(text.encode()).decode(),
)


def readings(text: str) -> Iterator[str]:
    """The text as it stands, and with encodings undone: a canary must be in none of them."""
    yield text
    yield html.unescape(urllib.parse.unquote(text))
    plain = text.translate({0xFF10 + d: str(d) for d in range(10)})
    yield plain
    yield "".join(each for each in plain if each.isalnum() or each == "@")


def planted(dice: random.Random, number: int) -> tuple[CallOutcome, list[str], list[str]]:
    """An outcome, its canaries as they were written, and their marks."""
    found = [dice.choice(KINDS)(dice) for _ in range(PER_OUTCOME)]
    texts = [dice.choice(ENCODINGS)(text) for text, _ in found]
    said = [f"the contact said {text} and hung up" for text in texts]
    outcome = outcome_of(
        dice.choice(["call_back_later", "needs_human_review", "no_answer"]),
        session_id=f"s{number}",
        queue_item_id=an_id(f"item {number}"),
        summary=said[0],
        callback_window=said[1],
        transcript=(Utterance(role="contact", text=said[2]),),
        account=Account(id=an_id("account"), name=f"Clinic {texts[3]}"),
        warnings=(Notice(code="noted", message=said[4]),),
    )
    return outcome, texts, [mark for _, mark in found]


def free_texts(plan: PlannedWriteback) -> str:
    allowed = {"phonenumber", "medx_idempotencykey", "medx_lastsessionid"}
    texts = [
        str(value)
        for step in plan.steps
        for name, value in step.attributes.items()
        if name not in allowed and "@odata" not in name
    ]
    return "\n".join([*texts, *(each.message for each in plan.warnings)])


def found_in(text: str, canaries: list[str], marks: list[str]) -> list[str]:
    squeezed = [mark.replace("-", "") for mark in marks if len(mark) > 8]
    read = list(readings(text))
    return [each for each in (*canaries, *squeezed) if any(each in reading for reading in read)]


@pytest.mark.parametrize("part", range(PARTS))
def test_P7_no_canary_is_found_in_any_plan(part):
    dice, leaked = random.Random(part), []
    decider = a_decider(policy=Policy(transcript="full"))
    for number in range(CANARIES // PER_OUTCOME // PARTS):
        outcome, canaries, marks = planted(dice, number)
        (decision,) = decided(decider, [incoming(outcome)])
        leaked += [(each, free_texts(decision.plan)) for each in found_in(free_texts(decision.plan), canaries, marks)]
    assert leaked == []


def test_B1_no_canary_is_found_in_logs_headers_metrics_or_errors(monkeypatch):
    dice, told = random.Random(9), io.StringIO()
    lines = structlog.wrap_logger(structlog.PrintLogger(told), processors=[structlog.processors.JSONRenderer()])
    monkeypatch.setattr("planner.service.log", lines)
    publisher = FakePublisher()
    service, registry = a_service(publisher=publisher)
    everything: list[str] = []
    batch = []
    for number in range(200):
        outcome, canaries, _ = planted(dice, number)
        everything += canaries
        headers = (("contact", canaries[0].encode()), ("traceparent", canaries[1].encode()))
        spoiled = single_object(CallOutcome).encode(outcome)[: dice.randrange(11, 200)]
        batch += [
            incoming(outcome, number, headers=headers),
            incoming(outcome, number, headers=headers, key=canaries[2].encode()),
            incoming(outcome, number, headers=headers, value=spoiled),
            incoming(outcome_of("no_answer", session_id=canaries[0] + " "), number, headers=headers),
            incoming(outcome_of("no_answer", queue_item_id=canaries[1], owner_override=canaries[2] + "\n"), number),
        ]
    asyncio.run(service.handle(batch, Membership("writeback-planner", 1, "member")))
    sent = [value.decode() for record in publisher.published for _, value in record.headers]
    text = "\n".join([told.getvalue(), generate_latest(registry).decode(), *sent])
    assert len(publisher.published) > 800
    assert [each for each in everything if each in text] == []
    assert Disposition.NO_ANSWER not in text


def test_a_canary_that_leaked_would_be_seen():
    dice, seen = random.Random(1), 0
    decider = a_decider(policy=Policy(redaction="none"))
    for number in range(50):
        outcome, canaries, marks = planted(dice, number)
        (decision,) = decided(decider, [incoming(outcome)])
        seen += bool(found_in(free_texts(decision.plan), canaries, marks))
    assert seen == 50
