"""The whole system for a long run: a real Kafka with ACLs and a real registry, each behind a proxy; a simulator, a
planner, two writers and a mock call system. What ends by itself is started again, as a supervisor does.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx
from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from prometheus_client.parser import text_string_to_metric_families

from ops.demo.processes import Service, module
from runtime.connection import RegistrySettings
from runtime.registry import codec
from runtime.rights import GroupNames, Right, planner_rights, writer_rights
from schemas.codec import known_schemas, single_object
from schemas.records import CallOutcome, PlannedWriteback, ResultStatus, WritebackResult
from schemas.topics import Topics
from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.planner.harness import AN_HOUR_AGO, planner_env
from tests.integration.writer.kit import Desk, baseline_of, seed_item, writer_env
from tests.soak.judge import Appended, Reading, Snapshot
from tests.soak.proxy import Proxy
from tests.support.brokers.guarded import create_topics, new_user
from tests.support.brokers.kafka import RealKafka
from tests.support.brokers.servers import Kafka, ServerFailedError, registry_from_maven
from tests.support.checker import findings
from tests.support.ports import free_ports

PARTITIONS = 3
_PREFIXES = ("planner_", "writeback_")
_NOT_READ = ("_created", "_seconds_bucket", "_request_bucket", "_size_bucket")
_SLOW_BATCH_S = "900"
_STARTS = 4
_BROKER = {
    # As Kafka comes; the other tests have it much shorter, and a busy machine would lose members by it.
    "group.consumer.session.timeout.ms": "30000",
    "group.consumer.heartbeat.interval.ms": "2000",
}
_QUIET: dict[str, Any] = {"log_level": 0}


@dataclass
class Unit:
    """A process that is looked at, and kept alive while `wanted`."""

    name: str
    argv: list[str]
    env: dict[str, str]
    folder: Path
    port: int = 0
    """Another one for each life: what is free now may be taken before a unit starts for the first time."""
    wanted: bool = False
    service: Service = field(init=False)

    def __post_init__(self) -> None:
        self.service = self._made(self.argv)

    def start(self) -> None:
        self.start_as(self.argv)

    def start_as(self, argv: list[str]) -> None:
        """Another program with the same settings and the same log."""
        (self.port,) = free_ports(1)
        self.wanted, self.service = True, self._made(argv)
        self.service.start()

    def stop(self) -> None:
        self.wanted = False
        if self.service.is_running:
            self.service.stop()

    def kill(self) -> None:
        self.wanted = False
        self.service.kill()

    def ended(self) -> int | None:
        """The exit code of one that should run; None while it does."""
        return self.service.wait() if self.wanted and not self.service.is_running else None

    def read(self, client: httpx.Client) -> Reading:
        at = time.time()
        try:
            answer = client.get(f"http://127.0.0.1:{self.port}/metrics")
            ready = client.get(f"http://127.0.0.1:{self.port}/ready").is_success
        except httpx.HTTPError:
            return Reading(self.name, at, time.time())
        values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name.startswith(_PREFIXES) and not sample.name.endswith(_NOT_READ)
        }
        return Reading(self.name, at, time.time(), values, ready)

    def _made(self, argv: list[str]) -> Service:
        port = {f"{self.kind.upper()}_ENDPOINT_PORT": str(self.port)}
        return Service(argv, env=self.env | port, output=self.folder / f"{self.name}.log")

    @property
    def kind(self) -> str:
        return "planner" if self.name.startswith("planner") else "writer"


class System:
    """A context manager; `folder` receives logs and data. For the main thread only: what it starts dies with that."""

    def __init__(self, folder: Path, *, items: int, rate: float) -> None:
        self.folder = folder
        self._items, self._rate = items, rate
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start_servers(stack)
            self._make_units()
            stack.callback(self._end_units)
            for unit in (self.planner, *self.writers):
                unit.start()
            self._client = stack.enter_context(httpx.Client(timeout=10))
            self._producer = Producer({"bootstrap.servers": self.bootstrap, "partitioner": "murmur2_random", **_QUIET})
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    # What there is

    def _start_servers(self, stack: ExitStack) -> None:
        port, registry_port = free_ports(2)
        (work := self.folder / "kafka").mkdir(parents=True)
        self.kafka = Kafka(work, behind=port, more=_BROKER)
        self.start_kafka()
        stack.callback(self.kafka.kill)
        stack.callback(self.kafka.thaw)
        self.bootstrap = self.kafka.bootstrap
        self.broker_line = Proxy(port, self.kafka.secure_port)
        stack.callback(self.broker_line.close)
        facts = _patiently(stack, self.folder)
        self._registry_url = str(facts["url"])
        registry_at = httpx.URL(self._registry_url)
        self.registry_line = Proxy(registry_port, registry_at.port or 0)
        stack.callback(self.registry_line.close)
        self.registry_url = str(registry_at.copy_with(port=registry_port))
        (tls := self.folder / "tls").mkdir()
        self.simulator: RunningSimulator = stack.enter_context(running_simulator(auth="entra", tls_dir=tls))
        self.desk = Desk(self.simulator)

    def start_kafka(self) -> None:
        for attempt in range(1, _STARTS + 1):
            try:
                self.kafka.start()
            except ServerFailedError:
                if attempt == _STARTS:
                    raise
            else:
                return

    def _make_units(self) -> None:
        real = RealKafka(self.bootstrap, self.kafka.secure, source="soak")
        self.prefix = create_topics(real, PARTITIONS)
        topics, groups = Topics().prefixed(self.prefix), GroupNames.usual(self.prefix)
        self.topics, self.groups = topics, groups

        def signed(prefix: str, rights: tuple[Right, ...]) -> dict[str, str]:
            return new_user(real, self.folder, rights).environment(prefix)

        writing = signed("WRITER_", writer_rights(topics, groups.writer, write=True))
        dry = signed("WRITER_", writer_rights(topics, groups.dry_run, write=False))
        self.planner = self._unit("planner-0", planner_env(
            self.bootstrap, checked=True, prefix=self.prefix,
            **signed("PLANNER_", planner_rights(topics, groups.planner)),
            PLANNER_REGISTRY__URL=self.registry_url, PLANNER_SESSION_TIMEOUT_S="30", PLANNER_HEARTBEAT_INTERVAL_S="3",
        ))  # fmt: skip
        self.writers = [self._unit(f"writer-{number}", self._writer_env(writing, write=True)) for number in range(2)]
        self.spare = self._unit("writer-2", self._writer_env(writing, write=True))
        self.dry = self._unit("writer-dry", self._writer_env(dry, write=False))
        self.units = [self.planner, *self.writers, self.spare, self.dry]
        self.calls: Service | None = None
        self.calls_wanted = False
        self._called = False

    def _unit(self, name: str, env: dict[str, str]) -> Unit:
        kind = "planner" if name.startswith("planner") else "writer"
        return Unit(name, module(kind), env | {f"{kind.upper()}_INSTANCE_ID": name}, self.folder)

    def _writer_env(self, broker: dict[str, str], *, write: bool) -> dict[str, str]:
        identity = {
            "kind": "client_secret", "tenant_id": tenant.TENANT_ID, "client_id": tenant.CLIENT_ID,
            "client_secret": tenant.CLIENT_SECRET,
        }  # fmt: skip
        return writer_env(
            self.simulator, self.bootstrap,
            WRITER_WRITE=str(write).lower(),
            WRITER_TRANSACTIONS="true",
            WRITER_BROKER__TOPIC_PREFIX=self.prefix,
            WRITER_IDENTITIES=json.dumps([identity]),
            WRITER_SIGN_IN__AUTHORITY=str(self.simulator.authority),
            WRITER_SIGN_IN__CA_FILE=str(self.simulator.ca_file),
            WRITER_SIGN_IN__PRIVATE_AUTHORITY="true",
            WRITER_REGISTRY__URL=self.registry_url,
            WRITER_DATAVERSE__READ_TIMEOUT_S="130",
            WRITER_CONSUMER__SESSION_TIMEOUT_MS="30000",
            WRITER_CONSUMER__HEARTBEAT_INTERVAL_MS="3000",
            WRITER_FLOW__BACK_OF_TOPIC_S="1",
            WRITER_FLOW__MAX_PAUSE_S="5",
            **broker,
        )  # fmt: skip

    def _end_units(self) -> None:
        for unit in self.units:
            unit.kill()
        if self.calls:
            self.calls.kill()

    # Keeping it going, and looking at it

    def tend(self) -> list[str]:
        """Starts again what has ended; what it was, with its exit code."""
        ended = []
        for unit in self.units:
            if (code := unit.ended()) is not None:
                ended.append(f"{unit.name} ended with {code}")
                unit.start()
        if self.calls_wanted and (self.calls is None or not self.calls.is_running):
            self._start_calls()
        return ended

    def traffic(self, *, on: bool) -> None:
        if on == self.calls_wanted:
            return
        self.calls_wanted = on
        if self.calls and self.calls.is_running:
            (self.calls.resume if on else self.calls.pause)()

    def _start_calls(self) -> None:
        """Its token may have been made void; and a broker that was away for long ends it."""
        try:
            token = self._token()
        except httpx.HTTPError:
            return
        arguments = [
            "--bootstrap", self.bootstrap, "--crm-url", self.simulator.base_url, "--token", token,
            "--topic-prefix", self.prefix, "--schema-registry", self._registry_url, "--items", str(self._items),
            "--rate", str(self._rate), "--at-once", "8", "--patience", "100000",
            "--no-fill-queue" if self._called else "--fill-queue",
        ]  # fmt: skip
        self.calls = Service(module("simulator", "calls", *arguments), env={}, output=self.folder / "calls.log")
        self.calls.start()
        self._called = self._called or len(self.simulator.rows("medx_callqueueitems")) >= self._items

    def _token(self) -> str:
        form = {
            "grant_type": "client_credentials", "client_id": tenant.CALL_SYSTEM_CLIENT_ID,
            "client_secret": tenant.CLIENT_SECRET, "scope": f"{self.simulator.base_url}/.default",
        }  # fmt: skip
        url = f"{self.simulator.authority}/{tenant.TENANT_ID}/oauth2/v2.0/token"
        with httpx.Client(verify=str(self.simulator.ca_file), timeout=30) as client:
            return str(client.post(url, data=form).raise_for_status().json()["access_token"])

    def look(self) -> Snapshot:
        return Snapshot(time.time(), tuple(unit.read(self._client) for unit in self.units if unit.wanted))

    # What can be broken

    def control(self, name: str, body: Any) -> None:
        method = "PUT" if name in ("applications", "privileges") else "POST"
        self._client.request(method, f"{self.simulator.control_url}/{name}", json=body).raise_for_status()

    def stick_planner(self) -> None:
        """It lives, and holds its first batch for longer than anybody waits."""
        self.planner.stop()
        self.planner.start_as(module("tests.broker.planner.slow", _SLOW_BATCH_S))

    def free_planner(self) -> None:
        self.planner.kill()
        self.planner.start_as(module("planner"))

    def publish(self, item: str, value: bytes) -> None:
        self._producer.produce(self.topics.call_outcomes.name, value, item.encode())
        self._producer.flush(60)

    def outcome(self) -> CallOutcome:
        """Of a queue item of its own."""
        item = seed_item(self.simulator)
        baseline = baseline_of(self.desk.row(item), captured_at=AN_HOUR_AGO)
        return self.desk.outcome(
            item, started_at=AN_HOUR_AGO, ended_at=AN_HOUR_AGO + timedelta(minutes=3), baseline=baseline
        )

    def in_an_older_schema(self, outcome: CallOutcome) -> bytes:
        """As a call system sends it that nobody has upgraded: the registry has to be asked what it says."""
        older = json.loads(known_schemas("call_outcome").text)
        older["fields"] = [each for each in older["fields"] if each["name"] != "warnings"]
        client = SchemaRegistryClient({"url": self._registry_url})
        schema_id = client.register_schema(f"{self.topics.call_outcomes.name}-value", Schema(json.dumps(older), "AVRO"))
        body = single_object(CallOutcome).encode(outcome)[10:]
        return b"\0" + schema_id.to_bytes(4, "big") + body[:-1]

    def in_todays_schema(self, outcome: CallOutcome) -> bytes:
        return single_object(CallOutcome).encode(outcome)

    @contextlib.contextmanager
    def members(self, *, come_and_go: bool = False) -> Iterator[None]:
        """Another member of the writers' group, which takes a partition and does nothing with it; or one that comes and
        goes all the time."""
        stop, joined = threading.Event(), threading.Event()

        def once() -> None:
            consumer = Consumer({
                "bootstrap.servers": self.bootstrap, "group.id": self.groups.writer, "group.protocol": "consumer",
                "enable.auto.commit": False, "auto.offset.reset": "earliest", **_QUIET,
            })  # fmt: skip
            consumer.subscribe([self.topics.planned_writebacks.name])
            try:
                while not stop.is_set():
                    consumer.poll(0.2)
                    if consumer.assignment():
                        joined.set()
                        if come_and_go:
                            return
            finally:
                consumer.close()

        def live() -> None:
            once()
            while come_and_go and not stop.wait(0.5):
                once()

        thread = threading.Thread(target=live, name="member", daemon=True)
        thread.start()
        try:
            joined.wait(60)
            yield
        finally:
            stop.set()
            thread.join(60)

    # The end

    def log_lines(self) -> Iterator[tuple[str, dict[str, Any] | str, float]]:
        for unit in self.units:
            for line in unit.service.lines():
                try:
                    event = json.loads(line)
                    yield unit.name, event, datetime.fromisoformat(event["timestamp"]).timestamp()
                except (ValueError, KeyError, TypeError):
                    yield unit.name, line, 0.0

    def final_facts(self) -> Facts:
        """What the topics and the simulator's log say; no service is asked."""
        real = RealKafka(self.bootstrap, None, source="soak")
        registry = RegistrySettings.model_validate({"url": self._registry_url})
        plan_codec = codec(PlannedWriteback, self.topics.planned_writebacks.name, registry)
        result_codec = codec(WritebackResult, self.topics.writeback_results.name, registry)
        planned = real.records(self.topics.planned_writebacks.name)
        told = real.records(self.topics.writeback_results.name)
        outcomes = real.records(self.topics.call_outcomes.name)
        plans = [plan_codec.decode(each.value() or b"") for each in planned]
        results = [result_codec.decode(each.value() or b"") for each in told]
        first: dict[str, PlannedWriteback] = {}
        for plan in plans:
            first.setdefault(plan.session_id, plan)
        log = [e for e in self.simulator.oplog() if e["user"] != tenant.CALL_SYSTEM_USER]
        return Facts(
            unplanned=_unread(outcomes, real.committed(self.groups.planner, self.topics.call_outcomes.name)),
            unwritten=_unread(planned, real.committed(self.groups.writer, self.topics.planned_writebacks.name)),
            outcomes=len(outcomes),
            plans=len(first),
            results={status: sum(each.status == status for each in results) for status in ResultStatus},
            audit=findings(log, list(first.values()), results),
            appended=_appended(planned, told, results),
        )


@dataclass(frozen=True)
class Facts:
    unplanned: int
    unwritten: int
    outcomes: int
    plans: int
    results: dict[ResultStatus, int]
    audit: list[str]
    appended: list[Appended]


def _unread(records: list[Any], committed: dict[int, Any]) -> int:
    """Records, and not marks of transactions, behind what a group has committed."""
    offsets = {partition: part.offset for partition, part in committed.items()}
    return sum(each.offset() >= offsets.get(each.partition(), 0) for each in records)


def _appended(planned: list[Any], told: list[Any], results: list[WritebackResult]) -> list[Appended]:
    final: dict[str, float] = {}
    for record, result in zip(told, results, strict=True):
        if result.status is not ResultStatus.RESUME_NEEDED:
            final.setdefault(result.session_id, record.timestamp()[1] / 1000)
    copies: dict[str, list[float]] = {}
    for record in planned:
        copies.setdefault(record.key().decode(), []).append(record.timestamp()[1] / 1000)
    return [
        Appended(session, at, min(final.get(session, float("inf")), following))
        for session, times in copies.items()
        for at, following in zip(times, [*times[1:], float("inf")], strict=True)
    ]


def _patiently(stack: ExitStack, folder: Path) -> dict[str, object]:
    """A registry that did not start in a minute is tried again."""
    for attempt in range(1, _STARTS + 1):
        (work := folder / f"registry-{attempt}").mkdir()
        try:
            return stack.enter_context(registry_from_maven(work))
        except ServerFailedError:
            if attempt == _STARTS:
                raise
    raise AssertionError
