"""The operator's view of a million sessions: its first reading, the next one, and what both take.

A real Kafka, six partitions, every session a plan and a result. The peer reads the same records with the same client
and looks at nothing: the rest is the view's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
from confluent_kafka import Consumer, Producer, TopicPartition

from bench.figures import Figure, Section
from bench.planner import PARTITIONS, _kafka
from schemas.codec import single_object
from schemas.records import PlannedWriteback, WritebackResult
from schemas.topics import Topics
from tests.support.brokers.kafka import RealKafka
from tests.support.factories import make_plan, make_result

SESSIONS = int(os.environ.get("BENCH_OPS_SESSIONS", "1000000"))
_SESSION, _ITEM = "sess-" + "0" * 32, make_plan().queue_item_id


def measure() -> Section:
    """Needs Java and Maven, Docker, or WRITEBACK_TEST_BOOTSTRAP; takes some minutes."""
    with _kafka() as kafka, tempfile.TemporaryDirectory() as folder:
        prefix = f"bench-{uuid.uuid4().hex[:8]}."
        topics = Topics().prefixed(prefix)
        for spec in topics.all():
            kafka.create_topic(spec.name, PARTITIONS, spec.creation_config())
        _fill(kafka, topics)
        bare_s = _bare(kafka, topics.planned_writebacks.name) + _bare(kafka, topics.writeback_results.name)
        env = os.environ | {
            "WRITEBACK_BROKER__BOOTSTRAP_SERVERS": kafka.bootstrap,
            "WRITEBACK_BROKER__TOPIC_PREFIX": prefix,
            "WRITEBACK_VIEW_FOLDER": folder,
            "XDG_CONFIG_HOME": folder,
        }
        first, second = _status(env), _status(env)
        size = sum(each.stat().st_size for each in Path(folder).glob("view-*.sqlite"))
    figures = [
        Figure(f"first `writeback status` of {SESSIONS:,} sessions", first.wall_s, "s"),
        Figure("processor time of it, each session", 1e6 * first.cpu_s / SESSIONS, "µs", note="a plan and a result"),
        Figure("memory at its highest", first.memory_mib, "MiB", aim="bounded: the same at any number of sessions"),
        Figure("second `writeback status`", second.wall_s, "s", aim="a second or two"),
        Figure("processor time of the second", second.cpu_s, "s"),
        Figure("size of the view, each session", size / SESSIONS, "bytes"),
        Figure("reading the same records and looking at nothing", bare_s, "s", peer=True),
    ]
    return Section("ops", f"Apache Kafka ({kafka.source}), {PARTITIONS} partitions, all on this machine", figures)


def _fill(kafka: RealKafka, topics: Topics) -> None:
    """Sessions in no order of their ids, three to a queue item."""
    plan = single_object(PlannedWriteback).encode(make_plan(session_id=_SESSION, campaign_id="spring"))
    result = single_object(WritebackResult).encode(make_result(session_id=_SESSION))
    config = {"bootstrap.servers": kafka.bootstrap, "linger.ms": 20, "compression.type": "zstd"}
    producer = Producer(config)
    for number in range(SESSIONS):
        session, item = f"sess-{uuid.uuid4().hex}", str(uuid.UUID(int=number // 3))
        for topic, like in ((topics.planned_writebacks.name, plan), (topics.writeback_results.name, result)):
            value = like.replace(_SESSION.encode(), session.encode()).replace(_ITEM.encode(), item.encode())
            _produce(producer, topic, value, session.encode(), number // 3 % PARTITIONS)
    if producer.flush(300):
        raise TimeoutError("the broker did not take the records")
    group = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": _writer_group(topics)})
    ends = kafka.end_offsets(topics.planned_writebacks.name)
    group.commit(
        offsets=[TopicPartition(topics.planned_writebacks.name, at, end) for at, end in ends.items()],
        asynchronous=False,
    )
    group.close()


def _writer_group(topics: Topics) -> str:
    return topics.planned_writebacks.name.removesuffix("planned-writebacks") + "writeback-writer"


def _produce(producer: Producer, topic: str, value: bytes, key: bytes, partition: int) -> None:
    while True:
        try:
            producer.produce(topic, value, key, partition)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


def _bare(kafka: RealKafka, topic: str) -> float:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "bench", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, each, 0) for each in range(PARTITIONS)])
    began, read = time.monotonic(), 0
    while read < SESSIONS:
        read += sum(each.error() is None for each in consumer.consume(1000, 0.1))
    consumer.close()
    return time.monotonic() - began


class _Took:
    def __init__(self, wall_s: float, cpu_s: float, memory_mib: float) -> None:
        self.wall_s, self.cpu_s, self.memory_mib = wall_s, cpu_s, memory_mib


def _status(env: dict[str, str]) -> _Took:
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "ops.cli", "status"], env=env, stdout=subprocess.DEVNULL)
    highest, cpu_s = 0.0, 0.0
    for found in _watched(process):
        highest = max(highest, found.memory_info().rss / 2**20)
        cpu_s = sum(found.cpu_times()[:2])
    if process.returncode:
        raise RuntimeError(f"writeback status ended with {process.returncode}")
    return _Took(time.monotonic() - began, cpu_s, highest)


def _watched(process: subprocess.Popen[bytes]) -> Iterator[psutil.Process]:
    """Looked at while it runs."""
    seen = psutil.Process(process.pid)
    while process.poll() is None:
        with seen.oneshot():
            if seen.status() != psutil.STATUS_ZOMBIE:
                yield seen
        time.sleep(0.05)
