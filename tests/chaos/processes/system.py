"""A little system of its own: real planners and writers on a broker that it may share, with the simulator as the CRM.

It starts and stops processes, publishes outcomes and reads what comes of them. What happens to the processes is the
caller's: kills, zombies, long runs. At the end the audit judges three logs: what was published, what the CRM did, and
what was committed.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import httpx
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from ops.demo.waiting import HANGS_AFTER_S, wait_until
from runtime.rights import GroupNames
from schemas.codec import single_object
from schemas.records import CallOutcome, Disposition, PlannedWriteback, ResultStatus, WritebackResult
from schemas.topics import Topics
from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.chaos.processes.commits import Commit, commits_of
from tests.integration.planner.harness import AN_HOUR_AGO, planner_env
from tests.integration.writer.kit import QUEUE_ITEMS, Desk, baseline_of, seed_item, writer_env
from tests.proof.faults import CrashPoint
from tests.support.brokers.kafka import RealKafka
from tests.support.failpoints import COUNT, POINT, SIGNAL
from tests.support.forkserver import ForkServer
from tests.support.topics_checker import Logs, judged

_CODECS: dict[str, Any] = {
    "call-outcomes": single_object(CallOutcome), "planned-writebacks": single_object(PlannedWriteback),
    "writeback-results": single_object(WritebackResult),
}  # fmt: skip


@dataclass(frozen=True)
class Failpoint:
    """A process sends itself `number` when it reaches `point` for the `count`th time."""

    point: CrashPoint
    count: int = 1
    number: signal.Signals = signal.SIGKILL


@dataclass(frozen=True)
class Record:
    """A record of a topic. `seq`: when, in milliseconds of this machine."""

    topic: str
    partition: int
    offset: int
    key: str | None
    value: Any
    headers: Sequence[tuple[str, bytes]]
    seq: int


@dataclass
class Life:
    """One process from its start to its end."""

    pid: int
    log: Path
    began: float
    ready_at: float | None = None

    def has_written(self, text: str) -> bool:
        return self.log.exists() and text in self.log.read_text(errors="replace")

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


@dataclass
class Report:
    done: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    sessions: int = 0


@dataclass(frozen=True)
class Shape:
    """How large a system is, and how its processes are set up. `lines`: process to the broker's address for it, where
    that is not the usual one. `settings`: variables of the services that are not as usual; `compacted`: settings of the
    compacted topics.
    """

    processes: Sequence[str] = ("planner", "writer")
    partitions: int = 2
    items: int = 6
    protocol: str = "consumer"
    transactions: bool = True
    traffic_s: float = 0.25
    most_open: int = 16
    lines: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    compacted: Mapping[str, str] = field(default_factory=dict)


class ProcessSystem:
    """A context manager."""

    def __init__(self, forks: ForkServer, kafka: RealKafka, folder: Path, seed: int, shape: Shape = Shape()) -> None:
        self.forks, self.kafka, self.folder, self.shape = forks, kafka, folder, shape
        self.dice = random.Random(seed)
        self.report = Report()
        self.lives: dict[str, Life] = {}
        self.published: list[Record] = []
        self.outcomes: list[CallOutcome] = []
        self.open_sessions: set[str] = set()
        self._numbers = itertools.count()
        self._sent_at = 0.0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder.mkdir(parents=True)
            (tls := self.folder / "tls").mkdir()
            self.simulator: RunningSimulator = stack.enter_context(running_simulator(auth="entra", tls_dir=tls))
            self.desk = Desk(self.simulator)
            self.prefix = self.kafka.unique("system") + "."
            self.topics, self.groups = Topics().prefixed(self.prefix), GroupNames.usual(self.prefix)
            self._create_topics()
            self.items = [seed_item(self.simulator) for _ in range(self.shape.items)]
            quiet = {"bootstrap.servers": self.kafka.bootstrap, "log_level": 0}
            self.producer = Producer({**quiet, "partitioner": "murmur2_random"})
            self.reader = Consumer({**quiet, "group.id": f"{self.prefix}audit", "enable.auto.commit": False})
            stack.callback(self.reader.close)
            self.reader.assign([
                TopicPartition(self.prefix + name, partition, OFFSET_BEGINNING)
                for name in _CODECS for partition in range(self.shape.partitions)
            ])  # fmt: skip
            stack.callback(self._end_all)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _create_topics(self) -> None:
        results = self.topics.writeback_results.name
        for spec in self.topics.all():
            # I4 Without transactions a result has to be in the log before the commit. In a transaction both become
            # true together, and either may be appended first.
            on_arrival = spec.name == results and not self.shape.transactions
            stamped = {"message.timestamp.type": "LogAppendTime"} if on_arrival else {}
            cleaned = self.shape.compacted if spec.policy == "compact" else {}
            config = {**spec.creation_config(), **stamped, **cleaned}
            self.kafka.create_topic(spec.name, self.shape.partitions, config)

    # Processes

    def start(self, name: str, failpoint: Failpoint | None = None) -> Life:
        kind = name.partition("-")[0]
        bootstrap = self.shape.lines.get(name, self.kafka.bootstrap)
        env = self._planner_env(name, bootstrap) if kind == "planner" else self._writer_env(name, bootstrap)
        env |= {key: value for key, value in self.shape.settings.items() if key.startswith(kind.upper())}
        if failpoint:
            env |= {POINT: failpoint.point.value, COUNT: str(failpoint.count), SIGNAL: str(int(failpoint.number))}
        log = self.folder / f"{name}.{next(self._numbers)}.log"
        self.lives[name] = Life(self.forks.start(kind, env, log), log, time.monotonic())
        return self.lives[name]

    def stop(self, name: str) -> None:
        """SIGTERM. B2: it ends with 0."""
        if life := self.lives.pop(name, None):
            os.kill(life.pid, signal.SIGTERM)
            if code := self.wait(life):
                self.report.findings.append(f"I12 {name} ended with {code} after SIGTERM: {life.tail()}")

    def _end_all(self) -> None:
        for life in self.lives.values():
            if self.forks.ended(life.pid) is None:
                os.kill(life.pid, signal.SIGKILL)
                self.wait(life)

    def wait(self, life: Life) -> int:
        """Its exit status."""
        found: list[int] = []

        def ended() -> bool:
            if (code := self.forks.ended(life.pid)) is not None:
                found.append(code)
            return bool(found)

        wait_until(ended, what=f"{life.log.name} ends")
        return found[0]

    def _planner_env(self, name: str, bootstrap: str) -> dict[str, str]:
        return planner_env(
            bootstrap, checked=True, prefix=self.prefix, PLANNER_INSTANCE_ID=name,
            PLANNER_FOLLOW_EVERY_S="0.5", PLANNER_BATCH_WAIT_S="0.05",
        )  # fmt: skip

    def _writer_env(self, name: str, bootstrap: str) -> dict[str, str]:
        identity = {
            "kind": "client_secret", "tenant_id": tenant.TENANT_ID, "client_id": tenant.CLIENT_ID,
            "client_secret": tenant.CLIENT_SECRET,
        }  # fmt: skip
        return writer_env(
            self.simulator, bootstrap, WRITER_BROKER__TOPIC_PREFIX=self.prefix, WRITER_INSTANCE_ID=name,
            WRITER_TRANSACTIONS=str(self.shape.transactions).lower(),
            WRITER_IDENTITIES=json.dumps([identity]), WRITER_SIGN_IN__AUTHORITY=str(self.simulator.authority),
            WRITER_SIGN_IN__CA_FILE=str(self.simulator.ca_file), WRITER_SIGN_IN__PRIVATE_AUTHORITY="true",
            WRITER_CONSUMER__PROTOCOL=self.shape.protocol, WRITER_FLOW__MAX_PAUSE_S="1",
        )  # fmt: skip

    def is_ready(self, life: Life) -> bool:
        if life.ready_at is None and life.has_written(
            '"planner.ready"' if "planner" in life.log.name else '"partitions.assigned"'
        ):
            life.ready_at = time.monotonic()
        return life.ready_at is not None

    def control(self, name: str, body: Any) -> None:
        """The simulator's own control endpoint."""
        method = "PUT" if name == "applications" else "POST"
        httpx.request(method, f"{self.simulator.control_url}/{name}", json=body).raise_for_status()

    # Traffic and what comes of it

    def send(
        self, item: str, disposition: Disposition = Disposition.NO_ANSWER, *, edited: bool = False, waits: bool = True
    ) -> CallOutcome:
        """A new session. If it does not wait, the broker gets it when it can take it."""
        began = AN_HOUR_AGO + timedelta(seconds=len(self.outcomes))
        baseline = baseline_of(self.desk.row(item), captured_at=began)
        outcome = self.desk.outcome(
            item, disposition, baseline=baseline, started_at=began, ended_at=began + timedelta(milliseconds=500)
        )
        if edited:
            self.simulator.edit(QUEUE_ITEMS, item, {"medx_notes": f"by hand {len(self.outcomes)}"})
        self.outcomes.append(outcome)
        self.open_sessions.add(outcome.session_id)
        for _ in range(1 + (self.dice.random() < 0.1)):  # P1: some are published twice
            self._produce("call-outcomes", item, outcome)
        if waits:
            self.producer.flush(HANGS_AFTER_S)
        return outcome

    def send_again(self) -> None:
        """P1: everything that was published, once more."""
        for outcome in self.outcomes:
            self._produce("call-outcomes", outcome.queue_item_id, outcome)
        self.producer.flush(HANGS_AFTER_S)

    def append(self, topic: str, key: str, value: Any, *headers: tuple[str, bytes]) -> None:
        """A record of somebody else's, to the partition of its key."""
        self._produce(topic, key, value, headers)
        self.producer.flush(HANGS_AFTER_S)

    def _produce(self, topic: str, key: str, value: Any, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        encoded = _CODECS[topic].encode(value)
        self.producer.produce(self.prefix + topic, encoded, key.encode(), headers=list(headers))

    def traffic(self) -> None:
        """An outcome, if it is time for one and not too many are open."""
        now = time.monotonic()
        if now - self._sent_at > self.shape.traffic_s and len(self.open_sessions) < self.shape.most_open:
            self._sent_at = max(self._sent_at + self.shape.traffic_s, now - 1)  # a steady rate, within a second
            self.send(self.dice.choice(self.items), self.dice.choice(_DISPOSITIONS))

    def read(self, seconds: float = 0.05) -> None:
        for message in self.reader.consume(500, seconds):
            if message.error() is None:
                self._take(message)

    def _take(self, message: Any) -> None:
        topic, key = message.topic().removeprefix(self.prefix), message.key().decode()
        value = None if message.value() is None else _CODECS[topic].decode(message.value())
        headers = tuple(message.headers() or ())
        at = message.timestamp()[1]
        self.published.append(Record(topic, message.partition(), message.offset(), key, value, headers, at))
        if isinstance(value, WritebackResult) and value.status is not ResultStatus.RESUME_NEEDED:
            self.open_sessions.discard(key)

    # The end

    def settle(self, *, what: str) -> None:
        """Processes without failpoints settle whatever is open. I7: or it is said what waits."""
        for name in self.shape.processes:
            if name not in self.lives:
                self.start(name)
        if not self.outcomes:
            for item in self.items:
                self.send(item)
        self.settle_open(what=what)

    def settle_open(self, *, what: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """By the processes that run."""

        def settled() -> bool:
            self.read()
            meanwhile()
            return not self.open_sessions

        self._await(settled, what)

    def wait_for_commits(self, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        """I7 Lag 0: no group has a record before it."""

        def caught_up() -> bool:
            self.read()
            meanwhile()
            return not self._behind()

        self._await(caught_up, "all is committed")

    def _behind(self) -> list[str]:
        """Partitions with a record that its group has not committed."""
        groups = {"call-outcomes": self.groups.planner, "planned-writebacks": self.groups.writer}
        ends: dict[tuple[str, int], int] = {}
        for one in self.published:
            if one.topic in groups:
                ends[one.topic, one.partition] = max(one.offset, ends.get((one.topic, one.partition), 0))
        found = []
        for name, group in groups.items():
            committed = self.kafka.committed(group, self.prefix + name)
            found += [
                f"{name}/{partition} has {end}, committed {committed.get(partition)}"
                for (topic, partition), end in ends.items()
                if topic == name and (partition not in committed or committed[partition].offset <= end)
            ]
        return found

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        try:
            wait_until(condition, what=what)
        except AssertionError as error:
            ended = {name: self.forks.ended(life.pid) for name, life in self.lives.items()}
            tails = "".join(f"\n--- {name}\n{life.tail()}" for name, life in self.lives.items())
            waiting = f"open: {sorted(self.open_sessions)}; behind: {self._behind()}; ended: {ended}"
            self.report.findings.append(f"I7 {error}; {waiting}{tails}")

    def audit(self) -> None:
        """Everything is said that is wrong."""
        for name in list(self.lives):
            self.stop(name)
        self.read(0.5)
        self.report.sessions = len(self.outcomes)
        operations = self.simulator.oplog()
        edits = {e["id"]: e["seq"] for e in operations if e["actor"] == "person" and e["operation"] != "create"}
        assert len(edits) <= len(self.outcomes)
        groups = {self.groups.planner: "planner", self.groups.writer: "writer"}
        commits = [Commit(c.seq, groups[c.group], c.partition, c.offset) for c in commits_of(self.kafka, groups)]
        if not {"planner", "writer"} <= {one.group for one in commits}:
            self.report.findings.append("the commits of the groups were not found")
        self.report.findings += judged(
            Logs(sorted(self.published, key=lambda one: (one.partition, one.offset)), operations, commits)
        )
        self.report.findings += self._final_twice() + self._miscounted()

    def _final_twice(self) -> list[str]:
        """W2 A session has one final result: with transactions, no fault makes it two. Without, the same may be said
        again, and of a session that landed nothing else is said.
        """
        final: dict[str, list[WritebackResult]] = defaultdict(list)
        for one in self.published:
            if isinstance(one.value, WritebackResult) and one.value.status is not ResultStatus.RESUME_NEEDED:
                final[one.value.session_id].append(one.value)
        if self.shape.transactions:
            return [f"W2 {session} has {len(all_)} final results" for session, all_ in final.items() if len(all_) > 1]
        said = {session: {str(each.status) for each in all_} for session, all_ in final.items()}
        return [f"W2 {session} ended in {', '.join(sorted(all_))}" for session, all_ in said.items() if len(all_) > 1]

    def _miscounted(self) -> list[str]:
        """The model: without anybody else at the row, each call is counted, and the last one is the row's."""
        found = []
        for item in self.items:
            of_item = [one for one in self.outcomes if one.queue_item_id == item]
            row, wanted = self.desk.row(item), (len(of_item), of_item[-1].session_id)
            if (row["medx_attemptcount"], row["medx_lastsessionid"]) != wanted:
                has = (row["medx_attemptcount"], row["medx_lastsessionid"])
                found.append(f"I1 queue item {item} holds {has}; a pure model says {wanted}")
        return found


_DISPOSITIONS = (Disposition.NO_ANSWER, Disposition.VOICEMAIL, Disposition.CALL_BACK_LATER)
