"""The planner on a real Kafka: plans per second beside its peers, a start with a million pins, and after a SIGKILL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

from confluent_kafka import Producer

from bench.figures import Figure, Section
from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from planner.core.planning import Policy, plan
from planner.mapping import load
from schemas.codec import single_object
from schemas.records import CallOutcome, PlannedWriteback, Source
from tests.broker.planner.kit import make_topics
from tests.integration.planner.harness import EXAMPLE, planner_env, publish, ready
from tests.support.brokers import shared
from tests.support.brokers.kafka import RealKafka
from tests.support.factories import an_id, make_baseline, make_outcome
from tests.support.ports import free_ports

OUTCOMES = int(os.environ.get("BENCH_PLANNER_OUTCOMES", "60000"))
PINS = int(os.environ.get("BENCH_PLANNER_PINS", "1000000"))
PARTITIONS = 6


def measure() -> Section:
    """Needs Java and Maven, Docker, or WRITEBACK_TEST_BOOTSTRAP; takes some minutes."""
    with _kafka() as kafka, tempfile.TemporaryDirectory() as folder:
        figures = [
            *rates(kafka, Path(folder)),
            *million_pins(kafka, Path(folder)),
            after_a_kill(kafka, Path(folder)),
        ]
    setting = (
        f"Apache Kafka ({kafka.source}), one broker, {PARTITIONS} partitions, one process each, all on this machine"
    )
    return Section("planner", setting, figures)


@contextmanager
def _kafka() -> Iterator[RealKafka]:
    shared.begin_run()
    try:
        answer = shared.obtain("kafka")
        if "facts" not in answer:
            raise SystemExit(f"no Kafka to measure on: {answer.get('absent') or answer.get('error')}")
        kafka = RealKafka(answer["facts"]["bootstrap"], None, answer["facts"]["source"])
        yield kafka
        kafka.remove_created()
    finally:
        shared.end_run()


def rates(kafka: RealKafka, folder: Path) -> list[Figure]:
    prefix = make_topics(kafka, partitions=PARTITIONS)
    outcomes, target = prefix + "call-outcomes", kafka.create_topic(prefix + "bare", PARTITIONS)
    _fill(kafka, outcomes)
    empty, empty_cost = _peer("faust", kafka, outcomes, target)
    bare, bare_cost = _peer("bare", kafka, outcomes, target)
    ours, cost = _plans_per_second(kafka, prefix, folder)
    share = f"{ours / empty:.0%} of the empty agent"
    processor = "processor time per outcome: on a busy machine the fairer comparison"
    return [
        Figure("plans per second, acknowledged", ours, "1/s", aim="half of the empty Faust agent", note=share),
        Figure("empty Faust agent", empty, "1/s", peer=True, note="reads and does nothing"),
        Figure("bare confluent-kafka loop", bare, "1/s", peer=True, note="copies bytes, decides nothing"),
        Figure("  a plan costs", cost, "µs", note=processor),
        Figure("  a record of the empty agent costs", empty_cost, "µs", peer=True),
        Figure("  a record of the bare loop costs", bare_cost, "µs", peer=True),
    ]


def _fill(kafka: RealKafka, topic: str) -> None:
    """One session per queue item, of the size that outcomes usually have."""
    codec = single_object(CallOutcome)
    item, session = an_id("item"), "sess-00000000"
    baseline = make_baseline(preserved={"medx_notes": None, "medx_priority": 1, "medx_lasterror": None})
    like = codec.encode(make_outcome(session_id=session, queue_item_id=item, baseline=baseline))
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random", "linger.ms": 20})
    for number in range(OUTCOMES):
        key = str(UUID(int=number + (4 << 76) + (8 << 60))).encode()
        value = like.replace(item.encode(), key).replace(session.encode(), b"sess-%08d" % number)
        producer.produce(topic, value, key)
        producer.poll(0)
    assert producer.flush(60) == 0


def _peer(name: str, kafka: RealKafka, topic: str, target: str) -> tuple[float, float]:
    """Records per second, and microseconds of processor time per record."""
    env = {
        **os.environ,
        "PEER_BROKER": kafka.bootstrap,
        "PEER_TOPIC": topic,
        "PEER_TARGET": target,
        "PEER_GROUP": kafka.unique(name),
        "PEER_EXPECTED": str(OUTCOMES),
        "PEER_WEB_PORT": str(free_ports(1)[0]),
    }
    run = subprocess.run(module("bench.planner_peers", name), env=env, capture_output=True, text=True, timeout=300)
    line = next(line for line in run.stdout.splitlines() if line.lstrip("\x1b[?25hl").startswith("{"))
    measured = json.loads(line[line.index("{") :])
    return measured["records"] / measured["seconds"], measured["processor"] / measured["records"] * 1e6


def _plans_per_second(kafka: RealKafka, prefix: str, folder: Path) -> tuple[float, float]:
    """From the end of the first batch to the end of the last one; and microseconds of processor time per plan."""
    with _planner(kafka, prefix, folder / "rate.log") as planner:
        processor = _processor_seconds(planner.pid)
        wait_until(lambda: _acknowledged(planner) >= OUTCOMES, what="all is planned", seconds=300, every=0.5)
        processor = _processor_seconds(planner.pid) - processor
        batches = planner.events(event="batch.planned")
    times = [datetime.fromisoformat(each["timestamp"]) for each in batches]
    rate = sum(each["planned"] for each in batches[1:]) / (times[-1] - times[0]).total_seconds()
    return rate, processor / OUTCOMES * 1e6


def _acknowledged(planner: Service) -> int:
    """Plans, by what it wrote. A topic's offsets count the marks of its transactions as well."""
    return sum(each["planned"] for each in planner.events(event="batch.planned"))


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def million_pins(kafka: RealKafka, folder: Path) -> list[Figure]:
    prefix = make_topics(kafka, partitions=PARTITIONS)
    _fill_with_plans(kafka, prefix + "planned-writebacks")
    figures = []
    stores = {
        "memory": "memory://",
        "RocksDB, empty": f"rocksdb://{folder}/pins",
        "RocksDB": f"rocksdb://{folder}/pins",
    }
    for name, store in stores.items():
        began = time.monotonic()
        with _planner(kafka, prefix, folder / f"{name}.log", PLANNER_PIN_STORE=store) as planner:
            seconds, memory = time.monotonic() - began, _memory(planner.pid)
            recovered = planner.events(event="planner.ready")[0]["recovered"]
        aims = ("90 s", "300 MB") if name == "memory" else ("", "")
        note = f"{recovered:,} records read"
        figures.append(Figure(f"start with {PINS:,} pins ({name})", seconds, "s", aim=aims[0], note=note))
        figures.append(Figure(f"  resident, at the end ({name})", memory["VmRSS"], "MB", aim=aims[1]))
        figures.append(Figure(f"  resident, at its highest ({name})", memory["VmHWM"], "MB"))
    return figures


def _fill_with_plans(kafka: RealKafka, topic: str) -> None:
    """Plans as the planner writes them, one per session, two sessions per queue item."""
    codec = single_object(PlannedWriteback)
    session, item = str(UUID(int=1)), an_id("item")
    outcome = make_outcome(session_id=session, queue_item_id=item)
    found = plan(outcome, Source(topic="call-outcomes", partition=0, offset=1), load(EXAMPLE), Policy())
    assert isinstance(found, PlannedWriteback)
    like = codec.encode(found)
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "linger.ms": 50,
            "compression.type": "gzip",
            "compression.level": 1,
            "queue.buffering.max.messages": 100_000,
        }
    )
    for number in range(PINS):
        key = str(UUID(int=number * 2**40 + 7)).encode()
        value = like.replace(session.encode(), key).replace(item.encode(), str(UUID(int=number // 2)).encode())
        while True:
            try:
                producer.produce(topic, value, key, partition=number // 2 % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(120) == 0


def after_a_kill(kafka: RealKafka, folder: Path) -> Figure:
    prefix = make_topics(kafka, partitions=PARTITIONS)
    usual = {"PLANNER_SESSION_TIMEOUT_S": "6", "PLANNER_HEARTBEAT_INTERVAL_S": "1.5"}
    outcomes = [make_outcome(session_id=f"s{number}", queue_item_id=an_id(f"i{number}")) for number in range(40)]
    with _planner(kafka, prefix, folder / "kill.log", **usual) as planner:
        publish(kafka.bootstrap, outcomes[:20], topic=prefix + "call-outcomes")
        wait_until(lambda: _acknowledged(planner) == 20, what="it plans")
        planner.kill()
        killed_at = time.monotonic()
        publish(kafka.bootstrap, outcomes[20:], topic=prefix + "call-outcomes")
        planner.start()
        wait_until(lambda: _acknowledged(planner) > 20, what="it plans again", seconds=60)
        seconds = time.monotonic() - killed_at
    return Figure("from SIGKILL to the next plan", seconds, "s", aim="10 s", note="started again at once")


@contextmanager
def _planner(kafka: RealKafka, prefix: str, output: Path, **settings: str) -> Iterator[Service]:
    service = Service(module("planner"), env=planner_env(kafka.bootstrap, prefix=prefix) | settings, output=output)
    try:
        yield service.start(ready, seconds=600)
    finally:
        service.kill()


def _memory(pid: int) -> Mapping[str, float]:
    """Megabytes, by the kernel's names."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) / 1000 for words in lines if words[0] in ("VmRSS:", "VmHWM:")}


if __name__ == "__main__":
    for figure in measure().figures:
        print(f"{figure.name:50} {figure.value:12,.1f} {figure.unit:5} {figure.aim} {figure.note}")
    sys.exit(0)
