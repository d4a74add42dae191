"""W9: what the gate cleared may drift; the service's refusal has everything verified anew, once."""

from __future__ import annotations

from dataclasses import replace

from schemas.records import BlockReason, PlannedWriteback, ResultStatus
from simulator.testing import RunningSimulator
from tests.integration.writer.inprocess import running_writer
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from tests.support.checker import findings, writes
from tests.support.factories import make_step

WRITE = {"path": r"\$batch", "body": "PATCH "}
TOO_LONG = {"kind": "status", "status": 400, "code": "0x80044331", "message": "too long"}


def test_W9_a_refusal_that_hints_at_drift_is_verified_anew_and_then_lands(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    plan = desk.plan(seed_item(simulator))
    simulator.fault(when=WRITE, do=[TOO_LONG])
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
    assert findings(simulator.oplog(), [plan], topic.results()) == []
    assert topic.results()[-1].status is ResultStatus.COMPLETED


def test_W9_a_refusal_that_stays_is_told_to_a_person(simulator: RunningSimulator, desk: Desk, topic: Topic) -> None:
    plan = desk.plan(seed_item(simulator))
    simulator.fault(when=WRITE, times=None, do=[TOO_LONG])
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
    [result] = topic.results()
    assert (result.status, result.block_reason) == (ResultStatus.BLOCKED, BlockReason.METADATA)
    assert "0x80044331" in str(result.message)


def broken(plan: PlannedWriteback) -> PlannedWriteback:
    """Names a table, a column, an option and a link that are not there, and a text that does not fit."""
    call, complete, update = plan.steps[:3]
    return replace(
        plan,
        steps=(
            replace(call, attributes={**call.attributes, "nocolumn": 1, "subject": "x" * 201}),
            complete,
            replace(update, attributes={**update.attributes, "medx_callstatus": 99}),
            make_step(step_index=3, entity_set="nosuchtable", session_column=None),
            make_step(
                step_index=4, entity_set="tasks", attributes={"nolink@odata.bind": "/accounts(1)"}, session_column=None
            ),
        ),
    )


def test_W9_every_gap_is_named_at_once_and_nothing_is_written(
    simulator: RunningSimulator, desk: Desk, topic: Topic
) -> None:
    plan = broken(desk.plan(seed_item(simulator)))
    topic.publish(plan)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(1)
    [result] = topic.results()
    assert result.block_reason is BlockReason.METADATA
    for gap in ("phonecalls.nocolumn", "phonecalls.subject", "medx_callstatus", "nosuchtable", "nolink"):
        assert gap in str(result.message)
    assert writes(simulator.oplog()) == []
