"""The mock call system against the simulator and a Kafka inside the process, with a stand-in for the write-back."""

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from confluent_kafka import Consumer
from typer.testing import CliRunner

from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.waiting import HANGS_AFTER_S
from runtime.connection import BrokerSettings
from schemas.codec import Undecodable, single_object
from schemas.placement import partition_of
from schemas.records import CallOutcome, Disposition
from simulator import tenant
from simulator.callsystem import prospects
from simulator.callsystem.history import Unread, history
from simulator.callsystem.outcome import session_id
from simulator.callsystem.queue import Crm, UnknownCampaign
from simulator.callsystem.story import story
from simulator.callsystem.trouble import Shares, fate
from simulator.cli import app
from simulator.testing import RunningSimulator, running_simulator

PARTITIONS = 3


@pytest.fixture(scope="module")
def crm() -> Iterator[Any]:
    with running_simulator(auth="static", limits={"enabled": False}) as simulator:
        yield simulator


@pytest.fixture
def broker() -> Iterator[Any]:
    with EmbeddedBroker() as broker:
        broker.create_topic("call-outcomes", PARTITIONS)
        yield broker


@pytest.fixture(autouse=True)
def _clean(crm: RunningSimulator) -> Iterator[None]:
    before = crm.call(lambda core: core.snapshot())
    crm.call(lambda core: core.organization.log.clear())
    yield
    crm.call(lambda core: core.restore(before))


def calls(crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path, *options: Any) -> Any:
    """Run the command; its exit code, its log and its ledger."""
    ledger = tmp_path / "ledger.jsonl"
    arguments = ["calls", "--bootstrap", broker.bootstrap, "--crm-url", crm.base_url, "--ledger", str(ledger), *options]
    answer = CliRunner().invoke(app, arguments)
    lines = [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []
    return answer.exit_code, [json.loads(line) for line in answer.output.splitlines()], lines


def published(broker: EmbeddedBroker, count: Any) -> Any:
    """(partition, key, value) of everything on the topic, once `count` records were read."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "audit", "auto.offset.reset": "earliest"})
    consumer.subscribe(["call-outcomes"])
    found = []
    for _ in range(200):
        found += [(one.partition(), one.key(), one.value() or b"") for one in consumer.consume(500, 0.1)]
        if len(found) >= count:
            break
    consumer.close()
    return found


class WriteBack:
    """Stands in for planner and writer: makes every claimed item ready again, or what its disposition says."""

    STATUS: ClassVar = {
        "interested_email_captured": 2,
        "not_interested": 2,
        "wrong_number": 3,
        "needs_human_review": 3,
        "do_not_call": 4,
    }

    def __init__(self, crm: RunningSimulator, broker: EmbeddedBroker) -> None:
        self.crm = crm
        self.stop = threading.Event()
        self.consumer = Consumer(
            {"bootstrap.servers": broker.bootstrap, "group.id": "w", "auto.offset.reset": "earliest"}
        )
        self.consumer.subscribe(["call-outcomes"])
        self.thread = threading.Thread(target=self.run)

    def __enter__(self) -> Any:
        self.thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stop.set()
        self.thread.join()
        self.consumer.close()

    def run(self) -> None:
        codec = single_object(CallOutcome)
        while not self.stop.is_set():
            for message in self.consumer.consume(100, 0.05):
                outcome = codec.decode(message.value() or b"")
                disposition = "do_not_call" if outcome.opt_out else outcome.disposition.value
                values = {"medx_callstatus": self.STATUS.get(disposition, 0), "medx_lastsessionid": outcome.session_id}
                self.crm.edit("medx_callqueueitems", outcome.queue_item_id, values)


async def test_P8_an_item_is_ready_by_its_status_and_by_its_do_not_call_flag(crm: RunningSimulator) -> None:
    """A person may have set one and not the other."""
    row: dict[str, Any] = {
        "medx_name": "one",
        "medx_callstatus": 0,
        "medx_CampaignId@odata.bind": f"/campaigns({tenant.CAMPAIGN})",
    }
    states: list[dict[str, Any]] = [
        {"medx_externalid": "free", "medx_donotcall": False},
        {"medx_externalid": "nobody said", "medx_donotcall": None},
        {"medx_externalid": "flagged", "medx_donotcall": True},
        {"medx_externalid": "closed", "medx_callstatus": 4, "medx_donotcall": False},
    ]
    for state in states:
        crm.seed("medx_callqueueitems", row | state)
    ids = {each["medx_callqueueitemid"]: each["medx_externalid"] for each in crm.rows("medx_callqueueitems")}
    async with Crm.at(crm.base_url, tenant.CALL_SYSTEM_TOKEN) as queue:
        assert {ids[item.id] async for item in queue.ready(tenant.CAMPAIGN)} == {"free", "nobody said"}


def test_every_planned_session_is_published_once_and_in_order(
    crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    with WriteBack(crm, broker):
        code, log, ledger = calls(crm, broker, tmp_path, "--items", "12", "--seed", "5", "--patience", "60")
    assert code == 0, log
    planned = {one.item_id: story(one, 5) for one in prospects.made_up(items=12, seed=5, most_sessions=63)}
    sequences = defaultdict(list)
    for line in ledger:
        sequences[line["queue_item_id"]].append(line["sequence"])
    assert sequences == {item: [session.sequence for session in sessions] for item, sessions in planned.items()}
    assert log[-1]["event"] == "all calls made"
    assert log[-1]["outcome"] == len(ledger) == len({line["session_id"] for line in ledger})


def test_an_item_is_taken_again_only_after_its_write_back(
    crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    with WriteBack(crm, broker):
        assert calls(crm, broker, tmp_path, "--items", "6", "--seed", "2")[0] == 0
    for entry in crm.oplog(table="medx_callqueueitem", operation="update", outcome="committed"):
        change = entry["changes"].get("medx_callstatus")
        if change and change[1] == 1:
            assert change[0] == 0
            assert entry["precondition"].startswith('if-match W/"')
            assert entry["user"] == tenant.CALL_SYSTEM_USER


def test_the_baseline_is_the_row_as_it_was_claimed(
    crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    code, _, ledger = calls(crm, broker, tmp_path, "--items", "4", "--quick")
    assert code == 0
    claimed = {
        (entry["id"], entry["etag_after"])
        for entry in crm.oplog(table="medx_callqueueitem", operation="update", user=tenant.CALL_SYSTEM_USER)
    }
    for _, _, value in published(broker, len(ledger)):
        outcome = single_object(CallOutcome).decode(value)
        if outcome.disposition is not Disposition.BLOCKED:
            assert (outcome.queue_item_id, outcome.baseline.etag) in claimed
            assert outcome.baseline.status == "in_progress"
        assert outcome.baseline.attempt_count == 0
        assert set(outcome.baseline.preserved) >= {"medx_notes", "medx_priority"}


def test_trouble_is_published_as_asked_and_stands_in_the_ledger(
    crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    options = ("--items", "60", "--quick", "--duplicates", "0.2", "--conflicts", "0.1", "--malformed", "0.1")
    code, log, ledger = calls(crm, broker, tmp_path, *options)
    assert code == 0
    kinds = Counter(line["kind"] for line in ledger)
    assert kinds["duplicate"] > 5 < kinds["malformed"]
    good = bad = 0
    for _, _, value in published(broker, len(ledger)):
        try:
            single_object(CallOutcome).decode(value)
            good += 1
        except Undecodable:
            bad += 1
    assert (good, bad) == (kinds["outcome"] + kinds["duplicate"], kinds["malformed"])
    conflicts = {line["queue_item_id"] for line in ledger if line["conflict"] and line["kind"] == "outcome"}
    assert conflicts == {entry["id"] for entry in crm.oplog(actor="person")}
    assert log[-1]["conflicts"] == len(conflicts)


def test_late_outcomes_and_a_rate(crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path) -> None:
    code, log, ledger = calls(crm, broker, tmp_path, "--items", "8", "--quick", "--late", "0.2", "--rate", "200")
    assert code == 0
    assert log[-1]["late"] == sum(line["late"] for line in ledger) > 0


def test_a_duplicate_is_the_same_bytes_in_the_same_place(
    crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    _, _, ledger = calls(crm, broker, tmp_path, "--items", "30", "--quick", "--duplicates", "0.3")
    seen = defaultdict(set)
    for partition, key, value in published(broker, len(ledger)):
        assert partition == partition_of(key, PARTITIONS)
        outcome = single_object(CallOutcome).decode(value)
        assert outcome.queue_item_id.encode() == key
        seen[outcome.session_id].add(value)
    assert {len(values) for values in seen.values()} == {1}


def test_the_same_seed_tells_the_same_stories_and_troubles() -> None:
    for seed in (1, 2):
        first, second = (
            [session for one in prospects.made_up(items=50, seed=seed, most_sessions=9) for session in story(one, seed)]
            for _ in range(2)
        )
        assert first == second
        shares = Shares(0.1, 0.1, 0.1, 0.1)
        assert [fate(session, seed, shares) for session in first] == [fate(session, seed, shares) for session in second]


def test_made_up_prospects_have_the_files_skew() -> None:
    rows = prospects.made_up(items=4000, seed=0, most_sessions=63)
    once = sum(row.times_called == 1 for row in rows) / len(rows)
    yes = sum(row.deposit for row in rows) / len(rows)
    assert 0.36 < once < 0.42
    assert 0.10 < yes < 0.14


@pytest.mark.parametrize(
    ("row", "ending"),
    [
        ("cellular,3,1,unknown,no", "blocked"),
        ("cellular,7,1,unknown,no", "failed"),
        ("cellular,15,1,unknown,no", "wrong_number"),
        ("cellular,100,1,success,yes", "interested_email_captured"),
        ("cellular,100,1,failure,yes", "interested_callback_requested"),
        ("cellular,1300,1,unknown,no", "needs_human_review"),
        ("cellular,100,8,unknown,no", "do_not_call"),
        ("cellular,100,1,unknown,no", "not_interested"),
    ],
)
def test_the_rule_from_a_row_to_its_last_session(tmp_path: Path, row: str, ending: str) -> None:
    file = tmp_path / "calls.csv"
    file.write_text(f"contact,duration,campaign,poutcome,deposit\n{row}\n")
    (prospect,) = prospects.from_file(file, items=None, seed=0, most_sessions=63)
    sessions = story(prospect, 0)
    assert len(sessions) == prospect.times_called
    assert sessions[-1].effective == ending
    assert all(
        session.disposition in {"no_answer", "voicemail", "failed", "call_back_later"} for session in sessions[:-1]
    )


@pytest.mark.parametrize(("spread", "seconds"), [(False, [1, 2, 3]), (True, [1, 4, 7])])
def test_rows_from_the_start_or_from_all_of_the_file(tmp_path: Path, spread: bool, seconds: Any) -> None:
    file = tmp_path / "calls.csv"
    lines = [f"cellular,{number},1,unknown,no" for number in range(1, 10)]
    file.write_text("\n".join(["contact,duration,campaign,poutcome,deposit", *lines]))
    rows = prospects.from_file(file, items=3, seed=0, most_sessions=63, spread=spread)
    assert [row.seconds for row in rows] == [row.number for row in rows] == seconds


def test_a_file_without_the_columns_is_refused(crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path) -> None:
    file = tmp_path / "calls.csv"
    file.write_text("a,b\n1,2\n")
    code, log, _ = calls(crm, broker, tmp_path, "--calls", str(file))
    assert code == 1
    assert "has no column campaign, contact, deposit, duration, poutcome" in log[-1]["reason"]


async def test_a_campaign_that_is_not_there_is_an_error(crm: RunningSimulator) -> None:
    async with Crm.at(crm.base_url, tenant.CALL_SYSTEM_TOKEN) as queue:
        with pytest.raises(UnknownCampaign):
            await queue.check_campaign("00000000-0000-4000-8000-00000000dead")


async def test_two_callers_never_get_the_same_item(crm: RunningSimulator) -> None:
    row = prospects.made_up(items=1, seed=0, most_sessions=3)
    async with Crm.at(crm.base_url, tenant.CALL_SYSTEM_TOKEN) as queue:
        await queue.seed(row, tenant.CAMPAIGN)
        items = [item async for item in queue.ready(tenant.CAMPAIGN)]
        race = await asyncio.gather(*(queue.claim(items[0]) for _ in range(5)))
    assert sum(claimed is not None for claimed in race) == 1


async def test_ready_items_come_in_the_order_of_the_queue(crm: RunningSimulator) -> None:
    times = ("2020-01-02T00:00:00Z", None, "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z")
    rows = [
        {
            "medx_name": str(number),
            "medx_nextattemptat": at,
            "medx_CampaignId@odata.bind": f"/campaigns({tenant.CAMPAIGN})",
        }
        for number, at in enumerate(times)
    ]
    random.Random(1).shuffle(rows)
    ids = dict(zip([row["medx_name"] for row in rows], crm.seed("medx_callqueueitems", *rows), strict=True))
    async with Crm.at(crm.base_url, tenant.CALL_SYSTEM_TOKEN) as queue:
        found = [item.id async for item in queue.ready(tenant.CAMPAIGN)]
    assert found == [ids[name] for name in ("1", "2", "0")]


TROUBLED = ("--seed", "3", "--duplicates", "0.3", "--malformed", "0.2", "--conflicts", "0.1")


def killed(crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path, *options: Any, after: Any) -> None:
    """Start the command, kill it once its ledger has so many lines."""
    ledger = tmp_path / "ledger.jsonl"
    command = [sys.executable, "-m", "simulator", "calls", "--bootstrap", broker.bootstrap, "--crm-url", crm.base_url]
    process = subprocess.Popen([*command, "--ledger", str(ledger), *options], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + HANGS_AFTER_S
    try:
        while not ledger.exists() or len(ledger.read_text().splitlines()) < after:
            assert time.monotonic() < deadline
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert process.wait(0.01) == 0  # on a busy machine it may have been done before it was killed
    finally:
        process.kill()
        process.wait(HANGS_AFTER_S)


def places(ledger: Any) -> Any:
    return {(line["partition"], line["offset"]) for line in ledger}


def test_C3_killed_and_started_again_it_publishes_what_is_left_and_lists_all(
    crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    options = ("--items", "30", "--quick", *TROUBLED)
    killed(crm, broker, tmp_path, *options, "--rate", "60", after=25)
    code, log, ledger = calls(crm, broker, tmp_path, *options)
    assert code == 0, log
    outcomes = [line["session_id"] for line in ledger if line["kind"] == "outcome"]
    assert len(outcomes) == len(set(outcomes)) == log[-1]["outcome"]
    planned = {
        session.item_id: session.sessions
        for one in prospects.made_up(items=30, seed=3, most_sessions=63)
        for session in story(one, 3)
    }
    ended = {line["queue_item_id"] for line in ledger if line["conflict"]}
    for item in planned:
        told = [line["sequence"] for line in ledger if line["queue_item_id"] == item and line["kind"] == "outcome"]
        assert told == list(range(1, len(told) + 1))
        assert len(told) == planned[item] or item in ended
    assert len(places(ledger)) == len(ledger) == len(published(broker, len(ledger)))
    times = Counter(line["session_id"] for line in ledger if line["kind"] != "malformed")
    shares = Shares(0.3, 0.1, 0.0, 0.2)
    for one in prospects.made_up(items=30, seed=3, most_sessions=63):
        for session in story(one, 3):
            assert times[session_id(3, session)] in {0, 1 + (fate(session, 3, shares).again_after is not None)}


def test_C3_once_all_calls_were_made_nothing_more_is_published_unless_asked_for(
    crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    options = ("--items", "10", "--quick", *TROUBLED)
    _, first, lines = calls(crm, broker, tmp_path, *options)
    _, second, again = calls(crm, broker, tmp_path, *options)
    assert sorted(map(json.dumps, lines)) == sorted(map(json.dumps, again))
    assert first[-1] == second[-1]
    assert len(published(broker, len(lines))) == len(lines)
    _, _, anew = calls(crm, broker, tmp_path, *options, "--no-resume")
    assert {line["session_id"] for line in anew} == {line["session_id"] for line in lines}
    assert places(anew).isdisjoint(places(lines))


def test_C3_a_call_that_was_begun_when_the_process_was_killed_is_published(
    crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    async def take() -> None:
        async with Crm.at(crm.base_url, tenant.CALL_SYSTEM_TOKEN) as queue:
            await queue.seed(prospects.made_up(items=4, seed=5, most_sessions=63), tenant.CAMPAIGN)
            items = [item async for item in queue.ready(tenant.CAMPAIGN)]
            assert await queue.claim(items[0])

    asyncio.run(take())  # not this test's own loop: the command has one
    with WriteBack(crm, broker):
        code, log, ledger = calls(crm, broker, tmp_path, "--items", "4", "--seed", "5", "--patience", "60")
    assert code == 0, log
    assert len({line["queue_item_id"] for line in ledger}) == 4


def test_C3_killed_while_it_waits_for_write_backs(
    crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path
) -> None:
    options = ("--items", "12", "--seed", "5")
    with WriteBack(crm, broker):
        killed(crm, broker, tmp_path, *options, after=8)
        code, log, ledger = calls(crm, broker, tmp_path, *options, "--patience", "60")
    assert code == 0, log
    planned = {one.item_id: one.times_called for one in prospects.made_up(items=12, seed=5, most_sessions=63)}
    assert Counter(line["queue_item_id"] for line in ledger) == planned


def test_C3_a_topic_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(Unread, match="could not be read"):
        list(history(BrokerSettings(bootstrap_servers="127.0.0.1:1"), silence=0.2))


def test_it_gives_up_when_nothing_becomes_ready(crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path) -> None:
    code, log, _ = calls(crm, broker, tmp_path, "--items", "5", "--seed", "5", "--patience", "0.5")
    assert code == 1
    assert "nothing became ready" in log[-1]["reason"]


def test_it_waits_through_429_and_503(crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path) -> None:
    crm.fault(when={"user": tenant.CALL_SYSTEM_USER}, times=3, do=[{"kind": "status", "status": 503}])
    crm.fault(when={"method": "PATCH"}, do=[{"kind": "error", "name": "throttled"}])
    assert calls(crm, broker, tmp_path, "--items", "3", "--quick")[0] == 0


def test_no_real_phone_number_is_ever_made_up(crm: RunningSimulator, broker: EmbeddedBroker, tmp_path: Path) -> None:
    _, _, ledger = calls(crm, broker, tmp_path, "--items", "40", "--quick")
    for _, _, value in published(broker, len(ledger)):
        number = single_object(CallOutcome).decode(value).phone_number
        assert number is not None
        assert number.startswith("+15305550")
        assert 100 <= int(number[-4:]) <= 199


class TestCommands:
    def run(self, *arguments: Any) -> Any:
        return CliRunner().invoke(app, list(arguments))

    @pytest.mark.parametrize("command", [[], ["serve"], ["calls"], ["queue"], ["stories"]], ids=str)
    def test_help_explains_itself(self, command: Any) -> None:
        answer = self.run(*command, "--help")
        assert answer.exit_code == 0
        assert "Usage" in answer.output

    def test_queue_fills_once(self, crm: RunningSimulator) -> None:
        for _ in range(2):
            assert self.run("queue", "--crm-url", crm.base_url, "--items", "7").exit_code == 0
        assert len(httpx.get(f"{crm.control_url}/rows/medx_callqueueitems").json()["rows"]) == 7

    def test_stories_count(self) -> None:
        answer = self.run("stories", "--items", "20")
        assert answer.output.rstrip().endswith("sessions")

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            (["--switch", "nosuch=x"], "nosuch"),
            (["--auth", "entra"], "tls_dir"),
            (["--tables", "/nosuch.yaml"], "nosuch"),
            (["--auth", "nobody"], "auth"),
        ],
        ids=str,
    )
    def test_serve_says_what_is_wrong(self, options: Any, complaint: str) -> None:
        answer = self.run("serve", "--port", "0", *options)
        assert answer.exit_code == 2
        assert complaint in answer.output

    def test_serve_writes_its_address_and_ends_on_sigterm(self, tmp_path: Path) -> None:
        port_file, info = tmp_path / "port", tmp_path / "info.json"
        (tmp_path / "faults.yaml").write_text("- do: [{kind: status, status: 503}]\n  skip: 1\n")
        options = ["--port", "0", "--port-file", str(port_file), "--info-file", str(info), "--tls-dir", str(tmp_path)]
        options += ["--faults", str(tmp_path / "faults.yaml")]
        process = subprocess.Popen([sys.executable, "-m", "simulator", "serve", *options], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + HANGS_AFTER_S
            while not port_file.exists():
                assert time.monotonic() < deadline
                assert process.poll() is None
            headers = {"Authorization": f"Bearer {tenant.STATIC_TOKEN}"}
            answer = httpx.get(f"{port_file.read_text()}/api/data/v9.2/WhoAmI", headers=headers)
            assert answer.json()["UserId"] == tenant.APPLICATION_USER
            assert httpx.get(answer.url, headers=headers).status_code == 503
            assert json.loads(info.read_text())["authority"].startswith("https://localhost:")
        finally:
            process.terminate()
        assert process.wait(HANGS_AFTER_S) == 0
