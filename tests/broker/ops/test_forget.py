"""`forget` on a real broker, beside both services: what is where, what goes, until when the rest stays, the proof."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from schemas.codec import single_object
from schemas.records import Account, BlockReason, CallOutcome, Disposition, PlannedWriteback, ResultStatus
from schemas.topics import Topics
from simulator.testing import RunningSimulator
from tests.broker.ops.test_retire import CLEANED_SOON
from tests.broker.writer.conftest import PARTITIONS, Writers
from tests.integration.ops.kit import Ran, writeback
from tests.integration.planner.harness import AN_HOUR_AGO, EXAMPLE, planner_env, publish, ready
from tests.integration.writer.kit import Desk, Topic, baseline_of, seed_item
from tests.support.brokers.kafka import RealKafka, read_topic
from tests.support.factories import an_id, make_baseline, make_outcome, make_plan

CANARY = "Quillfeather"
"""Of the person alone. It is in the account's name, and so in the subject of the callback task."""
ACCOUNT = an_id("the account")
D = Disposition
WHY = ("--for-real", "--reason", "request 17")
PLANS = single_object(PlannedWriteback)


@dataclass
class World:
    kafka: RealKafka
    topic: Topic
    prefix: str
    desk: Desk
    folder: Path

    def outcome(self, item: str, **overrides: Any) -> CallOutcome:
        row = self.desk.row(item)
        given: dict[str, Any] = {
            "baseline": baseline_of(row, captured_at=AN_HOUR_AGO), "started_at": AN_HOUR_AGO, "ended_at": AN_HOUR_AGO,
            "account": Account(id=ACCOUNT, name=f"{CANARY} Clinic"),
        }  # fmt: skip
        disposition: Disposition = overrides.pop("disposition", D.CALL_BACK_LATER)
        return self.desk.outcome(item, disposition, **given | overrides)

    def publish(self, *outcomes: CallOutcome) -> None:
        publish(self.kafka.bootstrap, outcomes, topic=self.topic.topics.call_outcomes.name)

    def land(self, *outcomes: CallOutcome) -> None:
        self.publish(*outcomes)
        wanted = {each.session_id for each in outcomes}
        wait_until(lambda: wanted <= {each.session_id for each in self.topic.results()}, what="they have results")
        wait_until(lambda: writeback("list", "--unsettled", "--json").out == "", what="they are settled")

    def holds(self, text: str) -> set[str]:
        """The topics that hold it anywhere, without their prefix."""
        return {
            spec.name.removeprefix(self.prefix)
            for spec in self.topic.topics.all()
            for each in read_topic(self.kafka.bootstrap, spec.name)
            if text.encode() in b"|".join([each.key() or b"", each.value() or b"", repr(each.headers()).encode()])
        }

    def newest(self, topic: str) -> dict[str, bytes | None]:
        return {(each.key() or b"").decode(): each.value() for each in read_topic(self.kafka.bootstrap, topic)}

    def wait_for_cleaning(self) -> None:
        wait_until(lambda: self.cleaned_of(CANARY), what="the compacted topics are cleaned", every=1.0)

    def cleaned_of(self, text: str) -> bool:
        """Segments roll when something is written to them: a record in each."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap})
        for spec in self.topic.topics.all():
            for at in range(PARTITIONS if spec.policy == "compact" else 0):
                producer.produce(spec.name, None, "filler", at)
        assert producer.flush(20) == 0
        return not {"planned-writebacks", "writeback-results"} & self.holds(text)

    def end_retention(self, *topics: str) -> None:
        """As if it were over."""
        for topic in topics:
            for partition, end in self.kafka.end_offsets(topic).items():
                self.kafka.delete_records(topic, partition, end)

    def logs(self) -> str:
        return "".join(each.read_text(errors="replace") for each in self.folder.rglob("*") if each.is_file())


@pytest.fixture
def world(kafka: RealKafka, simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    prefix = kafka.unique("forget") + "."
    for spec in Topics().prefixed(prefix).all():
        more = CLEANED_SOON if spec.policy == "compact" else {}
        kafka.create_topic(spec.name, PARTITIONS, {**spec.creation_config(), **more})
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", prefix)
    monkeypatch.setenv("WRITEBACK_DATAVERSE__URL", simulator.base_url)
    monkeypatch.setenv("WRITEBACK_IDENTITIES", json.dumps([{"kind": "none"}]))
    monkeypatch.setenv("WRITEBACK_MAPPING_FILE", str(EXAMPLE))
    simulator.seed("accounts", {"accountid": ACCOUNT, "name": f"{CANARY} Clinic"})
    folder = tmp_path / "services"
    folder.mkdir()
    return World(kafka, Topic(kafka.bootstrap, PARTITIONS, prefix), prefix, Desk(simulator), folder)


@pytest.fixture
def services(world: World, simulator: RunningSimulator, writers: Writers) -> Iterator[tuple[Service, Service]]:
    with ExitStack() as ending:
        env = planner_env(world.kafka.bootstrap, prefix=world.prefix, PLANNER_FOLLOW_EVERY_S="0.5")
        planner = Service(module("planner"), env=env, output=world.folder / "planner").start()
        ending.callback(planner.kill)
        writer = writers("writer-0", world.prefix, WRITER_BROKER__CHECK_TOPIC_POLICIES="false").start()
        ending.callback(writer.kill)
        planner.wait_for(lambda: ready(planner), what="the planner is ready")
        yield planner, writer


def verdict(ran: Ran) -> dict[str, Any]:
    return ran.json[-1]


@pytest.mark.parametrize("by", ["--queue-item", "--account", "--session"])
def test_B1_a_person_is_forgotten_everywhere_and_reading_proves_it(
    world: World, simulator: RunningSimulator, services: tuple[Service, Service], by: str, tmp_path: Path
) -> None:
    item, other = seed_item(simulator), seed_item(simulator)
    gone, kept = world.outcome(item), world.outcome(other, account=None)
    world.land(gone, kept)
    whom = (by, {"--queue-item": item, "--account": ACCOUNT.upper(), "--session": gone.session_id}[by])
    assert {"call-outcomes", "planned-writebacks"} <= world.holds(CANARY)

    shown = writeback("forget", *whom)
    assert shown.code == 0, shown.err
    assert "nothing was changed" in shown.err
    assert "2 records" in shown.out
    assert "in the CRM: tasks(" in shown.out
    assert "erases nothing in the CRM" in shown.out
    before = writeback("forget", *whom, "--check", "--json")
    assert (before.code, verdict(before)["verdict"]) == (1, "not_forgotten")

    done = writeback("forget", *whom, *WHY, "--json")
    assert done.code == 0, done.err
    whom = tuple(done.json[-1]["later"][2:])
    assert writeback("list", "--session", gone.session_id, "--json").json[0]["status"] == "retired"
    mark = PLANS.decode(world.newest(world.topic.topics.planned_writebacks.name)[gone.session_id] or b"")
    assert (mark.steps, mark.retired_at is None) == ((), False), "its outcome could be planned anew"
    checked = writeback("forget", *whom, "--check", "--json")
    assert (checked.code, verdict(checked)["verdict"]) == (2, "going")
    outcomes = [line for line in checked.json if line.get("topic") == world.topic.topics.call_outcomes.name]
    assert [line["fate"] for line in outcomes] == ["retention takes it"]
    assert all(re.fullmatch(r"20\d\d-.*Z", line["until"]) for line in outcomes)

    world.publish(gone, replace(gone, opt_out=True, disposition=D.DO_NOT_CALL))
    rejected = world.topic.topics.call_outcomes_rejected.name
    wait_until(lambda: read_topic(world.kafka.bootstrap, rejected), what="the changed one is rejected")
    world.wait_for_cleaning()
    assert world.holds(CANARY) == {"call-outcomes", "call-outcomes-rejected"}

    world.end_retention(world.topic.topics.call_outcomes.name, rejected)
    assert writeback("forget", *whom, *WHY).code == 0, "the mark goes too now"
    for spec in world.topic.topics.all():
        if spec.policy == "delete" and spec.name != world.topic.topics.operator_actions.name:
            world.end_retention(spec.name)

    def nothing_left() -> bool:
        world.wait_for_cleaning()
        return writeback("forget", *whom, "--check").code == 0

    wait_until(nothing_left, what="reading finds nothing any more", every=0.5)
    assert world.holds(CANARY) | world.holds(item) == set(), "on operator-actions neither"
    wait_until(lambda: world.cleaned_of(gone.session_id), what="the last tombstone, a session's id alone, is gone too")
    assert writeback("list", "--session", gone.session_id, "--json").out == ""
    for view in (tmp_path / "views").iterdir():
        assert gone.session_id.encode() not in view.read_bytes()
    assert [row["status"] for row in writeback("list", "--session", kept.session_id, "--json").json] == ["completed"]
    for service in services:
        assert service.stop() == 0
    assert CANARY not in world.logs()
    actions = read_topic(world.kafka.bootstrap, world.topic.topics.operator_actions.name)
    assert [json.loads(each.value() or b"")["why"] for each in actions] == ["request 17", "request 17"]


def test_an_opt_out_that_is_not_on_its_row_is_never_forgotten(
    world: World, simulator: RunningSimulator, services: tuple[Service, Service]
) -> None:
    item = seed_item(simulator)
    simulator.edit("medx_callqueueitems", item, {"medx_donotcall": False})
    lifted = baseline_of(world.desk.row(item), captured_at=AN_HOUR_AGO, do_not_call=True, etag='W/"1"')
    optout = world.outcome(item, disposition=D.DO_NOT_CALL, opt_out=True, baseline=lifted)
    world.land(optout)
    [result] = world.topic.results()
    assert (result.status, result.block_reason) == (ResultStatus.BLOCKED, BlockReason.CONFLICT_DETECTED)
    ran = writeback("forget", "--session", optout.session_id, "--give-up", *WHY)
    assert ran.code == 1
    assert "writeback resolve" in ran.out
    assert "may not be forgotten yet; nothing was changed" in ran.err
    assert world.topic.read(world.topic.topics.operator_actions.name) == []


def test_what_is_not_planned_or_not_settled_is_not_forgotten(world: World) -> None:
    world.topic.publish(make_plan(session_id="waits"))
    world.publish(make_outcome(session_id="unplanned", queue_item_id=an_id("an item"), baseline=make_baseline()))
    for session, why in (("waits", "a writer has it before it"), ("unplanned", "wait for the planner")):
        ran = writeback("forget", "--session", session, "--no-crm", *WHY)
        assert (ran.code, why in ran.out) == (1, True), ran.out
    assert world.topic.read(world.topic.topics.operator_actions.name) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say whose"),
        (["--queue-item", "nonsense"], "queue-item: give the record's id in the CRM, a UUID"),
        (["--account", "Quillfeather Clinic"], "account: give the record's id in the CRM, a UUID"),
        (["--session", "one", "--for-real"], "say why"),
        (["--session", "one", "--check", "--for-real"], "--check only reads"),
        (["--session", "one", "--for-real", "--reason", "of session ONE"], "leave out whom it is about"),
    ],
)
def test_bad_usage_is_exit_64_with_one_line(arguments: list[str], said: str) -> None:
    ran = writeback("forget", *arguments)
    assert (ran.code, ran.err.count("\n")) == (64, 1)
    assert said in ran.err
