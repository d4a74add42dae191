"""What our two broker clients are told, in one place: librdkafka (confluent-kafka: the writer, the planner's publisher
and its reader of pins) and aiokafka (the planner's stream of outcomes, through Faust).

Their defaults differ, and what differs in silence is found at night: the one reads what was rolled back, the other
places by another hash. So everything in which they differ by default is set here on purpose, and a test compares all
their settings. What is different for a reason is in `APART`, with the reason. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ClientConfig = dict[str, str | int | float | bool]
"""librdkafka's settings."""

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class Alike:
    """A setting that both get. An empty name means that the client has no such setting, and behaves so anyway."""

    librdkafka: str
    aiokafka: str
    value: Value
    why: str


EVERY_CLIENT = (
    Alike(
        "topic.metadata.refresh.interval.ms",
        "metadata_max_age_ms",
        60_000,
        "new leaders, and partitions that somebody added, are noticed within the minute of the topic check",
    ),
    Alike(
        "metadata.max.age.ms",
        "",
        180_000,
        "librdkafka wants three times the refresh interval; aiokafka knows but one age",
    ),
    Alike(
        "connections.max.idle.ms",
        "connections_max_idle_ms",
        540_000,
        "a minute less than the broker's own limit, so that no request meets a connection that is just being closed",
    ),
    Alike("retry.backoff.ms", "retry_backoff_ms", 100, "between two requests that are tried again"),
)

CONSUMER = (
    Alike(
        "socket.timeout.ms",
        "request_timeout_ms",
        65_000,
        "longer than a rebalance of Faust's group may take (60 s), in which the broker holds its answer back",
    ),
    Alike(
        "allow.auto.create.topics",
        "",
        False,
        "a topic that comes into being by being asked for has none of the settings that the promises need; aiokafka "
        "asks only for topics that the check has found",
    ),
    Alike(
        "isolation.level",
        "isolation_level",
        "read_committed",
        "an outcome or plan of a transaction that is open or was rolled back was never said",
    ),
    Alike(
        "auto.offset.reset", "auto_offset_reset", "earliest", "a group without progress begins at the beginning (P5)"
    ),
    Alike("enable.auto.commit", "enable_auto_commit", False, "only what is settled is committed, and by ourselves"),
    Alike("check.crcs", "check_crcs", True, "a record that was damaged on its way is not planned"),
    Alike("fetch.wait.max.ms", "fetch_max_wait_ms", 500, "how long the broker may hold an answer back"),
    Alike("fetch.min.bytes", "fetch_min_bytes", 1, "it answers as soon as there is anything"),
    Alike("fetch.max.bytes", "fetch_max_bytes", 50 * 1024 * 1024, "of one answer; a larger record comes alone"),
    Alike("fetch.message.max.bytes", "max_partition_fetch_bytes", 1024 * 1024, "the same of one partition"),
    Alike(
        "receive.message.max.bytes",
        "",
        110 * 1024 * 1024,
        "librdkafka refuses larger answers: more than any request that a broker takes (socket.request.max.bytes), so "
        "that whatever was published can be read; aiokafka has no limit",
    ),
)

PRODUCER = (
    Alike("acks", "acks", "all", "a record counts when all in-sync replicas have it (P5, W1)"),
    Alike("enable.idempotence", "enable_idempotence", True, "nothing is doubled or reordered by a retry"),
    Alike(
        "partitioner",
        "",
        "murmur2_random",
        "as Java and aiokafka place; librdkafka's own default is another hash. Our services name the partition anyway",
    ),
)

APART = {
    "client.id": "each names itself",
    "group.id": "each service has a group of its own",
    "group.instance.id": "the planner is a static member of its group, so that a restart is no rebalance",
    "session.timeout.ms": "PLANNER_SESSION_TIMEOUT_S is short, since Faust's groups wait for it after a kill; the "
    "writer's group learns it from the broker (KIP-848)",
    "heartbeat.interval.ms": "a part of the session timeout",
    "max.poll.interval.ms": "Faust has no such limit: its health says whether it plans; the writer's is a setting",
    "partition.assignment.strategy": "Faust brings its own, which keeps outcomes and pins together",
    "message.max.bytes": "the services' limits, before compression, are above the topics', which decide",
    "compression.type": "Faust's producer sends nothing",
    "linger.ms": "Faust's producer sends nothing",
    "batch.size": "Faust's producer sends nothing",
    "security.protocol": "from BROKER__TLS and BROKER__SASL__…, for both: `connection`",
    "sasl.mechanism": "the same",
    "sasl.username": "the same",
    "sasl.password": "the same",
}
"""librdkafka's names of what is different on purpose."""

APART_PRODUCERS = APART | {
    "socket.timeout.ms": "must be no longer than a transaction may take, which is why librdkafka shortens it by itself",
}
"""The same of producers."""


def librdkafka_consumer() -> ClientConfig:
    return _librdkafka(EVERY_CLIENT + CONSUMER)


def librdkafka_producer() -> ClientConfig:
    return _librdkafka(EVERY_CLIENT + PRODUCER)


def librdkafka_any() -> ClientConfig:
    """For a client that neither reads nor writes records."""
    return _librdkafka(EVERY_CLIENT)


def aiokafka_consumer() -> dict[str, Any]:
    """Keyword arguments of AIOKafkaConsumer."""
    return _aiokafka(EVERY_CLIENT + CONSUMER)


def aiokafka_producer() -> dict[str, Any]:
    """Keyword arguments of AIOKafkaProducer."""
    return _aiokafka(EVERY_CLIENT + PRODUCER)


def _librdkafka(settings: tuple[Alike, ...]) -> ClientConfig:
    return {each.librdkafka: each.value for each in settings}


def _aiokafka(settings: tuple[Alike, ...]) -> dict[str, Any]:
    return {each.aiokafka: each.value for each in settings if each.aiokafka}
