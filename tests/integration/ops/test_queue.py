"""`next`, `claim`, `release` against the simulator: order, pages, races, lost replies, and what is never shown."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops import queue_table
from ops.core.eligibility import CallingRules
from ops.core.outcomes import from_json
from ops.demo.processes import module
from ops.queue_table import QueueTable, queue_columns
from ops.settings import read_settings
from ops.taking import Taking, Wanted
from schemas.records import CallOutcome
from simulator import tenant
from simulator.testing import RunningSimulator
from tests.integration.ops.kit import Ran, writeback
from tests.integration.ops.queue_kit import CAMPAIGN, ITEMS, PHONE, outcome_of, queue_side, ready, row_of
from tests.support.factories import NOON, an_id
from tests.support.ports import free_ports

TAKE = {"method": "PATCH", "path": f"^{ITEMS}"}
READ = {"method": "GET", "path": f"^{ITEMS}"}
CUT = {"kind": "cut", "moment": "applied"}
TRANSIENT = {"kind": "status", "status": 503}


@pytest.fixture(autouse=True)
def queue(simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue_side(simulator, tmp_path, monkeypatch)


def claims_of(simulator: RunningSimulator) -> Counter[str]:
    """How often each item went from ready to in progress, by the operation log."""
    entries = simulator.oplog(table="medx_callqueueitem", outcome="committed")
    return Counter(each["id"] for each in entries if each["changes"].get("medx_callstatus") == [0, 1])


def ids(ran: Ran) -> list[str]:
    assert ran.code == 0, ran.err
    return [each["queue_item_id"] for each in ran.json]


def test_items_come_in_one_order_over_many_pages(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_table, "PAGE", 3)
    now = datetime.now(UTC)
    for number in range(20):
        due = now - timedelta(minutes=number % 4) if number % 3 else None
        made = now - timedelta(days=number % 5 + 1)
        ready(
            simulator,
            medx_callqueueitemid=an_id(f"item {number}"),
            medx_nextattemptat=due and f"{due:%Y-%m-%dT%H:%M:%SZ}",
            overriddencreatedon=f"{made:%Y-%m-%dT%H:%M:%SZ}",
        )
    ready(simulator, medx_nextattemptat=f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}")
    ready(simulator, medx_callstatus=2)
    ready(simulator, **{"medx_CampaignId@odata.bind": None})
    rows = {row["medx_callqueueitemid"]: row for row in simulator.rows(ITEMS)}

    def order(item: str) -> tuple[str, str, str]:
        return rows[item]["medx_nextattemptat"] or "", rows[item]["createdon"], item

    found = ids(writeback("next", *CAMPAIGN, "--count", "100", "--json"))
    assert len(found) == 20
    assert found == sorted(found, key=order)
    assert ids(writeback("next", *CAMPAIGN, "--json")) == found[:1]
    assert ids(writeback("claim", *CAMPAIGN, "--count", "7", "--json")) == found[:7]
    assert ids(writeback("next", *CAMPAIGN, "--json")) == found[7:8]


def test_an_unknown_campaign_is_an_error_and_an_empty_one_is_nothing_to_do(simulator: RunningSimulator) -> None:
    for command in ("next", "claim"):
        empty = writeback(command, *CAMPAIGN, "--json")
        assert (empty.code, empty.out) == (0, "")
        assert empty.err == f"no item of campaign {tenant.CAMPAIGN} is ready to be called\n"
        unknown = writeback(command, "--campaign", an_id("no campaign"), "--json")
        assert unknown.code == 64
        assert f"Dataverse has no campaign {an_id('no campaign')}" in unknown.json[0]["error"]
    assert claims_of(simulator) == Counter()


def test_ineligible_items_are_passed_over_and_counted_by_rule(simulator: RunningSimulator) -> None:
    ready(simulator, medx_donotcall=True)
    ready(simulator, medx_phonenumber=None, medx_attemptcount=5)
    good = ready(simulator)
    ran = writeback("claim", *CAMPAIGN, "--count", "3", "--json")
    assert ids(ran) == [good]
    assert ran.err == "2 not eligible, by rule: a 1, d 1, e 1\n"


def test_one_item_is_judged_by_every_rule(simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRITEBACK_CALLING__MAX_ATTEMPTS", "2")
    bad = ready(simulator, medx_callstatus=4, medx_phonenumber="", medx_timezone="Mars/Base", medx_attemptcount=2)
    for command in ("next", "claim"):
        ran = writeback(command, "--queue-item", bad, "--json")
        assert ran.code == 1
        assert ran.json[0]["failing_rules"] == ["a", "b", "c", "d", "e", "f"]
        shown = writeback(command, "--queue-item", f"{{{bad.upper()}}}")
        assert shown.code == 1
        assert shown.out.startswith(f"queue item {bad}: not eligible: a,b,c,d,e,f")
        assert shown.out.count("FAILED") == 6
    assert claims_of(simulator) == Counter()
    gone = writeback("claim", "--queue-item", an_id("nothing"))
    assert (gone.code, gone.err.count("\n")) == (1, 1)


def test_a_claim_is_in_progress_with_its_mark_and_comes_with_the_whole_baseline(simulator: RunningSimulator) -> None:
    item = ready(simulator, medx_attemptcount=2, medx_lastsessionid="sess-1", medx_priority=4)
    [found] = writeback("claim", "--queue-item", item, "--token", "call-0001", "--json").json
    row = row_of(simulator, item)
    assert (row["medx_callstatus"], row["medx_lastdisposition"][:18]) == (1, "claimed call-0001 ")
    assert found["baseline"] | {"captured_at": None} == {
        "captured_at": None, "etag": row["@odata.etag"], "status": "in_progress", "last_session_id": "sess-1",
        "attempt_count": 2, "do_not_call": False,
        "preserved": {
            "medx_notes": "prefers mornings", "medx_priority": 4, "medx_lasterror": None, "medx_nextattemptat": None,
            "medx_lastdisposition": row["medx_lastdisposition"],
        },
    }  # fmt: skip
    assert (found["phone_number"], found["token"]) == (PHONE, "call-0001")
    assert found["account"] == {"id": tenant.ACCOUNTS[0], "name": "Account 1"}


def test_the_baseline_leaves_nothing_out_that_the_planner_wants(simulator: RunningSimulator, tmp_path: Path) -> None:
    item = ready(simulator)
    [found] = writeback("claim", "--queue-item", item, "--json").json
    file = tmp_path / "outcome.json"
    file.write_text(json.dumps(outcome_of(found)))
    [checked] = writeback("outcome", "check", str(file), "--json").json
    assert checked["accepted"]
    assert checked["columns_left_out"] == []
    assert [each["field"] for each in checked["left_out"]] == ["provider_call_id", "summary"]
    assert isinstance(from_json(file.read_bytes()), CallOutcome)


async def test_fifty_concurrent_claimers_take_two_hundred_items_each_exactly_once(
    simulator: RunningSimulator,
) -> None:
    items = {ready(simulator) for _ in range(200)}
    settings = read_settings()
    columns = queue_columns(Path(str(settings.mapping_file)), simulator.base_url)

    async def claimer(number: int) -> list[str]:
        async with QueueTable.of(settings, columns) as table:
            taking = Taking(table, settings.calling.rules, lambda _: None)
            wanted = Wanted(campaign=tenant.CAMPAIGN, count=200)
            return [each.item.id async for each in taking.claims(wanted, f"claimer-{number:03d}", again=False)]

    taken = Counter(item for got in await asyncio.gather(*map(claimer, range(50))) for item in got)
    assert set(taken) == items
    assert set(taken.values()) == {1}
    assert claims_of(simulator) == Counter(items)
    tried = [each for each in simulator.oplog(table="medx_callqueueitem") if each["operation"] == "update"]
    assert len(tried) < 2_000, "in the order of the queue they would all race for every item: nearly 10,000"


async def test_claimers_that_are_processes_of_their_own_share_nothing(
    simulator: RunningSimulator, tmp_path: Path
) -> None:
    items = {ready(simulator) for _ in range(20)}

    async def claimer() -> list[str]:
        command = module("ops.start", "claim", *CAMPAIGN, "--count", "15", "--json")
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        assert process.returncode == 0
        return [json.loads(line)["queue_item_id"] for line in out.splitlines()]

    taken = Counter(item for got in await asyncio.gather(*(claimer() for _ in range(2))) for item in got)
    assert taken == Counter(items)


LOST: dict[str, list[dict[str, Any]]] = {
    "the reply was cut off": [{"when": TAKE, "do": [CUT]}],
    "a gateway answered in its place": [{"when": TAKE, "do": [TRANSIENT | {"applied": True}]}],
    "it never landed": [{"when": TAKE, "do": [{"kind": "cut", "moment": "before"}]}],
    "the service was in trouble": [{"when": TAKE, "do": [TRANSIENT]}],
    "twice": [{"when": TAKE, "times": 2, "do": [TRANSIENT]}, {"when": TAKE, "do": [CUT]}],
    "and so was that of the read": [{"when": TAKE, "do": [CUT]}, {"when": READ, "skip": 1, "do": [TRANSIENT]}],
    "throttled": [{"when": TAKE, "do": [{"kind": "status", "status": 429, "retry_after": 0}]}],
}


@pytest.mark.parametrize("faults", LOST.values(), ids=LOST.keys())
def test_a_claim_whose_reply_was_lost_is_read_back_and_claimed_once(
    faults: list[dict[str, Any]], simulator: RunningSimulator
) -> None:
    first, second = ready(simulator), ready(simulator)
    for rule in faults:
        simulator.fault(**rule)
    assert ids(writeback("claim", *CAMPAIGN, "--json")) == [first], "not the next one: the first would leak"
    assert claims_of(simulator) == Counter([first])
    assert ids(writeback("claim", *CAMPAIGN, "--count", "5", "--json")) == [second]
    assert claims_of(simulator) == Counter([first, second])


def test_a_lost_reply_of_a_claim_that_another_caller_won_takes_the_next_item(simulator: RunningSimulator) -> None:
    first, second = ready(simulator), ready(simulator)
    other = {"medx_callstatus": 1, "medx_lastdisposition": "claimed other-call 2026-11-20T12:00:00Z"}
    edit = {"kind": "edit", "set": ITEMS, "id": first, "values": other}
    simulator.fault(when=TAKE, do=[edit, {"kind": "cut", "moment": "before"}])
    assert ids(writeback("claim", *CAMPAIGN, "--json")) == [second]


async def test_a_first_request_that_lands_late_is_recognised_when_the_second_is_refused(
    simulator: RunningSimulator,
) -> None:
    item, _ = ready(simulator), ready(simulator)
    late = {"medx_callstatus": 1, "medx_lastdisposition": "claimed call-0001 2026-11-20T12:00:00Z after no_answer"}
    simulator.fault(when=TAKE, do=[TRANSIENT])
    simulator.fault(when=TAKE, skip=1, do=[{"kind": "edit", "set": ITEMS, "id": item, "values": late}])
    settings = read_settings()
    columns = queue_columns(Path(str(settings.mapping_file)), simulator.base_url)
    async with QueueTable.of(settings, columns) as table:
        taking = Taking(table, settings.calling.rules, lambda _: None, now=lambda: NOON)
        wanted = Wanted(campaign=tenant.CAMPAIGN)
        assert [each.item.id async for each in taking.claims(wanted, "call-0001", again=False)] == [item]


def test_a_person_who_edits_the_row_meanwhile_is_not_overwritten(simulator: RunningSimulator) -> None:
    item = ready(simulator)
    opted_out = {"kind": "edit", "set": ITEMS, "id": item, "values": {"medx_donotcall": True}}
    simulator.fault(when=TAKE, do=[opted_out])
    ran = writeback("claim", *CAMPAIGN, "--json")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.endswith("1 not eligible, by rule: d 1\n"), "it was read and judged again"
    assert row_of(simulator, item)["medx_callstatus"] == 0


ENDINGS: dict[str, list[dict[str, Any]]] = {
    "it cannot be read back": [{"when": READ, "skip": 2, "times": 4, "do": [TRANSIENT]}],
    "it may not be read back": [{"when": READ, "skip": 2, "do": [{"kind": "error", "name": "forbidden"}]}],
    "the service asks to wait": [
        {"when": READ, "skip": 2, "do": [{"kind": "status", "status": 429, "retry_after": 600}]}
    ],
}


@pytest.mark.parametrize("faults", ENDINGS.values(), ids=ENDINGS.keys())
def test_a_claim_of_which_nobody_knows_is_found_again_by_its_token(
    faults: list[dict[str, Any]], simulator: RunningSimulator
) -> None:
    item, _ = ready(simulator), ready(simulator)
    simulator.fault(when=TAKE, do=[CUT])
    for rule in faults:
        simulator.fault(**rule)
    lost = writeback("claim", *CAMPAIGN, "--token", "call-0001", "--json")
    assert lost.code == 69
    assert f"queue item {item} may be claimed" in lost.json[0]["error"]
    assert "--token call-0001" in lost.json[0]["error"]
    assert ids(writeback("claim", *CAMPAIGN, "--token", "call-0001", "--json")) == [item]
    assert ids(writeback("claim", *CAMPAIGN, "--token", "call-0001", "--json")) == [item], "and never another one"
    assert claims_of(simulator) == Counter([item])
    assert writeback("release", "--token", "call-0001").code == 0
    assert row_of(simulator, item)["medx_lastdisposition"] == "no_answer"


def test_a_claim_that_never_left_is_not_called_unknown(simulator: RunningSimulator) -> None:
    ready(simulator)
    simulator.fault(when=TAKE, do=[{"kind": "status", "status": 429, "retry_after": 600}])
    ran = writeback("claim", *CAMPAIGN)
    assert (ran.code, ran.err) == (69, "Dataverse asks to wait 600 s before the next request (429)\n")


def test_a_release_by_token_gives_back_its_own_items_once_and_no_others(simulator: RunningSimulator) -> None:
    mine, other = ready(simulator), ready(simulator)
    before = row_of(simulator, mine)
    assert ids(writeback("claim", "--queue-item", mine, "--token", "call-0001", "--json")) == [mine]
    assert ids(writeback("claim", "--queue-item", other, "--token", "call-00012", "--json")) == [other]
    simulator.fault(when=TAKE, do=[CUT])
    assert writeback("release", "--token", "call-0001", "--json").json == [{"queue_item_id": mine, "released": True}]
    after = row_of(simulator, mine)
    moved = {name for name in before if before[name] != after[name]}
    assert moved <= {"@odata.etag", "modifiedon", "versionnumber", "_modifiedby_value"}
    assert row_of(simulator, other)["medx_callstatus"] == 1
    again = writeback("release", "--token", "call-0001")
    assert (again.code, again.err) == (0, "no item is claimed with token call-0001: nothing to release\n")


def test_B1_text_and_errors_show_neither_number_nor_what_the_row_holds(simulator: RunningSimulator) -> None:
    item, bad = ready(simulator), ready(simulator, medx_phonenumber=f"call {PHONE} or {PHONE}9", medx_donotcall=True)
    simulator.fault(when={"method": "GET", "path": "^accounts"}, times=None, do=[TRANSIENT])
    for arguments in (
        ("next", *CAMPAIGN), ("next", "--queue-item", bad), ("claim", "--queue-item", item), ("claim", *CAMPAIGN),
        ("release", "--token", "unknown-token"),
    ):  # fmt: skip
        ran = writeback(*arguments)
        for secret in ("5305550123", "prefers mornings", "Account 1"):
            assert secret not in ran.out + ran.err, arguments


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["next"], "give either --campaign or --queue-item"),
        (["claim", "--campaign", an_id("c"), "--queue-item", an_id("i")], "give either --campaign or --queue-item"),
        (["claim", "--campaign", "spring"], "give the record's id in the CRM, a UUID"),
        (["next", "--queue-item", "7"], "give the record's id in the CRM, a UUID"),
        (["claim", "--queue-item", an_id("i"), "--count", "2"], "leave it out with --queue-item"),
        (["claim", "--campaign", an_id("c"), "--count", "0"], "--count"),
        (["claim", "--campaign", an_id("c"), "--token", "short"], "8 to 40 letters, digits and dashes"),
        (["release"], "give --token, --stale-after or --queue-item"),
        (["release", "--token", "call-0001", "--stale-after", "1h"], "give --token, --stale-after or --queue-item"),
        (["release", "--stale-after", "soon"], "give an age such as 90m, 4h or 2d"),
        (["release", "--stale-after", "1h", "--for-real"], "say why"),
    ],
)
def test_bad_usage_is_exit_64_with_one_line(arguments: list[str], said: str) -> None:
    ran = writeback(*arguments)
    assert (ran.code, ran.err.count("\n")) == (64, 1), ran.err
    assert said in ran.err


def changed_mapping(tmp_path: Path, change: Any) -> str:
    content = json.loads((tmp_path / "mapping.json").read_text())
    change(content)
    file = tmp_path / "changed.json"
    file.write_text(json.dumps(content))
    return str(file)


MAPPINGS: dict[str, Any] = {
    "approved": lambda content: content["_meta"].update(approved=False),
    "another environment": lambda content: content["_meta"].update(environment="0" * 64),
    "queue.phone_number": lambda content: content["fields"].pop("queue.phone_number"),
    "queue.campaign": lambda content: content["fields"].pop("queue.campaign"),
    "must be 80 or more": lambda content: content["fields"]["queue.last_disposition"].update(max_length=60),
    "shows no column medx_gone": lambda content: content["preserve_if_present"].append("medx_gone"),
    "has no table medx_nothing": lambda content: content["entities"]["queue_item"].update(
        entity_set_name="medx_nothing"
    ),
}


@pytest.mark.parametrize("said", MAPPINGS)
def test_a_mapping_that_does_not_serve_is_exit_78_and_nothing_is_claimed(
    said: str, simulator: RunningSimulator, tmp_path: Path
) -> None:
    ready(simulator)
    ran = writeback("claim", *CAMPAIGN, "--mapping", changed_mapping(tmp_path, MAPPINGS[said]))
    assert ran.code == 78
    assert said in ran.err
    assert claims_of(simulator) == Counter()


def test_what_is_not_set_up_is_exit_78_and_a_crm_that_is_away_69(monkeypatch: pytest.MonkeyPatch) -> None:
    [closed] = free_ports(1)
    monkeypatch.setenv("WRITEBACK_DATAVERSE__URL", f"http://127.0.0.1:{closed}")
    away = writeback("next", *CAMPAIGN)
    assert (away.code, away.err) == (69, "Dataverse cannot be reached\n")
    monkeypatch.delenv("WRITEBACK_MAPPING_FILE")
    assert writeback("next", *CAMPAIGN).code == 78
    monkeypatch.delenv("WRITEBACK_IDENTITIES")
    assert writeback("release", "--token", "call-0001").code == 78


def test_of_an_address_where_nothing_answers_that_is_said_and_not_whose_the_mapping_is(
    simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = changed_mapping(tmp_path, MAPPINGS["another environment"])
    answers = writeback("next", *CAMPAIGN, "--mapping", other)
    assert answers.code == 78
    assert answers.err.startswith(f"{other}: _meta.environment: ")
    assert "discover and review it again for this one, or correct WRITEBACK_DATAVERSE__URL" in answers.err
    [closed] = free_ports(1)
    monkeypatch.setenv("WRITEBACK_DATAVERSE__URL", f"http://127.0.0.1:{closed}")
    away = writeback("next", *CAMPAIGN, "--mapping", other)
    assert (away.code, "The CRM could not be reached" in away.err) == (69, True), away.err


def test_a_missing_privilege_is_exit_78_and_a_long_wait_69(simulator: RunningSimulator) -> None:
    ready(simulator)
    simulator.fault(when=TAKE, do=[{"kind": "error", "name": "forbidden"}])
    refused = writeback("claim", *CAMPAIGN)
    assert refused.code == 78
    assert "lacks" in refused.err
    simulator.fault(when=READ, do=[{"kind": "status", "status": 429, "retry_after": 600}])
    waits = writeback("claim", *CAMPAIGN)
    assert (waits.code, waits.err) == (69, "Dataverse asks to wait 600 s before the next request (429)\n")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WINDOW_START", "21:00", "later on the day"),
        ("DEFAULT_TIMEZONE", "Eastern", "IANA name"),
        ("MAX_ATTEMPTS", "0", "greater than or equal to 1"),
    ],
)
def test_wrong_calling_rules_are_exit_78(name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRITEBACK_CALLING__WINDOW_END", "20:00")
    monkeypatch.setenv(f"WRITEBACK_CALLING__{name}", value)
    ran = writeback("next", *CAMPAIGN)
    assert ran.code == 78
    assert said in ran.err


def test_the_calling_window_is_nine_to_eight_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WINDOW_START", "WINDOW_END"):
        monkeypatch.delenv(f"WRITEBACK_CALLING__{name}")
    assert read_settings().calling.rules == CallingRules(time(9), time(20), None, 5)
