"""Whose records they are, what is left, and until when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops.core.forgetting import Findings, Keeping, Remains, Trace, What, keeping, person, stays_because
from ops.core.rows import Place, plan_row
from ops.view.store import Store
from planner.core.retirement import mark_of
from schemas.conversion import to_plain
from schemas.records import PrecedingPlan
from schemas.topics import DAY_MS, Topics
from tests.support.factories import NOON, an_id, make_outcome, make_plan, make_result

PLANS, OUTCOMES = "planned-writebacks", "call-outcomes"
KEPT = {spec.name: keeping(spec.creation_config()) for spec in Topics().all()}
ITEM = make_plan().queue_item_id


def trace(topic: str = PLANS, what: What = What.CONTENT, **given: Any) -> Trace:
    return replace(Trace(topic, 0, 1, 1_000, what, b"sess-000001", "sess-000001"), **given)


def findings(*traces: Trace) -> Findings:
    return Findings(traces, KEPT, frozenset({OUTCOMES, "call-outcomes-rejected"}))


@pytest.mark.parametrize(
    "whom",
    [
        person(sessions=[" sess-000001"]),
        person(queue_items=[ITEM.upper()]),
        person(account=an_id("account 1")),
    ],
    ids=["session", "queue item", "account"],
)
def test_records_are_a_persons_by_session_queue_item_or_account(whom: Any) -> None:
    assert whom.in_record(to_plain(make_outcome())) is What.CONTENT
    assert whom.in_record(to_plain(make_outcome(session_id="x", queue_item_id=an_id("y"), account=None))) is None


def test_a_mark_holds_ids_alone_and_is_known_as_one() -> None:
    mark = mark_of(make_plan(), NOON)
    assert person(sessions=["sess-000001"]).in_record(to_plain(mark)) is What.MARK


def test_a_later_plan_that_lists_the_session_names_it_and_is_not_the_persons() -> None:
    later = make_plan(session_id="later", preceding=(PrecedingPlan(session_id="sess-000001", columns={}),))
    whom = person(sessions=["sess-000001"])
    assert whom.in_record(to_plain(later)) is What.NAMED
    assert findings(trace(what=What.NAMED)).verdict() is Remains.NOTHING


def test_session_ids_that_differ_in_case_are_two_sessions() -> None:
    whom = person(sessions=["Sess-000001"])
    assert whom.in_record(to_plain(make_result())) is None
    assert (whom.owns_key(b"sess-000001"), whom.owns_key(b"Sess-000001")) == (False, True)


def test_what_is_quickly_looked_for_in_bytes_is_never_less_than_what_is_found() -> None:
    assert person(queue_items=[ITEM]).in_bytes(b"\x00\xff" + ITEM.upper().encode())
    assert not person(queue_items=[ITEM]).in_bytes(b"\x00\xff")


def test_contents_that_stand_are_erased_and_earlier_ones_go_by_compaction() -> None:
    found = findings(trace(newest=False), trace(offset=2))
    assert [each.offset for each in found.to_erase()] == [2]
    assert found.verdict() is Remains.NOT_FORGOTTEN
    done = findings(trace(newest=False), trace(offset=2, newest=False), trace(offset=3, what=What.TOMBSTONE))
    assert done.verdict() is Remains.GOING
    assert done.gone_by_ms() == 1_000 + 14 * DAY_MS, "compacted within a week, and its tombstone kept for another"


@pytest.mark.parametrize("session", ["sess-000001", None], ids=["its own", "one that cannot be read"])
def test_P1_a_mark_stays_while_an_outcome_could_be_planned_anew(session: str | None) -> None:
    outcome = trace(OUTCOMES, session=session)
    assert findings(trace(what=What.MARK), outcome).to_erase() == []
    assert findings(trace(what=What.MARK), outcome).verdict() is Remains.GOING
    assert len(findings(trace(what=What.MARK)).to_erase()) == 1
    assert findings(trace(what=What.MARK)).verdict() is Remains.NOT_FORGOTTEN


def test_what_is_not_compacted_is_kept_for_its_retention_and_a_segment() -> None:
    kept = keeping({"cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS), "segment.ms": str(DAY_MS)})
    assert kept.until_ms(trace(OUTCOMES)) == 1_000 + 8 * DAY_MS


@pytest.mark.parametrize("what", [What.CONTENT, What.MARK, What.TOMBSTONE])
def test_of_a_topic_whose_settings_are_not_reported_nobody_says_what_it_forgets(what: What) -> None:
    found = replace(findings(trace(what=what)), kept={**KEPT, PLANS: keeping(None)})
    assert (found.verdict(), found.unknown(), found.gone_by_ms()) == (Remains.NOT_KNOWN, [PLANS], None)
    assert [line.fate.partition(":")[0] for line in found.lines()] == ["not known"]
    elsewhere = replace(findings(trace(OUTCOMES)), kept=found.kept)
    assert (elsewhere.verdict(), elsewhere.unknown()) == (Remains.GOING, [])
    named = replace(findings(trace(what=What.NAMED)), kept=found.kept)
    assert (named.verdict(), named.unknown()) == (Remains.NOTHING, [])


def test_a_topic_without_a_limit_is_said_to_have_none() -> None:
    kept = keeping({"cleanup.policy": "delete", "retention.ms": "-1"})
    assert kept.until_ms(trace(OUTCOMES)) is None
    assert "without limit" in kept.why_not_known(OUTCOMES)


def test_a_compacted_topic_without_a_limit_is_named_with_the_setting_that_sets_one() -> None:
    kept: Keeping = keeping({"cleanup.policy": "compact", "max.compaction.lag.ms": str(2**63 - 1)})
    assert kept.until_ms(trace(newest=False)) is None
    assert "max.compaction.lag.ms=604800000" in kept.why_not_known(PLANS)


def test_lines_say_what_is_where_and_what_becomes_of_it() -> None:
    lines = findings(trace(what=What.MARK), trace(OUTCOMES), trace(OUTCOMES, offset=9)).lines()
    assert [(each.topic, each.what, each.first, each.last, each.records, each.fate) for each in lines] == [
        (OUTCOMES, What.CONTENT, 1, 9, 2, "retention takes it"),
        (PLANS, What.MARK, 1, 1, 1, "kept while an outcome of it can be read; then forget it again"),
    ]


@pytest.mark.parametrize(
    ("row", "give_up", "stays"),
    [
        ({}, False, None),
        ({"unsettled": 1}, True, "a writer has it before it"),
        ({"opt_out_open": 1, "status": "blocked"}, True, "its opt-out is not on the row"),
        ({"status": "blocked", "reason": "metadata"}, False, "it waits for a person"),
        ({"status": "blocked", "reason": "metadata"}, True, None),
        ({"status": "blocked", "reason": "eligibility"}, False, None),
        ({"status": "passed_over"}, False, "it waits for a person"),
    ],
)
def test_no_opt_out_and_nothing_unsettled_is_forgotten(row: dict[str, Any], give_up: Any, stays: str | None) -> None:
    given = {"unsettled": 0, "opt_out_open": 0, "status": "completed", "reason": None} | row
    why = stays_because(given, give_up=give_up)
    assert (why or "").startswith(stays or "")
    assert (why is None) == (stays is None)


def test_B1_the_view_forgets_too_down_to_the_bytes_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "view.sqlite"
    with Store(path) as store:
        store.keep_sessions([plan_row(make_plan(session_id=each), Place(0, 1, 1), ()) for each in ("erased", "kept")])
        store.keep_dry_runs([("erased", 0, 1)])
        store.erase(["erased"], [])
        assert (store.session("erased"), store.dry_run("erased")) == (None, None)
        assert store.session("kept")
    assert all(b"erased" not in each.read_bytes() for each in tmp_path.iterdir())


def test_of_ids_that_were_given_those_are_unknown_of_which_no_topic_holds_anything() -> None:
    def found(*traces: Trace) -> Findings:
        return Findings(traces, {}, frozenset())

    def trace(what: What, *names: str) -> Trace:
        return Trace("t", 0, 0, 0, what, b"key", names=frozenset(names))

    one, two = person(sessions=["one"]), person(sessions=["one", "two"])
    assert found().unknown_ids(person(sessions=["one"], account="A")) == ["a", "one"]
    assert found(trace(What.CONTENT, "one")).unknown_ids(two) == ["two"]
    assert found(trace(What.CONTENT, "item", "one")).unknown_ids(one) == []
    assert found(trace(What.TOMBSTONE, "one")).unknown_ids(one) == [], "it was there"
    assert found(trace(What.NAMED, "one")).unknown_ids(one) == [], "an operator's record names it"
    assert found(trace(What.CONTENT, "item", "one")).unknown_ids(person(queue_items=["item", "typo"])) == ["typo"]
