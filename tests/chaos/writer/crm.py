"""A simulator as a process of its own, with SQLite behind it, and a writer beside it: for tests that kill the CRM."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import httpx

from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from schemas.records import PlannedWriteback, ResultStatus
from simulator.testing import RunningSimulator
from tests.integration.writer.kit import Topic, writer_env
from tests.support.checker import findings, writes

SLOW = [{"when": {"path": r"\$batch"}, "times": None, "do": [{"kind": "latency", "seconds": 0.02}]}]


class Crm:
    """A simulator at one address through all its lives, with the part of `RunningSimulator` that a desk needs."""

    def __init__(self, folder: Path, port: int, start: Callable[..., Service], *, sqlite: Path | None = None) -> None:
        (faults := folder / "faults.json").write_text(json.dumps(SLOW))
        self.base_url = f"http://127.0.0.1:{port}"
        kept = str(sqlite or folder / "crm.sqlite")
        options = ["--port", str(port), "--auth", "none", "--sqlite", kept, "--faults", str(faults)]
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

    def as_running(self) -> RunningSimulator:
        """For a desk and a writer, which use no more of it than this class has."""
        return cast("RunningSimulator", self)


def writer_at_work(
    crm: Crm, embedded: EmbeddedBroker, make_service: Callable[..., Service], **settings: str
) -> Service:
    """A writer that has its partitions."""
    env = writer_env(crm.as_running(), embedded.bootstrap, **settings)
    writer = make_service("writer", module("writer"), env=env)
    return writer.start(lambda one: one.has_written('"partitions.assigned"'))


def assert_each_landed_once(crm: Crm, topic: Topic, plans: Sequence[PlannedWriteback], *, of_an_item: int) -> None:
    """Once every plan has a result. What is committed says little before that: plans may have been requeued."""
    sessions = {plan.session_id for plan in plans}

    def ended() -> bool:
        return {one.session_id for one in topic.results() if one.status is not ResultStatus.RESUME_NEEDED} == sessions

    wait_until(ended, what="every plan has a result", every=0.5)
    assert findings(crm.oplog(), plans, topic.results()) == []
    assert crm.landed() == len(plans)
    assert {row["medx_attemptcount"] for row in crm.rows("medx_callqueueitems")} == {of_an_item}
