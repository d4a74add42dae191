"""Plans of every disposition through a real writer, an embedded broker and the simulator."""

from __future__ import annotations

from schemas.records import Disposition, ResultStatus
from simulator.testing import RunningSimulator
from tests.integration.writer.inprocess import running_writer
from tests.integration.writer.kit import DISPOSITIONS, Desk, Topic, seed_item, writer_env


def test_every_disposition_lands_in_one_request_each(simulator: RunningSimulator, desk: Desk, topic: Topic) -> None:
    items = {disposition: seed_item(simulator) for disposition in DISPOSITIONS}
    plans = [desk.plan(item, disposition) for disposition, item in items.items()]
    topic.publish(*plans)
    with running_writer(writer_env(simulator, topic.bootstrap)):
        topic.wait_for_committed(len(plans))
    results = {result.session_id: result for result in topic.results()}
    assert len(results) == len(plans)
    for plan in plans:
        result = results[plan.session_id]
        expected = ResultStatus.BLOCKED if plan.disposition is Disposition.BLOCKED else ResultStatus.COMPLETED
        assert result.status is expected, result
        row = desk.row(plan.queue_item_id)
        assert row["medx_lastsessionid"] == plan.session_id
    calls = simulator.rows("phonecalls")
    assert len(calls) == len(plans) - 1
    assert all(call["statecode"] == 1 for call in calls)
    assert len(simulator.rows("tasks")) == sum(len(plan.steps) > 3 for plan in plans)
