"""`writeback outcome check`: every reason at once, what would be planned, what was left out; no personal data (B1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ops.core.outcomes import from_json
from ops.settings import chosen_profile
from schemas.codec import single_object
from schemas.conversion import to_plain
from schemas.records import CallOutcome, PlannedWriteback
from tests.integration.ops.kit import Ran, writeback
from tests.support.factories import NOON, an_id, make_baseline, make_outcome, make_plan

MAPPING = str(Path(__file__).parents[3] / "ops" / "demo" / "mapping.json")
FULL = make_baseline(
    preserved={
        "medx_notes": "prefers mornings", "medx_priority": 2, "medx_lastdisposition": None, "medx_lasterror": None,
        "medx_nextattemptat": None,
    }
)  # fmt: skip


@pytest.fixture(autouse=True)
def _nobody_elses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    chosen_profile.set(None)


def as_json(outcome: CallOutcome, **changed: Any) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(to_plain(outcome) | changed, default=lambda at: at.isoformat()))
    return content


def checked(tmp_path: Path, content: Any, *more: str) -> Ran:
    file = tmp_path / "outcome"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return writeback("outcome", "check", str(file), "--json", *more)


def test_json_and_avro_say_the_same(tmp_path: Path) -> None:
    outcome = make_outcome(summary="Kim, kim@example.com", baseline=FULL)
    by_json = checked(tmp_path, as_json(outcome), "--mapping", MAPPING)
    by_avro = checked(tmp_path, single_object(CallOutcome).encode(outcome), "--mapping", MAPPING)
    assert by_json.code == by_avro.code == 0, by_json.err
    assert by_json.json == by_avro.json
    [found] = by_json.json
    assert [step["operation"] for step in found["steps"]] == [
        "create_phone_call", "complete_phone_call", "update_queue_item",
    ]  # fmt: skip
    assert found["steps"][2]["columns"]["medx_attemptcount"] == "+1"
    assert found["columns_left_out"] == []
    assert "kim" not in by_json.out.lower()
    assert "5305550123" not in by_json.out


def test_avros_own_json_with_wrapped_unions_and_milliseconds_is_read() -> None:
    given = as_json(make_outcome(), campaign_id={"string": "spring"}, started_at=round(NOON.timestamp() * 1000))
    assert from_json(json.dumps(given).encode()) == make_outcome(campaign_id="spring")


def test_every_mistake_of_the_json_is_named_at_once(tmp_path: Path) -> None:
    given = as_json(make_outcome(), opt_out="yes", disposition="maybe", sumary="x", baseline={"captured_att": None})
    del given["session_id"]
    ran = checked(tmp_path, given)
    assert ran.code == 1
    assert {(each["code"], each["field"]) for each in ran.json[0]["reasons"]} == {
        ("missing", "session_id"),
        ("missing", "baseline.captured_at"),
        ("wrong_type", "opt_out"),
        ("wrong_type", "disposition"),
        ("unknown_field", "sumary"),
        ("unknown_field", "baseline.captured_att"),
    }
    assert "summary, perhaps" in ran.out


def test_P6_every_reason_of_the_planner_is_named_at_once(tmp_path: Path) -> None:
    given = as_json(make_outcome(session_id="+15305550123", queue_item_id="item 1", failing_rules=("d",)))
    ran = checked(tmp_path, given)
    assert ran.code == 1
    assert {each["code"] for each in ran.json[0]["reasons"]} == {
        "phone_number_as_id", "invalid_id", "failing_rules_without_block",
    }  # fmt: skip
    assert "15305550123" not in ran.out


def test_a_time_without_a_zone_is_refused(tmp_path: Path) -> None:
    ran = checked(tmp_path, as_json(make_outcome(), ended_at="2026-11-20T12:03:00"))
    assert [(each["code"], each["field"]) for each in ran.json[0]["reasons"]] == [("no_zone", "ended_at")]


def test_what_was_left_out_and_could_have_been_sent_is_named_with_what_follows(tmp_path: Path) -> None:
    bare = make_baseline(etag=None, attempt_count=None, preserved={"medx_notes": None})
    [found] = checked(tmp_path, as_json(make_outcome(baseline=bare, phone_number=None)), "--mapping", MAPPING).json
    assert {"phone_number", "baseline.etag", "baseline.attempt_count"} <= {each["field"] for each in found["left_out"]}
    assert "baseline.status" not in {each["field"] for each in found["left_out"]}
    assert set(found["columns_left_out"]) == {"medx_priority", "medx_lastdisposition", "medx_lasterror"}


def test_it_says_where_the_record_belongs(tmp_path: Path) -> None:
    [found] = checked(tmp_path, as_json(make_outcome(queue_item_id=an_id("item").upper())), "--partitions", "12").json
    assert found["key"] == an_id("item")
    assert 0 <= found["partition"] < 12


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "no_json"),
        (b"[]", "no_json"),
        (b"", "no_json"),
        (single_object(PlannedWriteback).encode(make_plan()), "undecodable"),
    ],
)
def test_what_is_no_outcome_at_all_is_said_to_be_none(tmp_path: Path, content: bytes, code: str) -> None:
    ran = checked(tmp_path, content)
    assert (ran.code, ran.json[0]["reasons"][0]["code"]) == (1, code)


def test_text_output_names_the_verdict_first(tmp_path: Path) -> None:
    file = tmp_path / "outcome.json"
    file.write_text(json.dumps(as_json(make_outcome(baseline=FULL))))
    ran = writeback("outcome", "check", str(file), "--mapping", MAPPING)
    assert ran.out.startswith(f"accepted; publish it under the key {make_outcome().queue_item_id}")
    assert "update_queue_item" in ran.out


def test_a_file_that_is_not_there_is_wrong_usage_and_a_mapping_with_gaps_is_misconfigured(tmp_path: Path) -> None:
    ran = writeback("outcome", "check", str(tmp_path / "none"))
    assert (ran.code, ran.err.count("\n")) == (64, 1)
    gaps = tmp_path / "mapping.json"
    gaps.write_text("{}")
    file = tmp_path / "outcome.json"
    file.write_text(json.dumps(as_json(make_outcome())))
    assert writeback("outcome", "check", str(file), "--mapping", str(gaps)).code == 78
