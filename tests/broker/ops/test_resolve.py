"""`resolve` on a real broker, with a writer as a process: both sides are shown, and a decision is carried out once."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest

from ops import resolve as command
from ops.actions import Sender
from ops.demo.waiting import wait_until
from runtime.broker import BrokerUnavailable
from schemas import headers
from schemas.records import Disposition, PlannedWriteback, ResultStatus
from simulator.testing import RunningSimulator
from tests.broker.writer.conftest import Writers, prefix_of
from tests.integration.ops.kit import Ran, writeback
from tests.integration.writer.kit import Desk, Topic, seed_item
from tests.integration.writer.test_faults import WRITE

ITEMS = "medx_callqueueitems"
WHY = ("--for-real", "--reason", "the note is about another call")


@pytest.fixture(autouse=True)
def _set_up(topic: Topic, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", prefix_of(topic))
    monkeypatch.setenv("WRITEBACK_DATAVERSE__URL", simulator.base_url)
    monkeypatch.setenv("WRITEBACK_IDENTITIES", json.dumps([{"kind": "none"}]))


@pytest.fixture
def desk(simulator: RunningSimulator) -> Desk:
    return Desk(simulator)


def in_conflict(simulator: RunningSimulator, desk: Desk, topic: Topic) -> PlannedWriteback:
    """A session of an item that a person changes before it is written back."""
    plan = desk.plan(seed_item(simulator), Disposition.CALL_BACK_LATER)
    simulator.edit(ITEMS, plan.queue_item_id, {"medx_notes": "call is about the clinic in town"})
    topic.publish(plan)
    return plan


def shown(plan: PlannedWriteback) -> dict[str, Any]:
    [found] = writeback("resolve", plan.session_id, "--json").json
    return found


def wait_until_blocked(*plans: PlannedWriteback) -> None:
    def blocked() -> bool:
        rows = {row["session_id"]: row for row in writeback("resolve", "--json").json}
        return all(plan.session_id in rows for plan in plans)

    wait_until(blocked, what="they wait for a decision")


def last(topic: Topic, plan: PlannedWriteback) -> Any:
    return [result for result in topic.results() if result.session_id == plan.session_id][-1]


def records(simulator: RunningSimulator, plan: PlannedWriteback) -> tuple[int, int]:
    """How many calls and tasks there are of a session."""
    counts = [
        sum(row.get("medx_idempotencykey") == plan.session_id for row in simulator.rows(table))
        for table in ("phonecalls", "tasks")
    ]
    return counts[0], counts[1]


def test_W7_a_conflict_is_shown_column_by_column_and_applied_once_onto_the_row_that_was_seen(
    simulator: RunningSimulator, desk: Desk, topic: Topic, writers: Writers
) -> None:
    plan = in_conflict(simulator, desk, topic)
    writer = writers("writer-0", prefix_of(topic)).start()
    wait_until_blocked(plan)
    looked = writeback("resolve", plan.session_id)
    assert looked.code == 1
    [line] = [each for each in looked.out.splitlines() if each.startswith("medx_notes")]
    assert line.split() == ["medx_notes", "(empty)", "(text,", "32", "characters)", "CHANGED"]
    [counter] = [each for each in looked.out.splitlines() if each.startswith("medx_attemptcount")]
    assert counter.split() == ["medx_attemptcount", "0", "0", "+1"]
    assert "create_task: is not there" in looked.out
    assert "clinic in town" not in looked.out, "texts are personal data"
    both = shown(plan)
    assert [each["column"] for each in both["columns"] if each["changed"]] == ["medx_notes"]
    assert (both["etag"], both["refused"]) == (f'W/"{both["seen"]}"', None)

    [said] = re.findall(r"^to apply: writeback (.*)$", looked.err, re.MULTILINE)
    done = writeback(*(each.replace("WHY", "the note is older") for each in shlex.split(said)))
    assert (done.code, "done (apply): the session is completed" in done.out) == (0, True), done.err
    row, result = desk.row(plan.queue_item_id), last(topic, plan)
    assert (row["medx_attemptcount"], row["medx_lastsessionid"]) == (1, plan.session_id)
    assert row["medx_notes"] == "call is about the clinic in town"
    assert records(simulator, plan) == (1, 1)
    assert (result.status, result.decision.what) == (ResultStatus.COMPLETED, "apply")
    assert (result.decision.reason, "@" in result.decision.by) == ("the note is older", True)
    [action] = [json.loads(each.value()) for each in topic.read(topic.topics.operator_actions.name)]
    assert (action["action"], action["about"], action["why"]) == (
        "resolve: apply",
        plan.session_id,
        "the note is older",
    )
    again = writeback("resolve", plan.session_id, "--apply", "--seen", both["seen"], *WHY)
    assert (again.code, "there is nothing left to decide" in again.err) == (1, True)
    assert "the note is older" in again.out, "who decided what, and why"
    assert writer.stop() == 0


def test_W2_what_is_left_is_closed_with_who_and_why_and_stays_closed(
    simulator: RunningSimulator, desk: Desk, topic: Topic, writers: Writers
) -> None:
    plan = in_conflict(simulator, desk, topic)
    writer = writers("writer-0", prefix_of(topic)).start()
    wait_until_blocked(plan)
    before = desk.row(plan.queue_item_id)
    done = writeback("resolve", plan.session_id, "--leave", *WHY)
    assert (done.code, "done (leave): the session is closed" in done.out) == (0, True), done.err
    assert desk.row(plan.queue_item_id) == before
    result = last(topic, plan)
    assert (result.status, result.decision.reason) == (ResultStatus.CLOSED, "the note is about another call")
    assert writeback("resolve").out == "no session waits for a decision\n"
    assert writeback("replay", "--session", plan.session_id, *WHY, "--wait").code == 0
    assert last(topic, plan) == result, "a replay changes nothing"
    assert writer.stop() == 0


def test_W7_a_row_that_has_changed_since_it_was_seen_is_not_written(
    simulator: RunningSimulator, desk: Desk, topic: Topic, writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noticed by the command, and where it comes after the command has looked, by the writer."""
    plan = in_conflict(simulator, desk, topic)
    writer = writers("writer-0", prefix_of(topic)).start()
    wait_until_blocked(plan)
    seen = shown(plan)["seen"]
    simulator.edit(ITEMS, plan.queue_item_id, {"medx_priority": 9})
    stale = writeback("resolve", plan.session_id, "--apply", "--seen", seen, *WHY)
    assert (stale.code, "has changed since you looked at it, and nothing was done" in stale.err) == (1, True)
    assert topic.read(topic.topics.operator_actions.name) == []

    real = Sender.send

    def then_changed(self: Sender, given: Any) -> list[int]:
        if any(headers.last(each.headers, headers.ACCEPTED_ETAG) for each in given):
            simulator.edit(ITEMS, plan.queue_item_id, {"medx_priority": 8})
        return real(self, given)

    monkeypatch.setattr(Sender, "send", then_changed)
    lost = writeback("resolve", plan.session_id, "--apply", "--seen", shown(plan)["seen"], *WHY)
    assert lost.code == 1
    assert "your decision was not carried out: the session is blocked" in lost.err
    assert "has changed once more since a person decided to apply this session" in lost.err
    assert (desk.row(plan.queue_item_id)["medx_attemptcount"], records(simulator, plan)) == (0, (1, 0))
    assert writer.stop() == 0


def test_W2_of_two_operators_at_once_one_decides_and_the_other_is_told_who_did(
    simulator: RunningSimulator, desk: Desk, topic: Topic, writers: Writers
) -> None:
    plan = in_conflict(simulator, desk, topic)
    writer = writers("writer-0", prefix_of(topic)).start()
    wait_until_blocked(plan)
    seen = shown(plan)["seen"]
    assert writer.stop() == 0  # so that both decide before anything is carried out
    choices = {"kim": ("--apply", "--seen", seen), "lee": ("--leave",)}
    running = {
        name: subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "resolve", plan.session_id, "--by", name, "--no-wait", *choice, *WHY],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name, choice in choices.items()
    }  # fmt: skip
    ran = {}
    for name, process in running.items():
        out, err = process.communicate()
        ran[name] = Ran(process.returncode, out, err)
    sent = [name for name, each in ran.items() if each.code == 0]
    for name in ran.keys() - set(sent):
        assert "asked at" in ran[name].err, "the other one had decided before this one looked"
    again = writeback("resolve", plan.session_id, "--leave", *WHY)
    assert (again.code, "the writer has yet to carry that out" in again.err) == (1, True)

    writer = writers("writer-1", prefix_of(topic)).start()
    wait_until(lambda: not shown(plan)["session"]["unsettled"], what="it is carried out")
    found = shown(plan)
    first = found["decision"]["by"]
    assert first in sent
    row = desk.row(plan.queue_item_id)
    assert (row["medx_attemptcount"], found["session"]["status"]) == (
        (1, "completed") if first == "kim" else (0, "closed")
    )
    assert writer.stop() == 0


def test_blocked_opt_outs_come_first_and_land_alone_though_the_item_was_called_again(
    simulator: RunningSimulator, desk: Desk, topic: Topic, writers: Writers
) -> None:
    other = in_conflict(simulator, desk, topic)
    item = seed_item(simulator, medx_donotcall=True)
    plan = desk.plan(item, Disposition.DO_NOT_CALL)
    simulator.edit(ITEMS, item, {"medx_donotcall": False, "medx_notes": "calls are welcome"})
    topic.publish(plan)
    writer = writers("writer-0", prefix_of(topic)).start()
    wait_until_blocked(other, plan)
    later = desk.plan(plan.queue_item_id, Disposition.NO_ANSWER)
    topic.publish(later)
    wait_until(lambda: len(topic.results()) == 3, what="the item was called again")

    assert [row["session_id"] for row in writeback("resolve", "--json").json] == [plan.session_id, other.session_id]
    looked = writeback("resolve", plan.session_id)
    assert "THE CONTACT OPTED OUT, AND DO-NOT-CALL IS NOT ON THE QUEUE ITEM" in looked.out
    assert f"The item was called again since: session {later.session_id} was written last." in looked.out
    assert looked.err.splitlines()[1].startswith("to apply the opt-out alone: writeback resolve")

    seen = shown(plan)["seen"]
    done = writeback("resolve", plan.session_id, "--apply", "--opt-out-only", "--seen", seen, *WHY)
    assert done.code == 0, done.err
    assert "the rest of it still waits for a decision" in done.out
    row = desk.row(plan.queue_item_id)
    assert (row["medx_donotcall"], row["medx_lastsessionid"]) == (True, later.session_id)
    assert writeback("list", "--opt-out", "open", "--json").out == "", "it is on its row"
    set_already = writeback("resolve", plan.session_id, "--apply", "--opt-out-only", "--seen", seen, *WHY)
    assert (set_already.code, "do-not-call is set" in set_already.err) == (1, True)

    whole = writeback("resolve", plan.session_id, "--apply", "--seen", shown(plan)["seen"], *WHY)
    assert whole.code == 0, whole.err
    row = desk.row(plan.queue_item_id)
    assert (row["medx_lastsessionid"], row["medx_callstatus"], row["medx_attemptcount"]) == (plan.session_id, 4, 2)
    assert records(simulator, plan) == (1, 0)
    assert writer.stop() == 0


@pytest.mark.parametrize("when", ["before anything is sent", "before its record", "after it was sent"])
def test_a_decision_whose_command_is_killed_is_made_whole_or_not_at_all(
    when: str, simulator: RunningSimulator, desk: Desk, topic: Topic, writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = in_conflict(simulator, desk, topic)
    writer = writers("writer-0", prefix_of(topic)).start()
    wait_until_blocked(plan)
    killed_at = {"before anything is sent": "record", "before its record": "send", "after it was sent": "follow"}[when]

    class Killed(BrokerUnavailable):
        pass

    def dies(*_: Any, **__: Any) -> Any:
        raise Killed("killed here")

    seen = shown(plan)["seen"]
    with monkeypatch.context() as patch:
        if killed_at == "follow":
            patch.setattr(command, "_follow", dies)
        elif killed_at == "record":
            patch.setattr(Sender, "record", dies)
        else:
            real = Sender.send

            def send_or_die(self: Sender, given: Any) -> list[int]:
                return dies() if headers.last(given[0].headers, headers.ACCEPTED_ETAG) else real(self, given)

            patch.setattr(Sender, "send", send_or_die)
        assert writeback("resolve", plan.session_id, "--apply", "--seen", seen, *WHY).code == 69
    if killed_at != "follow":
        wait_until_blocked(plan)
        assert desk.row(plan.queue_item_id)["medx_attemptcount"] == 0
        assert writeback("resolve", plan.session_id, "--apply", "--seen", seen, *WHY).code == 0
    wait_until(lambda: shown(plan)["session"]["status"] == "completed", what="it is applied")
    assert (desk.row(plan.queue_item_id)["medx_attemptcount"], records(simulator, plan)) == (1, (1, 1))
    assert writer.stop() == 0


@pytest.mark.parametrize("moment", ["before", "applied"])
def test_W2_a_writer_that_is_killed_while_it_carries_a_decision_out_applies_it_once(
    moment: str, simulator: RunningSimulator, desk: Desk, topic: Topic, writers: Writers
) -> None:
    plan = in_conflict(simulator, desk, topic)
    writer = writers("writer-0", prefix_of(topic)).start()
    wait_until_blocked(plan)
    seen = shown(plan)["seen"]
    simulator.fault(when=WRITE, times=1, do=[{"kind": "cut", "moment": moment}])
    assert writeback("resolve", plan.session_id, "--apply", "--seen", seen, "--no-wait", *WHY).code == 0
    if moment == "applied":
        wait_until(lambda: desk.row(plan.queue_item_id)["medx_attemptcount"] == 1, what="it took effect")
    writer.kill()
    writer = writers("writer-1", prefix_of(topic)).start()
    wait_until(lambda: shown(plan)["session"]["status"] == "completed", what="it is applied")
    assert (desk.row(plan.queue_item_id)["medx_attemptcount"], records(simulator, plan)) == (1, (1, 1))
    assert writer.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--leave"], "say which session"),
        (["one", "--apply", "--leave"], "give one of --apply and --leave"),
        (["one", "--opt-out-only"], "give --apply too"),
        (["one", "--for-real", "--reason", "x"], "say what you decide"),
        (["one", "--apply", "--for-real", "--reason", "x"], "say which version of the queue item you have seen"),
        (["one", "--leave", "--for-real"], "say why"),
    ],
)
def test_bad_usage_is_exit_64_with_one_line(arguments: list[str], said: str) -> None:
    ran = writeback("resolve", *arguments)
    assert (ran.code, ran.err.count("\n")) == (64, 1)
    assert said in ran.err
