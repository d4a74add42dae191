"""W2 The CRM itself is killed while a writer writes: a simulator as a process of its own, with SQLite behind it.

Rows and operation log are one file. What was answered is in it after a SIGKILL; the writer finds out about the rest.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from schemas.records import Disposition, ResultStatus
from simulator.testing import RunningSimulator
from tests.integration.writer.conftest import PARTITIONS
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from tests.support.checker import findings, writes
from tests.support.ports import free_ports

ITEMS, ROUNDS, KILLS = 24, 4, 4
SLOW = [{"when": {"path": r"\$batch"}, "times": None, "do": [{"kind": "latency", "seconds": 0.02}]}]


class Crm:
    """A simulator at one address through all its lives, with the part of `RunningSimulator` that a desk needs."""

    def __init__(self, folder: Path, port: int, start: Callable[..., Service], *, sqlite: Path | None = None) -> None:
        (faults := folder / "faults.json").write_text(json.dumps(SLOW))
        self.base_url = f"http://127.0.0.1:{port}"
        options = [
            "--port",
            str(port),
            "--auth",
            "none",
            "--sqlite",
            str(sqlite or folder / "crm.sqlite"),
            "--faults",
            str(faults),
        ]
        self.process = start("crm", module("simulator", "serve", *options), env={})

    def start(self) -> None:
        self.process.start(lambda _: self._answers())

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.base_url}/_control/health").is_success
        except httpx.TransportError:
            return False

    def rows(self, entity_set: str) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", self._control("GET", f"rows/{entity_set}")["rows"])

    def oplog(self, **where: Any) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", self._control("GET", "oplog", params=where)["entries"])

    def seed(self, entity_set: str, *rows: dict[str, Any]) -> list[str]:
        return cast("list[str]", self._control("POST", f"seed/{entity_set}", json=rows)["ids"])

    def landed(self) -> int:
        return sum(
            entry["outcome"] == "committed" and entry["table"] == "medx_callqueueitem"
            for entry in writes(self.oplog(actor="application"))
        )

    def _control(self, method: str, path: str, **more: Any) -> Any:
        return httpx.request(method, f"{self.base_url}/_control/{path}", **more).raise_for_status().json()


@pytest.fixture
def crm(tmp_path: Path, make_service: Callable[..., Service]) -> Crm:
    [port] = free_ports(1)
    crm = Crm(tmp_path, port, make_service)
    crm.start()
    return crm


def test_W2_W6_nothing_is_lost_or_doubled_when_the_crm_is_killed_while_a_writer_writes(
    crm: Crm, embedded: EmbeddedBroker, make_service: Callable[..., Service]
) -> None:
    there = cast("RunningSimulator", crm)
    desk, topic = Desk(there), Topic(embedded.bootstrap, PARTITIONS)
    items = [seed_item(there) for _ in range(ITEMS)]
    kinds = itertools.cycle((Disposition.NO_ANSWER, Disposition.CALL_BACK_LATER, Disposition.VOICEMAIL))
    plans = [desk.plan(item, next(kinds)) for _ in range(ROUNDS) for item in items]
    env = writer_env(there, embedded.bootstrap, WRITER_FLOW__MAX_PAUSE_S="1")
    writer = make_service("writer", module("writer"), env=env).start(
        lambda one: one.has_written('"partitions.assigned"')
    )
    topic.publish(*plans)
    answered: list[dict[str, Any]] = []
    for kill in range(1, KILLS + 1):
        enough = len(plans) * kill // (KILLS + 2)
        wait_until(lambda enough=enough: crm.landed() >= enough, what=f"{enough} plans landed", every=0.01)  # type: ignore[misc]
        answered = crm.oplog(actor="application")
        crm.process.kill()
        crm.start()
        assert crm.oplog(actor="application")[: len(answered)] == answered, "what was answered is kept"
    sessions = {plan.session_id for plan in plans}

    def ended() -> bool:  # committed offsets say little: plans may have been requeued
        return {one.session_id for one in topic.results() if one.status is not ResultStatus.RESUME_NEEDED} == sessions

    wait_until(ended, what="every plan has a result", every=1)
    assert findings(crm.oplog(), plans, topic.results()) == []
    assert crm.landed() == len(plans)
    assert {row["medx_attemptcount"] for row in crm.rows("medx_callqueueitems")} == {ROUNDS}
    assert writer.stop() == 0
