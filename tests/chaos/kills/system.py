"""A little system of its own on a shared broker: a planner and two writers, killed and started again as a list says.

Outcomes come in all the while. What died is started again at once, with the next crash point armed. When all have been
killed, a planner and a writer without failpoints settle what is left, and the audit judges three logs: what was
published, what the CRM did, and what was committed.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from ops.demo.waiting import HANGS_AFTER_S, wait_until
from runtime.rights import GroupNames
from schemas.codec import single_object
from schemas.records import CallOutcome, Disposition, PlannedWriteback, ResultStatus, WritebackResult
from schemas.topics import Topics
from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.chaos.kills.commits import Commit, commits_of
from tests.integration.planner.harness import AN_HOUR_AGO, planner_env
from tests.integration.writer.kit import QUEUE_ITEMS, Desk, baseline_of, seed_item, writer_env
from tests.proof.faults import CrashPoint
from tests.support.brokers.kafka import RealKafka
from tests.support.failpoints import COUNT, POINT, SIGNAL
from tests.support.forkserver import ForkServer
from tests.support.topics_checker import Logs, judged

PARTITIONS, ITEMS = 2, 6
_TRAFFIC_S = 0.25
_MOST_OPEN = 16
_ONCE = {CrashPoint.IN_REVOKE, CrashPoint.IN_LOST, CrashPoint.IN_DRAIN, CrashPoint.IN_TOKEN, CrashPoint.IN_PIECES,
         CrashPoint.RECOVERING, CrashPoint.IN_REBALANCE}  # fmt: skip
"""Reached once in a life, or once for what provokes it."""
_THROTTLED = {"when": {"path": r"\$batch", "body": "PATCH "}, "times": 1,
              "do": [{"kind": "status", "status": 429, "code": "0x80072322", "retry_after": 2}]}  # fmt: skip
_CODECS: dict[str, Any] = {
    "call-outcomes": single_object(CallOutcome), "planned-writebacks": single_object(PlannedWriteback),
    "writeback-results": single_object(WritebackResult),
}  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """At a crash point, or at a random moment if `point` is None."""

    kind: str
    point: CrashPoint | None
    count: int = 1
    after_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.point}#{self.count}" if self.point else f"{self.kind} after {self.after_s:.2f} s"


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
    kill: Kill | None
    began: float
    ready_at: float | None = None
    provoked: int = 0

    def has_written(self, text: str) -> bool:
        return self.log.exists() and text in self.log.read_text(errors="replace")

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


@dataclass
class Report:
    done: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    sessions: int = 0


class KillSystem:
    """A context manager."""

    def __init__(
        self, forks: ForkServer, kafka: RealKafka, folder: Path, seed: int, *, protocol: str = "consumer"
    ) -> None:
        self.forks, self.kafka, self.folder, self.protocol = forks, kafka, folder, protocol
        self.dice = random.Random(seed)
        self.report = Report()
        self.lives: dict[str, Life] = {}
        self.published: list[Record] = []
        self.outcomes: list[CallOutcome] = []
        self.final: dict[str, WritebackResult] = {}
        self._numbers = itertools.count()
        self._sent_at = 0.0
        self._edited_at = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder.mkdir(parents=True)
            (tls := self.folder / "tls").mkdir()
            self.simulator: RunningSimulator = stack.enter_context(running_simulator(auth="entra", tls_dir=tls))
            self.desk = Desk(self.simulator)
            self.prefix = self.kafka.unique("kills") + "."
            self.topics, self.groups = Topics().prefixed(self.prefix), GroupNames.usual(self.prefix)
            for spec in self.topics.all():
                self.kafka.create_topic(spec.name, PARTITIONS, spec.creation_config())
            self.items = [seed_item(self.simulator) for _ in range(ITEMS)]
            quiet = {"bootstrap.servers": self.kafka.bootstrap, "log_level": 0}
            self.producer = Producer({**quiet, "partitioner": "murmur2_random"})
            self.reader = Consumer({**quiet, "group.id": f"{self.prefix}audit", "enable.auto.commit": False})
            stack.callback(self.reader.close)
            self.reader.assign([
                TopicPartition(self.prefix + name, partition, OFFSET_BEGINNING)
                for name in _CODECS for partition in range(PARTITIONS)
            ])  # fmt: skip
            stack.callback(self._end_all)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    # Processes

    def start(self, name: str, kill: Kill | None = None, number: signal.Signals = signal.SIGKILL) -> Life:
        kind = name.partition("-")[0]
        env = self._planner_env(name) if kind == "planner" else self._writer_env(name)
        if kill and kill.point:
            env |= {POINT: kill.point.value, COUNT: str(kill.count), SIGNAL: str(int(number))}
        log = self.folder / f"{name}.{next(self._numbers)}.log"
        self.lives[name] = Life(self.forks.start(kind, env, log), log, kill, time.monotonic())
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

    def _planner_env(self, name: str) -> dict[str, str]:
        return planner_env(
            self.kafka.bootstrap, checked=True, prefix=self.prefix, PLANNER_INSTANCE_ID=name,
            PLANNER_FOLLOW_EVERY_S="0.5", PLANNER_BATCH_WAIT_S="0.05",
        )  # fmt: skip

    def _writer_env(self, name: str) -> dict[str, str]:
        identity = {
            "kind": "client_secret", "tenant_id": tenant.TENANT_ID, "client_id": tenant.CLIENT_ID,
            "client_secret": tenant.CLIENT_SECRET,
        }  # fmt: skip
        return writer_env(
            self.simulator, self.kafka.bootstrap,
            WRITER_BROKER__TOPIC_PREFIX=self.prefix, WRITER_TRANSACTIONS="true", WRITER_INSTANCE_ID=name,
            WRITER_IDENTITIES=json.dumps([identity]), WRITER_SIGN_IN__AUTHORITY=str(self.simulator.authority),
            WRITER_SIGN_IN__CA_FILE=str(self.simulator.ca_file), WRITER_SIGN_IN__PRIVATE_AUTHORITY="true",
            WRITER_CONSUMER__PROTOCOL=self.protocol, WRITER_FLOW__MAX_PAUSE_S="1",
        )  # fmt: skip

    def is_ready(self, life: Life) -> bool:
        if life.ready_at is None and life.has_written(
            '"planner.ready"' if "planner" in life.log.name else '"partitions.assigned"'
        ):
            life.ready_at = time.monotonic()
        return life.ready_at is not None

    # Traffic and what comes of it

    def send(self, item: str, disposition: Disposition = Disposition.NO_ANSWER, *, edited: bool = False) -> CallOutcome:
        began = AN_HOUR_AGO + timedelta(seconds=len(self.outcomes))
        baseline = baseline_of(self.desk.row(item), captured_at=began)
        outcome = self.desk.outcome(
            item, disposition, baseline=baseline, started_at=began, ended_at=began + timedelta(milliseconds=500)
        )
        if edited:
            self.simulator.edit(QUEUE_ITEMS, item, {"medx_notes": f"by hand {len(self.outcomes)}"})
        self.outcomes.append(outcome)
        value = _CODECS["call-outcomes"].encode(outcome)
        for _ in range(1 + (self.dice.random() < 0.1)):  # P1: some are published twice
            self.producer.produce(self.topics.call_outcomes.name, value, item.encode())
        self.producer.flush(HANGS_AFTER_S)
        return outcome

    def open(self) -> list[CallOutcome]:
        return [one for one in self.outcomes if one.session_id not in self.final]

    def traffic(self) -> None:
        if time.monotonic() - self._sent_at > _TRAFFIC_S and len(self.open()) < _MOST_OPEN:
            self._sent_at = time.monotonic()
            self.send(self.dice.choice(self.items), self.dice.choice(list(_DISPOSITIONS)))

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
            self.final[key] = value

    # Kills

    def run(self, kills: Sequence[Kill]) -> Report:
        """All of them, and the audit."""
        self.settle(what="the first outcomes settle")
        waiting: dict[str, Iterator[Kill]] = {
            name: iter([kill for kill in kills if kill.kind == name]) for name in ("planner", "writer")
        }
        while waiting and not self.report.findings:
            self.traffic()
            self.read()
            for name in list(waiting):
                self._tend(name, waiting)
        if not self.report.findings:
            self.settle(what="all settles after the last kill")
        self.audit()
        return self.report

    def _tend(self, name: str, waiting: dict[str, Iterator[Kill]]) -> None:
        life = self.lives.get(name)
        if life is None or life.kill is None:
            if (kill := next(waiting[name], None)) is None:
                del waiting[name]
                if life is None:  # the other service's kills need it
                    self.start(name)
            else:
                self.stop(name)  # the one that runs without a failpoint
                self.start(name, kill)
            return
        if (code := self.forks.ended(life.pid)) is not None:
            del self.lives[name]
            self.stop("writer-other") if name == "writer" else None
            if code == -signal.SIGKILL:
                self.report.done.append(str(life.kill))
            else:
                self.report.findings.append(f"{life.kill}: ended with {code}: {life.tail()}")
        elif time.monotonic() - life.began > HANGS_AFTER_S:
            self.report.findings.append(f"{life.kill}: never reached: {life.tail()}")
        else:
            self._provoke(life, life.kill)

    def _provoke(self, life: Life, kill: Kill) -> None:
        """Whatever leads to that point and does not come by itself."""
        if not self.is_ready(life) or life.ready_at is None:
            return
        since = time.monotonic() - life.ready_at
        if kill.point is None:
            if since > kill.after_s and life.provoked < 1:
                life.provoked = 1
                os.kill(life.pid, signal.SIGKILL)
        elif kill.point in (CrashPoint.IN_REVOKE, CrashPoint.IN_LOST):
            self._rebalance(life, kill.point)
        elif kill.point is CrashPoint.IN_DRAIN and since > 0.5 and life.provoked < 1:
            life.provoked = 1
            os.kill(life.pid, signal.SIGTERM)
        elif kill.point is CrashPoint.IN_RETRY_AFTER and since > 3 * life.provoked:
            life.provoked += 1
            self.simulator.fault(**_THROTTLED)
        elif kill.point is CrashPoint.IN_PIECES and since > 3 * life.provoked:
            life.provoked += 1
            self.send(seed_item(self.simulator), edited=True)

    def _rebalance(self, life: Life, point: CrashPoint) -> None:
        if life.provoked == 0:
            life.provoked = 1
            if point is CrashPoint.IN_LOST:
                os.kill(life.pid, signal.SIGSTOP)
            self.start("writer-other")
        elif life.provoked == 1 and point is CrashPoint.IN_LOST and self.is_ready(self.lives["writer-other"]):
            life.provoked = 2
            os.kill(life.pid, signal.SIGCONT)

    # The end

    def settle(self, *, what: str) -> None:
        """A planner and a writer without failpoints settle whatever is open. I7: or it is said what waits."""
        for name in ("planner", "writer"):
            if name not in self.lives:
                self.start(name)
        if not self.outcomes:
            for item in self.items:
                self.send(item)
        self.settle_open(what=what)

    def settle_open(self, *, what: str) -> None:
        """By the processes that run."""

        def settled() -> bool:
            self.read()
            return not self.open()

        try:
            wait_until(settled, what=what)
        except AssertionError as error:
            ended = {name: self.forks.ended(life.pid) for name, life in self.lives.items()}
            open_ = [one.session_id for one in self.open()]
            tails = "".join(f"\n--- {name}\n{life.tail()}" for name, life in self.lives.items())
            self.report.findings.append(f"I7 {error}; open: {open_}; ended: {ended}{tails}")

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
        self.report.findings += self._untold_twice() + self._miscounted()

    def _untold_twice(self) -> list[str]:
        """W2 A session has one final result: with transactions, no kill makes it two."""
        results = (one for one in self.published if one.topic == "writeback-results")
        times = Counter(one.key for one in results if one.value.status is not ResultStatus.RESUME_NEEDED)
        return [f"W2 {session} has {n} final results" for session, n in times.items() if n > 1]

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


def deal(kills: int, seed: int) -> list[Kill]:
    """The whole list in turn as often as it fits, some 6 in 10 of all, and as many random moments as are left."""
    dice, points = random.Random(seed), list(CrashPoint)
    named = max(1, round(kills * 0.55 / len(points))) * len(points) if kills >= len(points) else 0
    made = [
        Kill("writer" if p.of_writer else "planner", p, 1 if p in _ONCE else dice.randint(1, 3))
        for p in itertools.islice(itertools.cycle(points), named)
    ]
    made += [Kill(dice.choice(["planner", "writer"]), None, after_s=dice.uniform(0, 1.5)) for _ in range(kills - named)]
    dice.shuffle(made)
    return made
