"""Parts of the writer around a fake Dataverse, for unit tests; and the engine alone, with a world that the test holds.

`World` performs the engine's effects without a broker, a socket or a clock: time passes when the test says so, and the
test may hold back requests and acknowledgements.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx2
from opentelemetry.trace import Tracer

from schemas.headers import Reason
from schemas.records import PlannedWriteback, PlanPosition, WritebackResult
from tests.contract.writer.fake_dataverse import FakeDataverse
from tests.support.engine_shell import EngineShell
from tests.support.factories import NOON
from writer.core import messages
from writer.core.assignment import AssignedPartition, Assignment, ConsumerRecord, OffsetAndMetadata
from writer.core.attempt import (
    Around,
    PlanInFlight,
    Recheck,
    Verdict,
    first_step,
    lacking,
    next_step,
    parts_of,
)
from writer.core.batch import encode
from writer.core.engine import Engine, Options
from writer.core.exchanges import Exchange, Part, exchange_of, same_for_all, unencodable
from writer.core.flow import Signature
from writer.core.gate import Blocked, Cleared
from writer.core.history import History, Settled
from writer.core.identities import Identities, Identity
from writer.core.lanes import Window, WindowLimits
from writer.core.messages import Input, Now
from writer.core.pacing import Pacer, ServiceLimits
from writer.core.publishing import CopyOf, Fence, Publication, RejectionOf, ResultOf
from writer.core.replies import Judgement, lost, never_sent
from writer.core.reports import Count, Log, Observe, Report, Show
from writer.core.results import ResultContext
from writer.dataverse.client import DataverseClient
from writer.dataverse.identity import NoSignIn
from writer.dataverse.metadata_cache import MetadataCache
from writer.dataverse.pool import Channel, Pool
from writer.errors import MetadataUnavailable
from writer.metrics import Metrics
from writer.settings import DataverseSettings


def make_pool(
    *fakes: FakeDataverse,
    metrics: Metrics | None = None,
    start: int = 4,
    clock: Callable[[], float] = time.monotonic,
    tracer: Tracer | None = None,
) -> Pool:
    """`start` requests at a time."""
    settings = DataverseSettings.model_validate({"url": "http://localhost:1"})
    channels = [
        Channel(
            DataverseClient(settings, NoSignIn(f"none-{n}"), transport=fake.transport(), tracer=tracer),
            Pacer(ServiceLimits(), start=start),
        )
        for n, fake in enumerate(fakes)
    ]
    return Pool(channels, metrics or Metrics(), api_path="/api/data/v9.2/", clock=clock)


class SureFacts(MetadataCache):
    """Clears everything, unless it is given another answer; counts how often it was asked to doubt."""

    def __init__(self, pool: Any = None, verdict: Cleared | Blocked | None = None) -> None:
        super().__init__(pool, metadata_ttl_s=60, owner_ttl_s=60)
        self.answer: Cleared | Blocked | Judgement = verdict or Cleared({})
        self.doubts = 0

    def cached_verdict(self, plan: PlannedWriteback) -> Cleared | None:
        return self.answer if isinstance(self.answer, Cleared) else None

    async def verdict(self, plan: PlannedWriteback, *, suspect: bool = False) -> Cleared | Blocked:
        answer = self.answered(anew=suspect)
        if isinstance(answer, Judgement):
            raise MetadataUnavailable(answer)
        return answer

    def answered(self, *, anew: bool) -> Cleared | Blocked | Judgement:
        self.doubts += anew
        return self.answer


def make_record(offset: int = 0, partition: int = 0, **overrides: Any) -> ConsumerRecord:
    given: dict[str, Any] = {
        "partition": partition, "epoch": 1, "offset": offset, "key": b"sess", "value": b"plan", "headers": [],
        "timestamp_ms": round(NOON.timestamp() * 1000),
    }  # fmt: skip
    return ConsumerRecord(**given | overrides)


def make_assignment(partition: int = 0) -> Assignment:
    return Assignment(AssignedPartition(partition, 1, None), Window(WindowLimits()), 0.0)


def make_in_flight(plan: PlannedWriteback, offset: int = 0, **record: Any) -> PlanInFlight:
    one = PlanInFlight(plan, make_record(offset, **record), make_assignment())
    one.cleared = Cleared({})
    return one


def telling(one: PlanInFlight) -> ResultContext:
    return ResultContext(
        plan=one.plan, position=PlanPosition(partition=0, offset=one.record.offset, digest=one.plan.digest), attempts=1,
        settled_at=NOON, written_by="test", warnings=one.cleared.warnings if one.cleared else (),
    )  # fmt: skip


@dataclass
class FakeIndex:
    """What is known of settled sessions; `read` off: the results are still being read."""

    known: dict[str, Settled] = field(default_factory=dict)
    read: bool = True
    first: dict[str, datetime] = field(default_factory=dict)

    def of(self, partition: int) -> History | None:
        return _Known(self.known) if self.read else None

    def first_settled_at(self, partition: int, session_id: str) -> datetime | None:
        return self.first.get(session_id) if self.read else None

    def published(self, partition: int, session_id: str, settled: Settled | None, first_at: datetime | None) -> None:
        if settled is not None:
            self.known[session_id] = settled
            self.first.setdefault(session_id, first_at or NOON)


@dataclass
class _Known:
    known: dict[str, Settled]

    def of(self, session_id: str) -> Settled | None:
        return self.known.get(session_id)


def exchange_with(crm: FakeDataverse, parts: Sequence[Part], seconds: float = 0.0) -> Exchange:
    """One `$batch`, as the client would send it, without a client."""
    try:
        content_type, body = encode(parts, boundary="batch_1")
    except ValueError:
        return unencodable(parts)
    request = httpx2.Request(
        "POST", "http://localhost/api/data/v9.2/$batch", headers={"content-type": content_type}, content=body
    )
    try:
        reply = crm._answer(request)
    except (httpx2.ConnectError, httpx2.ConnectTimeout):
        return same_for_all(parts, never_sent(), seconds)
    except httpx2.HTTPError:
        return same_for_all(parts, lost(), seconds)
    headers = {name.lower(): value for name, value in reply.headers.multi_items()}
    return exchange_of(parts, reply.status_code, headers, reply.content, seconds=seconds, now=NOON.timestamp())


async def attempt(
    pool: Pool, facts: MetadataCache, one: PlanInFlight, known: dict[str, Settled] | None = None
) -> Verdict:
    """One attempt of one plan through a real pool; without lanes and waiting."""

    def around() -> Around:
        return Around(facts, _Known({}), telling(one), time.monotonic())

    step = first_step(one, around())
    while not isinstance(step, Verdict):
        if isinstance(step, Recheck):
            one.rechecked = True
            verdict = await facts.verdict(one.plan, suspect=True)
            if isinstance(verdict, Blocked):
                step = lacking(one, verdict.gaps, around())
            else:
                one.clear(verdict)
                step = first_step(one, around())
            continue
        exchange = await pool.exchange(parts_of(step, facts), operation="write")
        step = next_step(one, step, exchange.parts, around(), shared=False)
    return step


AT_THE_START = OffsetAndMetadata(0, "wb2:0:")


class World(EngineShell):
    """Everything around one engine. Partitions are ours once they are assigned; records have the plans they stand for.

    `hold_requests` and `hold_batches`: they wait until `answer` and `acknowledge`.
    """

    def __init__(
        self,
        crm: FakeDataverse | None = None,
        *,
        write: bool = True,
        start: int = 4,
        identities: int = 1,
        limits: ServiceLimits | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.crm = crm or FakeDataverse()
        self.metadata = SureFacts()
        self.index = FakeIndex()
        self.now = Now(1_000.0, NOON)
        self.identities = Identities(
            [Identity(f"none-{n}", Pacer(limits or ServiceLimits(), start=start)) for n in range(identities)]
        )
        self.options = Options(**options)
        self.signature = Signature("test", write)
        self.engine = self.an_engine()
        self.plans: dict[tuple[int, int], PlannedWriteback | Sequence[Reason] | messages.Unreadable] = {}
        self.epochs: dict[int, int] = {}
        self.epoch = 0
        self.inbox: list[Input] = []
        self.wake_at = math.inf
        self.hold_requests = self.hold_batches = self.hold_verifying = False
        self.instead: Callable[[messages.Send], Exchange | None] = lambda _: None
        """Answers a request in the CRM's stead."""
        self.requests: list[messages.Send] = []
        """All that were sent."""
        self.open_requests: list[messages.Send] = []
        self.open_batches: list[messages.Publish] = []
        self.batches: list[messages.Publish] = []
        self.verifying: list[messages.Verify] = []
        self.decoded: list[ConsumerRecord] = []
        self.published: list[Publication] = []
        self.next_offset = 100
        """That of the next copy."""
        self.too_large: Callable[[Publication], bool] = lambda _: False
        self.endings: list[messages.NotPublished] = []
        """What becomes of the next batches; after that all are acknowledged."""
        self.committed: dict[int, OffsetAndMetadata] = {}
        self.commits: list[dict[int, OffsetAndMetadata]] = []
        """The positions of each batch, taken or not."""
        self.refuses: set[int] = set()
        """Partitions whose position the broker does not take; their records it takes."""
        self.paused: set[int] = set()
        self.released: list[tuple[int, ...]] = []
        self.results_wanted: list[int] = []
        self.results_forgotten: list[int] = []
        self.failure: str | None = None
        self.stopped = False
        self.ended: list[str] = []
        self.logs: list[Log] = []
        self.counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.observed: list[Observe] = []
        self.shown: dict[tuple[str, tuple[str, ...]], float] = {}

    def an_engine(self) -> Engine:
        return Engine(self.identities, self.metadata, self.index, self.signature, self.options)

    # What the test does.

    def assign(self, *partitions: int, committed: OffsetAndMetadata | None = AT_THE_START, end: int | None = 0) -> None:
        """`end`: where the broker says at once that their logs end; None if it says nothing."""
        assigned = []
        for partition in partitions:
            self.epoch += 1
            self.epochs[partition] = self.epoch
            assigned.append(AssignedPartition(partition, self.epoch, committed))
        self.tell(messages.AssignedPartitions(assigned))
        if end is not None:
            self.tell(messages.EndOffsets(dict.fromkeys(partitions, end), self.now.utc.timestamp()))

    def record(self, offset: int, partition: int = 0, **overrides: Any) -> ConsumerRecord:
        return make_record(offset, partition, **{"epoch": self.epochs.get(partition, 0), **overrides})

    def arrive(
        self, *plans: PlannedWriteback | Sequence[Reason], offset: int = 0, partition: int = 0, **record: Any
    ) -> None:
        """At offsets that rise from `offset`."""
        records = []
        for number, plan in enumerate(plans, offset):
            self.plans[partition, number] = plan
            key = plan.session_id.encode() if isinstance(plan, PlannedWriteback) else b"junk"
            records.append(self.record(number, partition, **{"key": key, **record}))
        self.tell(messages.Received(records))

    def tell(self, *happened: Input) -> None:
        self.inbox += happened
        self.run()

    def run(self) -> None:
        """Until nothing is left to do at this time."""
        for _ in range(100_000):
            if self.inbox:
                self.perform_all(self.engine.handle(self.inbox.pop(0), self.now))
                continue
            effects = self.engine.turn(self.now, Fence("generation", dict(self.epochs)))
            self.perform_all(effects)
            if not self.inbox and len(effects) == 1 and self.wake_at > self.now.s:
                return
            if not self.inbox and len(effects) == 1:
                self._pass(0.001)
        raise AssertionError("it never comes to rest")

    def _pass(self, seconds: float) -> None:
        self.now = Now(self.now.s + seconds, self.now.utc + timedelta(seconds=seconds))

    def wait(self, seconds: float) -> None:
        """Lets time pass, with everything that is due meanwhile."""
        until = self.now.s + seconds
        while self.now.s < until:
            self._pass(max(0.0, min(self.wake_at, until) - self.now.s))
            self.run()

    def answer(self, exchange: Callable[[messages.Send], Exchange] | None = None, *, first: int = 1000) -> None:
        """The requests that were held back."""
        held, self.open_requests = self.open_requests[:first], self.open_requests[first:]
        for send in held:
            answered = exchange(send) if exchange else self._answered(send)
            self.inbox.append(messages.Replied(send.number, answered))
        self.run()

    def _answered(self, send: messages.Send) -> Exchange:
        return self.instead(send) or exchange_with(self.crm, send.parts)

    def acknowledge(self) -> None:
        """The batch that was held back."""
        self._end(self.open_batches.pop(0))
        self.run()

    # What came of it.

    @property
    def results(self) -> list[WritebackResult]:
        return [one.result for one in self.published if isinstance(one, ResultOf)]

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return [(result.session_id, str(result.status)) for result in self.results]

    @property
    def story(self) -> list[str]:
        return [_told(one) for one in self.published]

    def frontier(self, partition: int = 0) -> int:
        at = self.committed.get(partition)
        return 0 if at is None else at.offset

    def events(self) -> list[str]:
        return [line.event for line in self.logs]

    def sessions_of(self, send: messages.Send) -> list[str]:
        request, _ = self.engine._sent[send.number]
        return [plan.session_id for plan in request.plans]

    # What the shell does.

    def on_decode(self, effect: messages.Decode) -> None:
        record = effect.record
        self.decoded.append(record)
        plan = self.plans[record.partition, record.offset]
        self.inbox.append(plan if isinstance(plan, messages.Unreadable) else messages.Decoded(record, plan))

    def on_read_results(self, effect: messages.ReadResults) -> None:
        self.results_wanted += effect.epochs

    def on_forget_results(self, effect: messages.ForgetResults) -> None:
        self.results_forgotten += effect.partitions

    def on_verify(self, effect: messages.Verify) -> None:
        self.verifying.append(effect)
        if not self.hold_verifying:
            self.inbox.append(messages.Verified(effect.plan, self.metadata.answered(anew=effect.anew)))

    def on_publish(self, effect: messages.Publish) -> None:
        self.batches.append(effect)
        if self.hold_batches:
            self.open_batches.append(effect)
        else:
            self._end(effect)

    def on_pause(self, effect: messages.Pause) -> None:
        self.paused = set(effect.partitions)

    def on_released(self, effect: messages.Released) -> None:
        self.released.append(tuple(effect.partitions))
        for partition in effect.partitions:
            self.epochs.pop(partition, None)

    def on_fail(self, effect: messages.Fail) -> None:
        self.failure = effect.why

    def on_stopped(self, _: messages.Stopped) -> None:
        self.stopped = True

    def on_ended(self, effect: messages.Ended) -> None:
        self.ended.append(effect.outcome)

    def on_wake_at(self, effect: messages.WakeAt) -> None:
        self.wake_at = effect.at

    def on_report(self, effect: Report) -> None:
        match effect:
            case Log():
                self.logs.append(effect)
            case Count(metric, labels, amount):
                self.counts[metric, labels] += amount  # type: ignore[assignment]
            case Observe():
                self.observed.append(effect)
            case Show(metric, value, labels):
                self.shown[metric, labels] = value

    def on_send(self, send: messages.Send) -> None:
        self.requests.append(send)
        if self.hold_requests:
            self.open_requests.append(send)
        else:
            self.inbox.append(messages.Replied(send.number, self._answered(send)))

    def _end(self, batch: messages.Publish) -> None:
        if self.endings:
            self.inbox.append(self.endings.pop(0))
            return
        too_large = {number for number, one in enumerate(batch.publications) if self.too_large(one)}
        if too_large:
            self.inbox.append(messages.NotPublished("MSG_SIZE_TOO_LARGE", too_large))
            return
        offsets = []
        for one in batch.publications:
            self.published.append(one)
            offsets.append(self.next_offset)
            self.next_offset += isinstance(one, CopyOf)
        positions = {at.partition: OffsetAndMetadata(at.offset, at.metadata) for at in batch.positions}
        self.commits += [positions] if positions else []
        self.committed |= {partition: at for partition, at in positions.items() if partition not in self.refuses}
        self.inbox.append(messages.Published(offsets, {p: "NOT_COORDINATOR" for p in positions if p in self.refuses}))


def _told(one: Publication) -> str:
    match one:
        case ResultOf(plan, result):
            return f"result {result.status} {plan.session_id}"
        case CopyOf(plan, count):
            return f"copy {plan.session_id} {count}"
        case RejectionOf(record):
            return f"rejected {record.offset}"
