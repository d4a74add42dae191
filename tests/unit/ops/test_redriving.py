"""Which rejected outcomes are sent again, and what is said of those that are not."""

from __future__ import annotations

from typing import Any

import pytest

from ops.core.redriving import Fate, Redriven, RedriveProgress, Rules, fate_of, place_of, select

TOPIC = "call-outcomes-rejected"


def row(codes: str = "unknown_schema", **more: Any) -> dict[str, Any]:
    usual = {
        "topic": TOPIC, "partition": 0, "offset": 7, "codes": codes, "sender": "dialler", "opt_out": 0, "redrives": 0,
        "since_status": None, "since_opt_out": None, "rejected_again": 0,
        "size": 100,
    }  # fmt: skip
    return usual | more


@pytest.mark.parametrize(
    ("given", "rules", "fate"),
    [
        (row(), Rules(), Fate.SENT),
        (row("mismatch"), Rules(), Fate.HOPELESS),
        (row("mismatch"), Rules(anyway=True), Fate.SENT),
        (row("unknown_schema invalid_id"), Rules(), Fate.HOPELESS),
        (row("misplaced"), Rules(), Fate.WRONG_KEY),
        (row("misplaced"), Rules(anyway=True), Fate.WRONG_KEY),
        (row("misplaced"), Rules(rekey=True), Fate.SENT),
        (row("empty_key unknown_schema"), Rules(rekey=True), Fate.SENT),
        (row(redrives=1), Rules(anyway=True), Fate.LOOPED),
        (row(redrives=1), Rules(most=2), Fate.SENT),
        (row(offset=8), Rules(), Fate.TAKEN),
        (row(topic="planned-writebacks-rejected"), Rules(anyway=True), Fate.A_PLAN),
        (row("key_disagrees", since_status="completed"), Rules(rekey=True), Fate.PLANNED),
        (row("tombstone", size=0), Rules(anyway=True), Fate.EMPTY),
    ],
)
def test_only_what_can_be_accepted_is_sent_and_never_round_and_round(
    given: dict[str, Any], rules: Rules, fate: Fate
) -> None:
    assert fate_of(given, rules, {f"{TOPIC}/0/8"}, outcomes=TOPIC) is fate


def test_records_are_grouped_by_reason_and_sender_with_opt_outs_first() -> None:
    rows = [row(offset=1), row(offset=2), row("mismatch", offset=3, opt_out=1), row(offset=4, sender=None)]
    found = select(rows, Rules(), (), outcomes=TOPIC)
    assert [(group.codes, group.sender, group.records) for group in found.groups] == [
        (("mismatch",), "dialler", 1), (("unknown_schema",), "dialler", 2), (("unknown_schema",), "unknown", 1),
    ]  # fmt: skip
    assert found.chosen == [place_of(rows[0]), place_of(rows[1]), place_of(rows[3])]
    preview = found.preview("every rejected record")
    assert (preview.count, preview.as_json()["left_out"]) == (3, 1)
    assert "publish what is new as a session of its own" in preview.notes[0]


@pytest.mark.parametrize(
    ("came", "settled", "sentence"),
    [
        (Redriven("p", sent=False, rejected_again=None, planned=False, planner_waits=False), False, "not sent yet"),
        (Redriven("p", sent=True, rejected_again=("x",), planned=True, planner_waits=True), True, "rejected again: x"),
        (Redriven("p", sent=True, rejected_again=None, planned=True, planner_waits=True), True, "planned"),
        (
            Redriven("p", sent=True, rejected_again=None, planned=False, planner_waits=True),
            False,
            "sent; the planner has it before it",
        ),
        (
            Redriven("p", sent=True, rejected_again=None, planned=False, planner_waits=False),
            True,
            "read by the planner; which session it is of cannot be seen",
        ),
    ],
)
def test_what_came_of_a_record_is_one_sentence(came: Redriven, settled: bool, sentence: str) -> None:
    assert (came.settled, came.sentence()) == (settled, sentence)
    progress = RedriveProgress((came, came))
    assert (progress.settled, progress.counts()) == (2 * settled, [(sentence, 2)])
    assert progress.to_send == (0 if came.sent else 2)
    assert progress.needs_a_person is (came.rejected_again is not None)
