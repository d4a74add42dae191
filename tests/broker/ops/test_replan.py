"""`replan` on a real broker, both services as processes: after a wrong mapping was corrected, what it blocked lands."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from ops import replan as command
from ops.actions import Sender
from ops.demo.processes import Service
from ops.demo.waiting import wait_until
from runtime.broker import BrokerUnavailable
from schemas import headers
from schemas.codec import single_object
from schemas.records import CallOutcome, Disposition, PlannedWriteback
from simulator.testing import RunningSimulator
from tests.broker.planner.conftest import start_planner
from tests.broker.planner.test_sleeper import ASLEEP, has_done_with_its_batch, stopped
from tests.broker.writer.conftest import Writers, prefix_of
from tests.integration.ops.kit import writeback
from tests.integration.planner.harness import AN_HOUR_AGO, EXAMPLE
from tests.integration.writer.kit import Desk, Topic, baseline_of, seed_item
from tests.support.brokers.kafka import RealKafka

__all__ = ["start_planner"]

WHY = ("--for-real", "--reason", "the column has another name")
PLANS = single_object(PlannedWriteback)
Planner = Callable[..., Service]


@pytest.fixture(autouse=True)
def _prefix(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", prefix_of(topic))


@pytest.fixture
def wrong_mapping(tmp_path: Path) -> str:
    """It names a column that the CRM does not have."""
    path = tmp_path / "wrong.json"
    path.write_text(EXAMPLE.read_text().replace('"medx_lasterror"', '"medx_latesterror"'))
    return str(path)


class Blocked:
    """Sessions whose plans name a column that is not there; nothing of them was written."""

    def __init__(
        self, simulator: RunningSimulator, topic: Topic, start: Planner, writers: Writers, wrong_mapping: str
    ) -> None:
        self.topic, self.prefix, self._start = topic, prefix_of(topic), start
        self.desk, self.items = Desk(simulator), [seed_item(simulator) for _ in range(3)]
        self._producer = Producer({"bootstrap.servers": topic.bootstrap, "partitioner": "murmur2_random"})
        self._planners = 0
        planner = self.planner(PLANNER_MAPPING_FILE=wrong_mapping)
        self.outcomes = [self.outcome(item) for item in self.items]
        self.publish(*self.outcomes)
        self.writer = writers("writer-0", self.prefix).start()
        wait_until(lambda: self.sessions() == {"blocked metadata": 3}, what="all are blocked")
        assert planner.stop() == 0
        self.old = self.plans()

    def planner(self, **settings: Any) -> Service:
        self._planners += 1
        return self._start(self.prefix, f"planner-{self._planners}", **settings)

    def outcome(self, item: str, disposition: Disposition = Disposition.CALL_BACK_LATER) -> CallOutcome:
        return self.desk.outcome(
            item, disposition, started_at=AN_HOUR_AGO, ended_at=AN_HOUR_AGO + timedelta(seconds=30),
            baseline=baseline_of(self.desk.row(item), captured_at=AN_HOUR_AGO),
        )  # fmt: skip

    def publish(self, *outcomes: CallOutcome) -> None:
        for each in outcomes:
            value = single_object(CallOutcome).encode(each)
            self._producer.produce(self.topic.topics.call_outcomes.name, value, each.queue_item_id.encode())
        assert self._producer.flush(20) == 0

    def sessions(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for row in writeback("list", "--settled", "--json").json:
            state = f"{row['status']} {row['reason'] or ''}".strip()
            counts[state] = counts.get(state, 0) + 1
        return counts

    def plans(self) -> dict[str, list[PlannedWriteback]]:
        """Session to the different plans that were published for it, in order."""
        found: dict[str, list[PlannedWriteback]] = {}
        for message in self.topic.read(self.topic.topics.planned_writebacks.name):
            plan = PLANS.decode(message.value())
            if plan not in found.setdefault(plan.session_id, []):
                found[plan.session_id].append(plan)
        return found

    def copies(self) -> list[Any]:
        """Outcomes that ask for a new plan."""
        read = self.topic.read(self.topic.topics.call_outcomes.name)
        return [each for each in read if headers.plan_to_replace(each.headers() or ())]


@pytest.fixture
def blocked(
    simulator: RunningSimulator, topic: Topic, start_planner: Planner, writers: Writers, wrong_mapping: str
) -> Blocked:
    return Blocked(simulator, topic, start_planner, writers, wrong_mapping)


def test_P1_after_a_mapping_was_corrected_what_it_blocked_is_planned_anew_once_and_lands(
    blocked: Blocked, simulator: RunningSimulator
) -> None:
    session = blocked.outcomes[0].session_id
    [plan] = blocked.old[session]
    message = str(blocked.topic.results()[-1].message)
    assert f"writeback replan --session {blocked.topic.results()[-1].session_id}" in message

    old_mapping = plan.mapping_fingerprint[:12]
    shown = writeback("replan", "--all", "--mapping", old_mapping)
    assert shown.code == 0, shown.err
    assert f"replan: 3 sessions, about 6 requests to the CRM; selected: mapping {old_mapping}" in shown.out
    assert (blocked.copies(), "nothing was changed" in shown.err) == ([], True)

    blocked.planner()
    done = writeback("replan", "--all", "--mapping", old_mapping, *WHY, "--wait")
    assert (done.code, done.out.splitlines()[-1]) == (0, "3 planned anew: completed"), done.err
    assert blocked.sessions() == {"completed": 3}
    for item, outcome in zip(blocked.items, blocked.outcomes, strict=True):
        row = blocked.desk.row(item)
        assert (row["medx_lastsessionid"], row["medx_attemptcount"]) == (outcome.session_id, 1)
    assert (len(simulator.rows("phonecalls")), len(simulator.rows("tasks"))) == (3, 3)

    [copy] = [each for each in blocked.copies() if json.dumps(session).encode()[1:-1] in each.value()]
    original = next(
        each for each in blocked.topic.read(blocked.topic.topics.call_outcomes.name) if each.value() == copy.value()
    )
    assert (copy.key(), copy.partition()) == (original.key(), original.partition()), "same bytes, key and placement"
    assert headers.plan_to_replace(copy.headers()) == plan.digest
    mark = headers.mark(copy.headers(), headers.ASKED) or {}
    assert (mark["why"], "@" in mark["by"]) == ("the column has another name", True)
    [action] = [json.loads(each.value()) for each in blocked.topic.read(blocked.topic.topics.operator_actions.name)]
    assert (action["action"], action["count"], action["why"]) == ("replan", 3, "the column has another name")
    old, new = blocked.plans()[session]
    assert (old.digest, new.source) == (plan.digest, old.source), "its place among the sessions of its item stays"

    again = writeback("replan", "--session", session, *WHY)
    assert (again.code, "1 more is left out: completed, not blocked" in again.out) == (1, True)


@pytest.mark.parametrize("store", ["memory", "on disk"])
def test_P1_the_outcome_topic_read_again_after_a_restart_changes_nothing(
    store: str, blocked: Blocked, tmp_path: Path
) -> None:
    """Outcomes, and copies that ask for a new plan, are read again from the start."""
    settings = {"PLANNER_PIN_STORE": f"rocksdb://{tmp_path}/pins"} if store == "on disk" else {}
    planner = blocked.planner(**settings)
    assert writeback("replan", "--all", *WHY, "--wait").code == 0
    plans, results = blocked.plans(), len(blocked.topic.results())
    assert {len(each) for each in plans.values()} == {2}
    assert planner.stop() == 0
    wait_until(
        lambda: writeback("rewind", "planner", "--to-start", *WHY).code == 0, what="its group has noticed that it ended"
    )
    planner = blocked.planner(**settings)
    wait_until(lambda: planner.has_written('"outcome.not_replanned"'), what="the copies are read again")
    blocked.publish(marker := blocked.outcome(blocked.items[0], Disposition.NO_ANSWER))
    wait_until(lambda: marker.session_id in {each.session_id for each in blocked.topic.results()}, what="all is read")
    now = blocked.plans()
    del now[marker.session_id]
    assert (now, len(blocked.topic.results())) == (plans, results + 1)


def test_P1_of_two_that_ask_at_once_one_plan_is_made_and_the_loser_is_told(blocked: Blocked) -> None:
    """Both ask before the planner runs: for the same plan to be replaced."""
    session = blocked.outcomes[0].session_id
    assert writeback("replan", "--session", session, "--by", "kim", *WHY).code == 0
    assert writeback("replan", "--session", session, "--by", "lee", *WHY).code == 0
    planner = blocked.planner()
    wait_until(lambda: blocked.sessions() == {"blocked metadata": 2, "completed": 1}, what="it has landed")
    wait_until(lambda: planner.has_written('"outcome.not_replanned"'), what="the second one is read")
    assert len(blocked.plans()[session]) == 2, "the wrong one and one new one"
    assert blocked.desk.row(blocked.items[0])["medx_attemptcount"] == 1


def test_P1_a_mapping_that_was_not_corrected_gives_the_same_plan_and_it_is_said(
    blocked: Blocked, wrong_mapping: str
) -> None:
    blocked.planner(PLANNER_MAPPING_FILE=wrong_mapping)
    session = blocked.outcomes[0].session_id
    done = writeback("replan", "--session", session, *WHY, "--wait")
    assert (done.code, "the planner's mapping gives the very same plan" in done.out) == (1, True), done.out
    assert len(blocked.plans()[session]) == 1


@pytest.mark.parametrize("killed_at", ["before the record", "before the copy", "after the copy"])
def test_a_command_that_is_killed_can_be_called_again(
    killed_at: str, blocked: Blocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = blocked.outcomes[0].session_id

    def dies(*_: Any, **__: Any) -> Any:
        raise BrokerUnavailable("killed here")

    def send(self: Sender, given: Any) -> list[int]:
        return dies() if headers.plan_to_replace(given[0].headers) else real(self, given)

    real = Sender.send
    with monkeypatch.context() as patch:
        if killed_at == "before the record":
            patch.setattr(Sender, "record", dies)
        elif killed_at == "before the copy":
            patch.setattr(Sender, "send", send)
        else:
            patch.setattr(command, "_follow", dies)
        assert writeback("replan", "--session", session, *WHY, "--wait").code == 69
    assert len(blocked.copies()) == (killed_at == "after the copy")
    assert writeback("replan", "--session", session, *WHY).code == 0
    blocked.planner()
    wait_until(lambda: blocked.sessions() == {"blocked metadata": 2, "completed": 1}, what="it has landed")
    assert (len(blocked.plans()[session]), blocked.desk.row(blocked.items[0])["medx_attemptcount"]) == (2, 1)


def test_P1_planner_and_writer_killed_between_the_steps_make_one_plan_and_one_call(
    blocked: Blocked, simulator: RunningSimulator, writers: Writers
) -> None:
    blocked.writer.kill()
    planner = blocked.planner()
    assert writeback("replan", "--all", *WHY).code == 0
    wait_until(lambda: any(len(each) == 2 for each in blocked.plans().values()), what="one is planned anew")
    planner.kill()
    writer = writers("writer-1", blocked.prefix).start()
    blocked.planner()
    wait_until(lambda: len(simulator.rows("phonecalls")) > 0, what="one is being written")
    writer.kill()
    writers("writer-2", blocked.prefix).start()
    wait_until(lambda: blocked.sessions() == {"completed": 3}, what="all have landed")
    assert {len(each) for each in blocked.plans().values()} == {2}
    assert [blocked.desk.row(item)["medx_attemptcount"] for item in blocked.items] == [1, 1, 1]
    assert (len(simulator.rows("phonecalls")), len(simulator.rows("tasks"))) == (3, 3)


@pytest.mark.parametrize("place", ["decided", "told"])
def test_P1_of_two_planners_that_hold_the_same_copies_one_publishes(place: str, blocked: Blocked) -> None:
    """The first one sleeps past its session with the new plans in hand, and wakes up behind those of the second."""
    sleeper = blocked.planner(argv=[*ASLEEP, place], PLANNER_INSTANCE_ID="sleeper", PLANNER_DELIVERY_TIMEOUT_S="8")
    assert writeback("replan", "--all", *WHY).code == 0
    sleeper.wait_for(lambda: stopped(sleeper), what="it sleeps with a batch in hand")
    blocked.planner(PLANNER_INSTANCE_ID="other", until=None)
    wait_until(lambda: blocked.sessions() == {"completed": 3}, what="the other one's plans have landed")
    sleeper.resume()
    wait_until(lambda: has_done_with_its_batch(sleeper), what="the sleeper has done with its batch")
    records = blocked.topic.read(blocked.topic.topics.planned_writebacks.name)
    assert len(records) == 6, "each session's wrong plan, and one new one"
    assert [blocked.desk.row(item)["medx_attemptcount"] for item in blocked.items] == [1, 1, 1]


def test_W2_a_session_of_which_something_was_written_is_not_planned_anew(
    simulator: RunningSimulator, topic: Topic, writers: Writers
) -> None:
    desk = Desk(simulator)
    plan = desk.plan(seed_item(simulator))
    simulator.edit("medx_callqueueitems", plan.queue_item_id, {"medx_notes": "a person was faster"})
    topic.publish(plan)
    writer = writers("writer-0", prefix_of(topic)).start()
    wait_until(lambda: writeback("list", "--settled", "--json").out != "", what="it is blocked")
    ran = writeback("replan", "--session", plan.session_id, *WHY)
    assert (ran.code, "that is for `writeback resolve`" in ran.out) == (1, True)
    assert topic.read(topic.topics.operator_actions.name) == []
    assert writer.stop() == 0


def test_an_outcome_that_is_gone_is_named_with_until_when_it_was_kept(blocked: Blocked, kafka: RealKafka) -> None:
    outcomes = blocked.topic.topics.call_outcomes.name
    for partition, end in kafka.end_offsets(outcomes).items():
        kafka.delete_records(outcomes, partition, end)
    session = blocked.outcomes[0].session_id
    ran = writeback("replan", "--session", session, "--json")
    assert ran.code == 1
    assert (ran.json[0]["count"], list(ran.json[0]["gone"])) == (0, [session])
    assert ran.json[0]["gone"][session].startswith("until about 20")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name sessions with --session, or give --all"),
        (["--mapping", "3f9a"], "name sessions with --session, or give --all"),
        (["--all", "--for-real"], "say why"),
    ],
)
def test_bad_usage_is_exit_64_with_one_line(arguments: list[str], said: str) -> None:
    ran = writeback("replan", *arguments)
    assert (ran.code, ran.err.count("\n")) == (64, 1)
    assert said in ran.err
