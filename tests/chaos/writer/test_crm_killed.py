"""W2 The CRM itself is killed while a writer writes: a simulator as a process of its own, with SQLite behind it.

Rows and operation log are one file. What was answered is in it after a SIGKILL; the writer finds out about the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.processes import Service
from ops.demo.waiting import wait_until
from schemas.records import Disposition
from tests.chaos.writer.crm import Crm, assert_each_landed_once, writer_at_work
from tests.integration.writer.conftest import PARTITIONS
from tests.integration.writer.kit import Desk, Topic, seed_item
from tests.support.ports import free_ports

ITEMS, ROUNDS, KILLS = 24, 4, 4


@pytest.fixture
def crm(tmp_path: Path, make_service: Callable[..., Service]) -> Crm:
    [port] = free_ports(1)
    crm = Crm(tmp_path, port, make_service)
    crm.start()
    return crm


def test_W2_W6_nothing_is_lost_or_doubled_when_the_crm_is_killed_while_a_writer_writes(
    crm: Crm, embedded: EmbeddedBroker, make_service: Callable[..., Service]
) -> None:
    desk, topic = Desk(crm.as_running()), Topic(embedded.bootstrap, PARTITIONS)
    items = [seed_item(crm.as_running()) for _ in range(ITEMS)]
    kinds = itertools.cycle((Disposition.NO_ANSWER, Disposition.CALL_BACK_LATER, Disposition.VOICEMAIL))
    plans = [desk.plan(item, next(kinds)) for _ in range(ROUNDS) for item in items]
    writer = writer_at_work(crm, embedded, make_service, WRITER_FLOW__MAX_PAUSE_S="1")
    topic.publish(*plans)
    for kill in range(1, KILLS + 1):
        enough = len(plans) * kill // (KILLS + 2)
        wait_until(lambda enough=enough: crm.landed() >= enough, what=f"{enough} plans landed", every=0.01)  # type: ignore[misc]
        answered = crm.oplog(actor="application")
        crm.process.kill()
        crm.start()
        assert crm.oplog(actor="application")[: len(answered)] == answered, "what was answered is kept"
    assert_each_landed_once(crm, topic, plans, of_an_item=ROUNDS)
    assert writer.stop() == 0
