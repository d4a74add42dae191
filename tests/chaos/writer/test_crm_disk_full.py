"""The CRM's disk is full while a writer writes: a simulator with SQLite on a small file system of the test's own.

What SQLite could not keep was not done: the simulator refuses it, as a service in trouble does, and the writer waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.processes import Service
from ops.demo.waiting import wait_until
from tests.chaos.writer.crm import Crm, assert_each_landed_once, writer_at_work
from tests.integration.writer.conftest import PARTITIONS
from tests.integration.writer.kit import Desk, Topic, seed_item
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
    desk, topic = Desk(crm.as_running()), Topic(embedded.bootstrap, PARTITIONS)
    items = [seed_item(crm.as_running()) for _ in range(ITEMS)]
    plans = [desk.plan(item) for _ in range(ROUNDS) for item in items]
    writer = writer_at_work(crm, embedded, make_service, WRITER_FLOW__MAX_PAUSE_S="0.5")
    topic.publish(*plans)
    wait_until(lambda: crm.landed() > ITEMS, what="some plans landed", every=0.01)
    disk.fill()
    writer.wait_for(lambda: writer.has_written('"plan.resume_needed"'), what="the writer says that the CRM has trouble")
    assert crm.landed() < len(plans)
    shown = crm.oplog(actor="application", outcome="committed")
    crm.process.kill()
    disk.free()
    crm.start()
    kept = crm.oplog(actor="application", outcome="committed")
    assert kept[: len(shown)] == shown, "what was shown as done is kept; more may have landed in a last free page"
    assert_each_landed_once(crm, topic, plans, of_an_item=ROUNDS)
    assert writer.stop() == 0
