"""`writeback mapping`: from what the CRM has to an approved file, and what a change of it concerns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from planner import mapping as mappings
from planner.errors import MappingUnfit
from planner.mapping import environment_mark
from schemas.codec import single_object
from schemas.records import BlockReason, Disposition, ResultStatus, WritebackResult
from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.ops.kit import writeback
from tests.integration.writer.kit import Topic
from tests.support.factories import make_plan, make_result

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "planner" / "mapping.example.json"
OWNERS = ("--owner", f"callback={tenant.CALLBACK_OWNER}", "--owner", f"review=team:{tenant.TEAM}")
STATUS = "medx_callqueueitem/medx_callstatus"


@pytest.fixture(scope="module")
def crm() -> Iterator[RunningSimulator]:
    with running_simulator(auth="none") as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def _signed_in(crm: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a broker: only `diff` may ask one."""
    monkeypatch.setenv("WRITEBACK_DATAVERSE__URL", crm.base_url)
    monkeypatch.setenv("WRITEBACK_IDENTITIES", json.dumps([{"kind": "none"}]))
    monkeypatch.setenv("WRITEBACK_BROKER__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.chdir(tmp_path)


def content_of(name: str = "mapping.json") -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(name).read_text())
    return content


def keep(content: dict[str, Any], name: str = "mapping.json") -> str:
    Path(name).write_text(json.dumps(content))
    return name


def discovered(*more: str) -> dict[str, Any]:
    ran = writeback("mapping", "discover", "--json", *more)
    assert ran.code == 0, ran.err
    return content_of()


def approved(*more: str) -> dict[str, Any]:
    discovered("--scaffold", str(EXAMPLE), *more)
    assert writeback("mapping", "approve", "mapping.json", "--by", "Ada Admin").code == 0
    return content_of()


def test_from_a_scaffold_comes_a_file_that_the_planner_takes_once_it_is_approved(crm: RunningSimulator) -> None:
    content = discovered("--scaffold", str(EXAMPLE))
    assert content["_meta"]["environment"] == environment_mark(crm.base_url)
    assert "suggestions" not in content
    assert content["owners"]["callback"]["name"] == "Casey Callback"
    assert content["option_sets"]["queue_status.ready"]["label"] == "Ready"
    assert content["fields"]["queue.account"]["navigation"] == "medx_AccountId"
    with pytest.raises(MappingUnfit, match="must be true") as refused:
        mappings.load(Path("mapping.json"))
    assert len(refused.value.problems) == 1

    ran = writeback("mapping", "approve", "mapping.json", "--by", "Ada Admin")
    assert (ran.code, "approved by Ada Admin" in ran.out) == (0, True), ran.out
    meta = content_of()["_meta"]
    assert meta["approved"] is True
    assert meta["approved_by"] == "Ada Admin"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", meta["approved_at"])
    assert mappings.load(Path("mapping.json")).queue_item.status == "medx_callstatus"
    assert writeback("mapping", "verify", "mapping.json").code == 0


def test_from_nothing_every_entry_is_a_suggestion_with_its_reason_and_none_is_taken_silently() -> None:
    content = discovered()
    entries = {f"{section}.{name}" for section in ("entities", "fields", "option_sets") for name in content[section]}
    assert entries <= content["suggestions"].keys()
    assert content["entities"]["queue_item"]["logical_name"] == "medx_callqueueitem"
    assert "medx_callstatus" in content["suggestions"]["fields.queue.status"]
    assert content["owners"] == {}, "owners are never guessed"
    assert content["preserve_if_present"] == []
    assert "medx_notes" in content["suggestions"]["preserve_if_present"]
    with pytest.raises(MappingUnfit) as refused:
        mappings.load(Path("mapping.json"))
    assert {f"suggestions.{place}" for place in content["suggestions"]} <= {
        each.partition(":")[0] for each in refused.value.problems
    }


def test_what_was_suggested_for_the_example_tenant_is_what_its_reviewed_mapping_says() -> None:
    found, example = discovered(*OWNERS), content_of(str(EXAMPLE))
    for name, entry in example["fields"].items():
        assert found["fields"][name]["logical_name"] == entry["logical_name"], name
        assert found["fields"][name]["type"] == entry["type"]
    for name, entry in example["option_sets"].items():
        assert found["option_sets"][name]["value"] == entry["value"], name
    assert found["entities"] == example["entities"]
    assert found["owners"]["review"] == {"kind": "team", "id": tenant.TEAM, "name": "Callbacks"}


def test_suggestions_have_to_be_accepted_before_a_file_is_approved() -> None:
    content = discovered(*OWNERS)
    refused = writeback("mapping", "approve", "mapping.json", "--json")
    assert refused.code == 1
    assert {f"suggestions.{place}" for place in content["suggestions"]} == {
        each.partition(":")[0] for each in refused.json[0]["gaps"]
    }
    assert content_of() == content, "what is refused is not changed"
    ran = writeback("mapping", "approve", "mapping.json", "--by", "Ada", "--accept-suggestions")
    assert ran.code == 0, ran.out
    assert mappings.load(Path("mapping.json"))


def test_what_a_person_named_is_taken_and_never_replaced_by_a_better_guess() -> None:
    scaffold = {
        "fields": {"queue.last_disposition": {"logical_name": "medx_timezone"}},
        "option_sets": {"queue_status.ready": {"value": 2}},
    }
    found = discovered("--scaffold", keep(scaffold, "scaffold.json"))
    assert found["fields"]["queue.last_disposition"]["logical_name"] == "medx_timezone"
    assert found["option_sets"]["queue_status.ready"] == {"field": "queue.status", "value": 2, "label": "Completed"}
    assert not {"fields.queue.last_disposition", "option_sets.queue_status.ready"} & found["suggestions"].keys()


def test_a_scaffold_that_names_what_is_not_there_is_answered_with_what_there_is() -> None:
    scaffold = content_of(str(EXAMPLE))
    scaffold["fields"]["queue.status"]["logical_name"] = "medx_gone"
    scaffold["entities"]["task"]["logical_name"] = "todo"
    scaffold["option_sets"]["queue_status.dnc"] = {"field": "queue.status", "value": 99}
    found = discovered("--scaffold", keep(scaffold, "scaffold.json"))["suggestions"]
    assert found["fields.queue.status"].startswith("the table has no column medx_gone; medx_callstatus")
    assert found["entities.task"].startswith("the CRM has no table todo")
    assert found["option_sets.queue_status.dnc"].startswith('medx_callstatus has no option 99; 4 "Do not call"')


def test_a_file_that_exists_is_not_overwritten() -> None:
    discovered()
    ran = writeback("mapping", "discover")
    assert (ran.code, "mapping.json exists" in ran.err) == (64, True)


def test_verify_names_every_gap_of_file_and_crm_in_one_round() -> None:
    content = discovered("--scaffold", str(EXAMPLE))
    content["fields"]["queue.last_error"]["logical_name"] = "medx_gone"
    content["fields"]["phone_call.subject"]["max_length"] = 5_000
    content["owners"]["callback"]["id"] = tenant.DISABLED_USER
    content["owners"]["review"]["name"] = "Somebody Else"
    content["_meta"]["environment"] = "0" * 64
    one, other = (content["option_sets"][f"queue_status.{each}"] for each in ("ready", "in_progress"))
    one["value"], other["value"] = other["value"], one["value"]
    ran = writeback("mapping", "verify", keep(content), "--json")
    assert ran.code == 1
    [found] = ran.json
    places = {each.partition(":")[0] for each in found["gaps"]}
    assert places == {
        "_meta.approved", "_meta.environment", "fields.queue.last_error", "fields.phone_call.subject",
        "owners.callback", "owners.review", "option_sets.queue_status.ready", "option_sets.queue_status.in_progress",
    }  # fmt: skip
    assert "Robin" not in ran.out, "B1: names are compared and never said"
    refused = writeback("mapping", "approve", "mapping.json", "--json")
    assert refused.code == 1
    assert {each.partition(":")[0] for each in refused.json[0]["gaps"]} == places - {"_meta.approved"}
    assert content_of()["_meta"]["approved"] is False


def test_a_file_that_was_changed_since_its_approval_is_refused() -> None:
    content = approved()
    content["owners"]["review"]["id"] = tenant.CALLBACK_OWNER
    ran = writeback("mapping", "verify", keep(content), "--json")
    assert ran.code == 1
    assert any("changed since it was approved" in each for each in ran.json[0]["gaps"])


def test_one_person_may_own_both_kinds_of_tasks() -> None:
    """The writer's verification, too, asked for the same owner twice and ended with an error."""
    both = ("--owner", f"callback={tenant.CALLBACK_OWNER}", "--owner", f"review={tenant.CALLBACK_OWNER}")
    content = approved(*both)
    assert content["owners"]["review"]["name"] == "Casey Callback"
    assert writeback("mapping", "verify", "mapping.json").code == 0


def test_a_crm_that_cannot_be_reached_is_exit_69_and_one_that_is_not_set_up_78(monkeypatch: pytest.MonkeyPatch) -> None:
    approved()
    monkeypatch.setenv("WRITEBACK_DATAVERSE__URL", "http://127.0.0.1:1")
    assert writeback("mapping", "verify", "mapping.json").code == 69
    monkeypatch.delenv("WRITEBACK_DATAVERSE__URL")
    ran = writeback("mapping", "verify", "mapping.json")
    assert (ran.code, "WRITEBACK_DATAVERSE__URL" in ran.err) == (78, True)


def test_explain_shows_for_a_disposition_which_column_gets_what() -> None:
    approved()
    ran = writeback("mapping", "explain", "mapping.json", "--disposition", "do_not_call")
    assert ran.code == 0
    assert re.search(r"queue item +medx_callqueueitem +medx_callstatus .* 4 \"Do Not Call\"", ran.out)
    assert re.search(r"queue item +medx_callqueueitem +medx_donotcall .* yes", ran.out)
    assert "medx_notes" in ran.out, "what is preserved is said too"
    lines = writeback("mapping", "explain", "mapping.json", "--json").json
    assert {each["disposition"] for each in lines} >= {"blocked", "no_answer"}


def test_diff_shows_what_changed_which_dispositions_it_touches_and_how_many_sessions_it_concerns(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRITEBACK_BROKER__BOOTSTRAP_SERVERS", topic.bootstrap)
    old = approved()
    keep(old, "old.json")
    old["option_sets"]["queue_status.dnc"]["value"] = 3
    old["option_sets"]["queue_status.blocked"]["value"] = 4
    keep(old, "new.json")
    mark = mappings.read(Path("old.json")).fingerprint()
    waits = make_plan(session_id="waits", mapping_fingerprint=mark, disposition=Disposition.DO_NOT_CALL)
    blocked = make_plan(session_id="blocked", mapping_fingerprint=mark, disposition=Disposition.DO_NOT_CALL)
    other = make_plan(session_id="other", mapping_fingerprint="0" * 64, disposition=Disposition.DO_NOT_CALL)
    topic.publish(waits, blocked, other)
    result = make_result(
        session_id="blocked", mapping_fingerprint=mark, disposition=Disposition.DO_NOT_CALL,
        status=ResultStatus.BLOCKED, block_reason=BlockReason.METADATA,
    )  # fmt: skip
    producer = Producer({"bootstrap.servers": topic.bootstrap})
    producer.produce("writeback-results", single_object(WritebackResult).encode(result), b"blocked", 0)
    assert producer.flush(20) == 0

    ran = writeback("mapping", "diff", "old.json", "new.json", "--json")
    assert ran.code == 0, ran.err
    [found] = ran.json
    assert [each["place"] for each in found["changes"]] == [
        "option_sets.queue_status.blocked.value", "option_sets.queue_status.dnc.value",
    ]  # fmt: skip
    concerned = {each["disposition"]: (each["unsettled"], each["blocked"]) for each in found["dispositions"]}
    assert concerned == {"do_not_call": (2, 1), "wrong_number": (0, 0), "needs_human_review": (0, 0)}
    by_mark = writeback("mapping", "diff", mark[:12], "new.json")
    assert ": 2 unsettled and 1 blocked" in by_mark.out
    same = writeback("mapping", "diff", "old.json", "mapping.json", "--no-sessions", "--json")
    assert (same.json[0]["same"], same.json[0]["changes"]) == (True, [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verify"], "name the mapping, or set WRITEBACK_MAPPING_FILE"),
        (["diff", "nowhere.json", "mapping.json"], "nowhere.json is neither a file nor a fingerprint"),
        (["discover", "--owner", "callback"], "give callback=ID, review=ID"),
        (["discover", "--scaffold", "nowhere.json"], "cannot be read as JSON"),
        (["explain", "mapping.json", "--disposition", "busy"], "'--disposition'"),
        (["verify", "nowhere.json"], "file 'nowhere.json' does not exist"),
        (["approve", "nowhere.json"], "file 'nowhere.json' does not exist"),
        (["explain", "nowhere.json"], "file 'nowhere.json' does not exist"),
        (["diff", "mapping.json", "nowhere.json"], "file 'nowhere.json' does not exist"),
    ],
)
def test_bad_usage_is_exit_64_with_one_line(arguments: list[str], said: str) -> None:
    if arguments[0] != "discover":
        keep(content_of(str(EXAMPLE)))
    ran = writeback("mapping", *arguments)
    assert (ran.code, ran.err.count("\n")) == (64, 1), ran.err
    assert said in ran.err


def test_a_setting_that_names_no_file_is_exit_78(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRITEBACK_MAPPING_FILE", "nowhere.json")
    ran = writeback("mapping", "verify")
    assert (ran.code, ran.err) == (78, "WRITEBACK_MAPPING_FILE: there is no file nowhere.json\n")


def test_a_file_of_no_shape_is_named_with_every_mistake_and_exit_78() -> None:
    Path("broken.json").write_text('{"_meta": {}, "entities": {"task": {}}}')
    ran = writeback("mapping", "explain", "broken.json")
    assert ran.code == 78
    assert "entities.task.logical_name" in ran.err
    assert "fields" in ran.err
