"""The audit at the end of the demo sees what is wrong; an audit that cannot fail proves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ops.demo.audit import EXPECTED, Call, Crm, ItemState, audit
from schemas.records import Disposition, QueueStatus

CALLS = [
    Call("s1", "a", Disposition.NO_ANSWER),
    Call("s2", "b", Disposition.DO_NOT_CALL),
    Call("s3", "a", Disposition.CALL_BACK_LATER),
    Call("s4", "a", Disposition.BLOCKED),
]
RIGHT = Crm(
    calls=["s1", "s2", "s3"],
    open_calls=[],
    tasks=["s3"],
    items={
        "a": ItemState(QueueStatus.READY, 2, do_not_call=False, last_session_id="s4"),
        "b": ItemState(QueueStatus.DNC, 1, do_not_call=True, last_session_id="s2"),
    },
    updates=[("a", "s1"), ("b", "s2"), ("a", "s3"), ("a", "s4")],
)


def test_records_that_match_the_calls_are_right() -> None:
    report = audit(CALLS, RIGHT)
    assert report.right
    assert sum(tally.sessions for tally in report.by_disposition.values()) == len(CALLS)
    assert report.by_disposition[Disposition.CALL_BACK_LATER].found_tasks == 1


@pytest.mark.parametrize(
    ("crm", "where", "named"),
    [
        (replace(RIGHT, calls=["s1", "s1", "s2", "s3"]), "duplicates", "s1: 2 × phone call, 1 expected"),
        (replace(RIGHT, calls=["s1", "s2"]), "losses", "s3: 0 × phone call, 1 expected"),
        (replace(RIGHT, tasks=["s3", "s3"]), "duplicates", "s3: 2 × task, 1 expected"),
        (replace(RIGHT, tasks=[]), "losses", "s3: 0 × task, 1 expected"),
        (replace(RIGHT, calls=[*RIGHT.calls, "s4"]), "duplicates", "s4: 1 × phone call, 0 expected"),
        (replace(RIGHT, open_calls=["s2"]), "losses", "s2: phone call created but not completed"),
        (replace(RIGHT, updates=RIGHT.updates[1:]), "losses", "s1: 0 × queue item update, 1 expected"),
        (replace(RIGHT, calls=[*RIGHT.calls, "zz"]), "strangers", "zz"),
        (replace(RIGHT, items={"a": RIGHT.items["a"]}), "wrong_items", "queue item b: is not there"),
    ],
)
def test_each_kind_of_wrong_is_named(crm: Crm, where: str, named: str) -> None:
    report = audit(CALLS, crm)
    assert not report.right
    assert named in getattr(report, where)


def test_W4_updates_in_another_order_than_the_calls_are_seen() -> None:
    swapped = [("a", "s3"), ("b", "s2"), ("a", "s1"), ("a", "s4")]
    assert audit(CALLS, replace(RIGHT, updates=swapped)).out_of_order == [
        "queue item a: updated in the order s3, s1, s4…"
    ]


@pytest.mark.parametrize(
    "state",
    [
        ItemState(QueueStatus.READY, 1, do_not_call=False, last_session_id="s4"),
        ItemState(QueueStatus.READY, 2, do_not_call=True, last_session_id="s4"),
        ItemState(QueueStatus.READY, 2, do_not_call=False, last_session_id="s3"),
    ],
)
def test_a_queue_item_that_does_not_show_its_last_session_is_wrong(state: ItemState) -> None:
    assert len(audit(CALLS, replace(RIGHT, items={**RIGHT.items, "a": state})).wrong_items) == 1


def test_a_status_is_wrong_unless_the_last_session_was_not_called_at_all() -> None:
    ready = replace(RIGHT.items["b"], status=QueueStatus.READY)
    assert audit(CALLS, replace(RIGHT, items={**RIGHT.items, "b": ready})).wrong_items == [
        "queue item b: status is ready, should be dnc"
    ]
    in_progress = replace(RIGHT.items["a"], status=QueueStatus.IN_PROGRESS)
    assert audit(CALLS, replace(RIGHT, items={**RIGHT.items, "a": in_progress})).right


def test_every_disposition_has_an_expectation() -> None:
    listed: Sequence[Disposition] = list(Disposition)
    assert set(EXPECTED) == set(listed)
