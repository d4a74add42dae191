"""Parts of the writer around a fake Dataverse, for unit tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.records import PlannedWriteback, PlanPosition, WritebackResult
from tests.contract.writer.fake_dataverse import FakeDataverse
from tests.support.factories import NOON
from writer.core.gate import Blocked, Cleared
from writer.core.history import History, Settled
from writer.core.pacing import Pacer, ServiceLimits
from writer.core.results import Telling
from writer.dataverse.client import DataverseClient
from writer.dataverse.identity import NoSignIn
from writer.dataverse.metadata_cache import Facts
from writer.dataverse.pool import Channel, Pool
from writer.emitter import Round, Verdict
from writer.kafka.consumer import Taken
from writer.metrics import Metrics
from writer.settings import DataverseSettings
from writer.work import Work


def make_pool(
    *fakes: FakeDataverse,
    metrics: Metrics | None = None,
    start: int = 4,
    clock: Callable[[], float] = time.monotonic,
) -> Pool:
    """`start` requests at a time."""
    settings = DataverseSettings.model_validate({"url": "http://localhost:1"})
    channels = [
        Channel(
            DataverseClient(settings, NoSignIn(f"none-{n}"), transport=fake.transport()),
            Pacer(ServiceLimits(), start=start),
        )
        for n, fake in enumerate(fakes)
    ]
    return Pool(channels, metrics or Metrics(), api_path="/api/data/v9.2/", clock=clock)


class SureFacts(Facts):
    """Clears everything, unless told otherwise; counts how often it was asked to doubt."""

    def __init__(self, pool: Pool, verdict: Cleared | Blocked | None = None) -> None:
        super().__init__(pool, metadata_ttl_s=60, owner_ttl_s=60)
        self.answer: Cleared | Blocked | Exception = verdict or Cleared({})
        self.doubts = 0

    def cached_verdict(self, plan: PlannedWriteback) -> Cleared | None:
        return self.answer if isinstance(self.answer, Cleared) else None

    async def verdict(self, plan: PlannedWriteback, *, suspect: bool = False) -> Cleared | Blocked:
        self.doubts += suspect
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def make_record(offset: int = 0, partition: int = 0, **overrides: Any) -> Taken:
    given: dict[str, Any] = {
        "partition": partition, "epoch": 1, "offset": offset, "key": b"sess", "value": b"plan", "headers": [],
        "timestamp_ms": round(NOON.timestamp() * 1000),
    }  # fmt: skip
    return Taken(**given | overrides)


def make_work(plan: PlannedWriteback, offset: int = 0, **record: Any) -> Work:
    work = Work(plan, make_record(offset, **record), epoch=1)
    work.cleared = Cleared({})
    return work


def telling(work: Work) -> Telling:
    return Telling(
        plan=work.plan, position=PlanPosition(partition=0, offset=work.offset, digest=work.plan.digest), attempts=1,
        settled_at=NOON, written_by="test",
    )  # fmt: skip


class Tasks:
    """What was spawned, and what an emitter told of."""

    def __init__(self) -> None:
        self.rounds: list[Round] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, duty: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(duty))

    async def ended(self) -> None:
        """Until all have; raises what they raised."""
        while self._tasks:
            done, self._tasks = self._tasks, set()
            await asyncio.gather(*done)

    @property
    def verdicts(self) -> dict[Work, Verdict]:
        return {work: verdict for one in self.rounds for work, verdict in one.verdicts.items()}


@dataclass
class Published:
    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass
class FakeIndex:
    """What is known of settled sessions; `read` off: the results are still being read."""

    known: dict[str, Settled] = field(default_factory=dict)
    read: bool = True

    def of(self, partition: int) -> History | None:
        return _Known(self.known) if self.read else None

    def published(self, partition: int, session_id: str, settled: Settled | None) -> None:
        if settled is not None:
            self.known[session_id] = settled


@dataclass
class _Known:
    known: dict[str, Settled]

    def of(self, session_id: str) -> Settled | None:
        return self.known.get(session_id)


@dataclass
class FakeOutbox:
    """Keeps what was published, in order; `refusal` is raised instead."""

    story: list[str] = field(default_factory=list)
    results: list[WritebackResult] = field(default_factory=list)
    before: list[Settled | None] = field(default_factory=list)
    again_offsets: int = 100
    refusal: Exception | None = None

    async def result(
        self, work: Work, result: WritebackResult, *, settles: bool, before: Settled | None = None
    ) -> None:
        if self.refusal:
            raise self.refusal
        self.story.append(f"result {result.status} {work.session_id}")
        self.results.append(result)
        self.before.append(before)

    async def again(self, work: Work, *, count: int, at: object) -> int:
        self.story.append(f"again {work.session_id} {count}")
        self.again_offsets += 1
        return self.again_offsets

    async def rejected(self, record: Taken, reasons: Sequence[object]) -> None:
        self.story.append(f"rejected {record.offset}")
