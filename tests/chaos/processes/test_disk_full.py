"""No space left on device, for real: the broker's log directory, and the folder of the planner's pins.

Each is a small file system of the test's own that a ballast fills to the last block, until an operator deletes that.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.demo.waiting import wait_until
from runtime.exit_codes import Exit
from tests.chaos.processes.system import ProcessSystem, Shape
from tests.support.brokers.kafka import RealKafka
from tests.support.brokers.servers import Kafka
from tests.support.forkserver import ForkServer
from tests.support.small_disk import SmallDisk, small_disk

NO_SPACE = "No space left on device"
SOON = {"PLANNER_DELIVERY_TIMEOUT_S": "5", "PLANNER_LOOK_EVERY_S": "0.5"}
"""The planner notices within seconds that its broker is away."""


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", megabytes=request.param) as disk:
        yield disk


@pytest.fixture
def broker(kafka: RealKafka, disk: SmallDisk, tmp_path: Path) -> Iterator[Kafka]:
    """All that it keeps is on the small disk."""
    if kafka.source != "maven":
        pytest.skip("only a broker that this machine starts can have a small disk")
    (work := tmp_path / "kafka").mkdir()
    broker = Kafka(work, more={"log.dirs": str(disk.folder / "data")}, inside=disk.inside)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


class KafkaDeletedItsGroups(Exception):
    """Another fault than the one that is tried: Kafka deletes a segment that it cannot read, once in some ten times,
    after it could not extend its index. Its groups and their offsets are gone, and for minutes it answers nobody about
    them. See docs/proof.md.
    """


def raise_if_groups_are_gone(log: Path) -> None:
    lines = log.read_text(errors="replace").splitlines()
    if any("__consumer_offsets" in line and "Deleting the corrupt segment" in line for line in lines):
        raise KafkaDeletedItsGroups


@pytest.mark.flaky(reruns=4, only_rerun=["KafkaDeletedItsGroups"])
@pytest.mark.parametrize("disk", [48], indirect=True)
def test_P5_W1_W2_nothing_is_lost_or_doubled_when_the_brokers_disk_is_full(
    forks: ForkServer, broker: Kafka, disk: SmallDisk, tmp_path: Path
) -> None:
    """The broker ends in the middle of its work; neither service does, and both say that it is away."""
    kafka = RealKafka(broker.bootstrap, None, "maven")
    with ProcessSystem(forks, kafka, tmp_path / "system", 0, Shape(settings=SOON)) as system:
        system.settle(what="the first outcomes settle")
        for _ in range(4):
            for item in system.items:
                system.send(item)
        known = len(system.published)

        def planning() -> bool:
            system.read()
            return len(system.published) > known

        wait_until(planning, what="the services are at work")
        disk.fill()

        def broker_has_ended() -> bool:
            system.read()
            if len(system.open_sessions) < 100:
                system.send(system.items[0], waits=False)
            return broker.has_ended

        wait_until(broker_has_ended, what="the broker ends with its disk")
        assert NO_SPACE in (tmp_path / "kafka" / "kafka.log").read_text()
        planner, writer = system.lives["planner"], system.lives["writer"]
        wait_until(lambda: planner.has_written('"planner.waiting"'), what="the planner says that it waits")
        wait_until(lambda: writer.has_written("Connection refused"), what="the writer says that its broker is away")
        disk.free()
        broker.kill()
        broker.start()
        raise_if_groups_are_gone(tmp_path / "kafka" / "kafka.log")
        system.settle_open(what="all settles once there is space")
        system.wait_for_commits()
        for service in (planner, writer):
            assert forks.ended(service.pid) is None, f"neither had to start again: {service.tail()}"
        system.audit()
    assert system.report.findings == []


@pytest.mark.parametrize("disk", [8], indirect=True)
def test_P1_P5_nothing_is_lost_or_doubled_when_the_disk_of_the_pins_is_full(
    kafka: RealKafka, disk: SmallDisk, tmp_path: Path
) -> None:
    """The planner ends and says what is wrong; started again too early, it takes no partitions. With space it goes on,
    and knows everything that it has published.
    """
    shape = Shape(settings={"PLANNER_PIN_STORE": f"rocksdb://{disk.folder}/pins"})
    with (
        ForkServer(disk.inside) as forks,
        ProcessSystem(forks, kafka, tmp_path / "system", 0, shape) as system,
    ):
        system.settle(what="the first outcomes settle")
        disk.fill()
        planner = system.lives.pop("planner")

        def planner_has_ended() -> bool:
            system.read()
            if len(system.open_sessions) < 100:
                system.send(system.items[0])
            return forks.ended(planner.pid) is not None

        wait_until(planner_has_ended, what="the planner ends with its disk")
        assert forks.ended(planner.pid) == Exit.SOFTWARE
        assert f"the pins cannot be kept in {disk.folder}/pins" in planner.tail()
        assert f"{NO_SPACE}; free space there" in planner.tail()
        early = system.start("planner")
        assert system.wait(early) == Exit.UNAVAILABLE
        assert f"{NO_SPACE}; free space there" in early.tail()
        assert not early.has_written("planner.starting")
        disk.free()
        system.start("planner")
        system.send_again()
        system.settle_open(what="all settles once there is space")
        system.wait_for_commits()
        system.audit()
    assert system.report.findings == []
