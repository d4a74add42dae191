"""The CRM's disk is full while a writer writes: a simulator with SQLite on a small file system of the test's own.

What SQLite could not keep was not done: the simulator refuses it, as a service in trouble does, and the writer waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from schemas.records import ResultStatus
from simulator.testing import RunningSimulator
from tests.chaos.writer.test_crm_killed import Crm
from tests.integration.writer.conftest import PARTITIONS
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from tests.support.checker import findings
from tests.support.ports import free_ports
from tests.support.small_disk import SmallDisk, small_disk

ITEMS, ROUNDS = 6, 8


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", megabytes=8) as disk:
        yield disk


@pytest.fixture
def crm(disk: SmallDisk, tmp_path: Path, make_service: Callable[..., Service]) -> Crm:
    def inside(name: str, command: list[str], *, env: dict[str, str]) -> Service:
        return make_service(name, disk.inside(command), env=env)

    [port] = free_ports(1)
    crm = Crm(tmp_path, port, inside, sqlite=disk.folder / "crm.sqlite")
    crm.start()
    return crm


def test_W2_W6_nothing_is_lost_or_doubled_when_the_crms_disk_is_full_while_a_writer_writes(
    crm: Crm, disk: SmallDisk, embedded: EmbeddedBroker, make_service: Callable[..., Service]
) -> None:
    """It is full for a while, then the simulator is killed with its disk full, and at last somebody frees space."""
    there = cast("RunningSimulator", crm)
    desk, topic = Desk(there), Topic(embedded.bootstrap, PARTITIONS)
    items = [seed_item(there) for _ in range(ITEMS)]
    plans = [desk.plan(item) for _ in range(ROUNDS) for item in items]
    env = writer_env(there, embedded.bootstrap, WRITER_FLOW__MAX_PAUSE_S="0.5")
    writer = make_service("writer", module("writer"), env=env).start(
        lambda one: one.has_written('"partitions.assigned"')
    )
    topic.publish(*plans)
    wait_until(lambda: crm.landed() > ITEMS, what="some plans landed", every=0.01)
    disk.fill()
    writer.wait_for(lambda: writer.has_written('"plan.resume_needed"'), what="the writer says that the CRM has trouble")
    assert crm.landed() < len(plans)
    answered = crm.oplog(actor="application", outcome="committed")
    crm.process.kill()
    disk.free()
    crm.start()
    assert crm.oplog(actor="application", outcome="committed") == answered, "what was shown as done is kept"
    sessions = {plan.session_id for plan in plans}

    def ended() -> bool:
        return {one.session_id for one in topic.results() if one.status is not ResultStatus.RESUME_NEEDED} == sessions

    wait_until(ended, what="every plan has a result", every=0.5)
    assert findings(crm.oplog(), plans, topic.results()) == []
    assert crm.landed() == len(plans)
    assert {row["medx_attemptcount"] for row in crm.rows("medx_callqueueitems")} == {ROUNDS}
    assert writer.stop() == 0
