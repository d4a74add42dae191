"""Sessions of every kind, replayed by an operator with the writer running: each lands, or a sentence says why not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import httpx2
import pytest

from ops.actions import Sender, Sent
from ops.demo.waiting import wait_until
from ops.settings import read_settings
from schemas.codec import single_object
from schemas.records import (
    BlockReason,
    Decision,
    Disposition,
    Operation,
    PlannedStep,
    PlannedWriteback,
    ResultStatus,
    WritebackResult,
)
from simulator.testing import RunningSimulator
from tests.broker.ops.test_replay import WHY, last_results, settled
from tests.broker.writer.conftest import Writers, prefix_of
from tests.integration.ops.kit import writeback
from tests.integration.writer.kit import Desk, Topic, seed_item
from tests.support.factories import an_id

ITEMS = "medx_callqueueitems"


@pytest.fixture(autouse=True)
def _prefix(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", prefix_of(topic))


def came(*selectors: str) -> dict[str, int]:
    """What a replay of these says at its end, by sentence."""
    ran = writeback("replay", *selectors, *WHY, "--wait", "--json")
    assert ran.code in (0, 1), ran.err
    told: Counter[str] = Counter()
    for each in ran.json[-1]["came"]:
        told[each["what"]] += each["sessions"]
    return dict(told)


def needs_a_column(plan: PlannedWriteback) -> PlannedWriteback:
    def wider(step: PlannedStep) -> PlannedStep:
        if step.operation is not Operation.UPDATE_QUEUE_ITEM:
            return step
        return replace(step, attributes={**step.attributes, "medx_madelater": "x"})

    return replace(plan, steps=tuple(map(wider, plan.steps)))


def make_the_column(simulator: RunningSimulator) -> None:
    column = {
        "@odata.type": "Microsoft.Dynamics.CRM.StringAttributeMetadata", "SchemaName": "medx_MadeLater",
        "MaxLength": 100, "DisplayName": {"LocalizedLabels": [{"Label": "Made later", "LanguageCode": 1033}]},
    }  # fmt: skip
    path = "EntityDefinitions(LogicalName='medx_callqueueitem')/Attributes"
    assert httpx2.post(f"{simulator.api_url}/{path}", json=column).status_code == 204


def close(topic: Topic, result: WritebackResult) -> None:
    """As a person who decides to leave a session does."""
    decision = Decision(what="leave", by="kim@host", reason="nobody minds", at=result.settled_at)
    closed = replace(result, status=ResultStatus.CLOSED, block_reason=None, decision=decision)
    with Sender(read_settings()) as sender:
        key, value = closed.session_id.encode(), single_object(WritebackResult).encode(closed)
        sender.send([Sent(topic.topics.writeback_results.name, topic.partition(closed.queue_item_id), key, value)])


def test_a_replay_of_each_kind_lands_or_says_why_there_is_no_result(
    simulator: RunningSimulator, topic: Topic, writers: Writers
) -> None:
    desk = Desk(simulator)
    items = {kind: seed_item(simulator) for kind in ("conflict", "opt out", "metadata", "late", "closed", "ineligible")}
    plans = {kind: desk.plan(item, Disposition.CALL_BACK_LATER) for kind, item in items.items()}
    plans["opt out"] = desk.plan(items["opt out"], Disposition.DO_NOT_CALL)
    plans["metadata"] = needs_a_column(plans["metadata"])
    plans["ineligible"] = desk.plan(items["ineligible"], Disposition.BLOCKED)
    plans["no row"] = desk.plan(seed_item(simulator))
    plans["no row"] = replace(
        plans["no row"], queue_item_id=an_id("gone"),
        steps=tuple(
            replace(step, record_id=an_id("gone")) if step.operation is Operation.UPDATE_QUEUE_ITEM else step
            for step in plans["no row"].steps
        ),
    )  # fmt: skip
    plans["overtaker"] = Desk(simulator).plan(items["late"], Disposition.NO_ANSWER)
    for kind in ("conflict", "closed"):
        simulator.edit(ITEMS, items[kind], {"medx_notes": "a person was faster"})
    simulator.edit(ITEMS, items["opt out"], {"medx_donotcall": False, "medx_notes": "does want to be called"})
    topic.publish(plans["overtaker"], *(plan for kind, plan in plans.items() if kind != "overtaker"))
    writer = writers("writer-0", prefix_of(topic)).start()
    wait_until(settled(len(plans)), what="all are settled")
    first = {kind: last_results(topic)[plan.session_id] for kind, plan in plans.items()}
    assert {kind: each.block_reason for kind, each in first.items()} == {
        "conflict": BlockReason.CONFLICT_DETECTED, "opt out": BlockReason.CONFLICT_DETECTED,
        "metadata": BlockReason.METADATA, "late": None, "closed": BlockReason.CONFLICT_DETECTED,
        "ineligible": BlockReason.ELIGIBILITY, "no row": BlockReason.CONFLICT_DETECTED, "overtaker": None,
    }  # fmt: skip

    topic.publish(desk.plan(items["opt out"], Disposition.NO_ANSWER))
    wait_until(settled(len(plans) + 1), what="the item was called again")
    came_late = "completed: a later session of the queue item landed first, so its columns stay"
    assert came("--session", plans["opt out"].session_id) == {came_late: 1}, "it is not silent, and it lands"
    assert desk.row(items["opt out"])["medx_donotcall"] is True

    make_the_column(simulator)
    assert came("--block-reason", "metadata") == {"completed": 1}
    assert desk.row(items["metadata"])["medx_madelater"] == "x"

    assert writer.stop() == 0
    close(topic, first["closed"])
    writer = writers("writer-1", prefix_of(topic)).start()
    assert came() == {
        "blocked, conflict_detected": 2, "no new result: it had landed before": 4,
        "no new result: a person has closed it": 1, "no new result: it had come late, and was recorded before": 2,
    }  # fmt: skip
    assert writer.stop() == 0
    last = {kind: last_results(topic)[plan.session_id] for kind, plan in plans.items()}
    landed = {"metadata": ResultStatus.COMPLETED, "opt out": ResultStatus.COMPLETED, "closed": ResultStatus.CLOSED}
    assert {kind: each.status for kind, each in last.items()} == {
        kind: landed.get(kind, each.status) for kind, each in first.items()
    }
    for kind in ("conflict", "no row", "metadata", "opt out"):
        assert last[kind].first_settled_at == first[kind].settled_at
        assert last[kind].settled_at > first[kind].settled_at
