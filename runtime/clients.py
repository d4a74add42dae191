"""The settings of our two broker clients, in one place: librdkafka (confluent-kafka: the writer, and the planner's
publisher and reader of pins) and aiokafka (the planner's stream of outcomes, through Faust).

Their defaults differ: aiokafka reads records of aborted transactions, librdkafka places keys by another hash. So every
setting whose defaults differ is set here, and a test compares all settings of both. Settings that must differ are in
`APART`, each with its reason. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ClientConfig = dict[str, Any]
"""librdkafka's settings: texts, numbers, and the callback for tokens."""

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class Alike:
    """A setting that both get. An empty name: the client lacks the setting and behaves this way by itself."""

    librdkafka: str
    aiokafka: str
    value: Value
    why: str


EVERY_CLIENT = (
    Alike(
        "topic.metadata.refresh.interval.ms",
        "metadata_max_age_ms",
        60_000,
        "the client notices new leaders and added partitions within a minute, as often as the topic check runs "
        "(BROKER__REFRESH_METADATA_EVERY_S)",
    ),
    Alike(
        "metadata.max.age.ms",
        "",
        180_000,
        "librdkafka recommends three times the refresh interval; aiokafka has a single setting for both",
    ),
    Alike(
        "connections.max.idle.ms",
        "connections_max_idle_ms",
        540_000,
        "a minute less than the broker's limit, so that the broker closes no connection under a request "
        "(BROKER__CLOSE_IDLE_AFTER_S)",
    ),
    Alike(
        "socket.keepalive.enable",
        "",
        True,
        "a peer that is gone without a word is noticed; aiokafka has no such setting, and its connections carry a "
        "heartbeat or a fetch every second or two",
    ),
    Alike("retry.backoff.ms", "retry_backoff_ms", 100, "the pause before a failed request is repeated"),
)

CONSUMER = (
    Alike(
        "socket.timeout.ms",
        "request_timeout_ms",
        65_000,
        "longer than a rebalance of Faust's group (60 s), during which the broker holds its answer back",
    ),
    Alike(
        "allow.auto.create.topics",
        "",
        False,
        "an automatically created topic lacks the settings that the promises need; aiokafka asks only for topics that "
        "the check has found",
    ),
    Alike(
        "isolation.level",
        "isolation_level",
        "read_committed",
        "records of an open or aborted transaction do not count as published",
    ),
    Alike(
        "auto.offset.reset",
        "auto_offset_reset",
        "earliest",
        "a group without a committed offset starts at the beginning (P5)",
    ),
    Alike(
        "enable.auto.commit", "enable_auto_commit", False, "the services commit by themselves, and only what is settled"
    ),
    Alike("check.crcs", "check_crcs", True, "a record that was damaged on the network is not planned"),
    Alike("fetch.wait.max.ms", "fetch_max_wait_ms", 500, "how long the broker waits for records before it answers"),
    Alike("fetch.min.bytes", "fetch_min_bytes", 1, "the broker answers as soon as there is one record"),
    Alike(
        "fetch.max.bytes", "fetch_max_bytes", 50 * 1024 * 1024, "the size of one answer; a larger record comes alone"
    ),
    Alike("fetch.message.max.bytes", "max_partition_fetch_bytes", 1024 * 1024, "the same for one partition"),
    Alike(
        "receive.message.max.bytes",
        "",
        110 * 1024 * 1024,
        "librdkafka refuses larger answers; this is more than a broker accepts in one request "
        "(socket.request.max.bytes), so every published record can be read; aiokafka has no limit",
    ),
)

PRODUCER = (
    Alike("acks", "acks", "all", "a record counts when all in-sync replicas have it (P5, W1)"),
    Alike("enable.idempotence", "enable_idempotence", True, "a retry neither duplicates nor reorders records"),
    Alike(
        "partitioner",
        "",
        "murmur2_random",
        "the hash of Java and aiokafka; librdkafka's default is another one. Our services name the partition anyway",
    ),
)

APART = {
    "client.id": "each client has its own name",
    "group.id": "each service has its own group",
    "group.instance.id": "the planner is a static member of its group, so that a restart causes no rebalance",
    "session.timeout.ms": "PLANNER_SESSION_TIMEOUT_S is short, because Faust's groups wait for it after a kill; the "
    "writer's group gets it from the broker (KIP-848)",
    "heartbeat.interval.ms": "a fraction of the session timeout",
    "max.poll.interval.ms": "Faust has no such limit; its health check covers it. The writer's is a setting",
    "partition.assignment.strategy": "Faust has its own, which keeps outcomes and pins together",
    "message.max.bytes": "the services' limit, before compression, is above the topics' limit, which decides",
    "compression.type": "Faust's producer sends nothing",
    "linger.ms": "Faust's producer sends nothing",
    "batch.size": "Faust's producer sends nothing",
    "security.protocol": "`connection` derives it from BROKER__TLS and BROKER__SASL__…, for both",
    "sasl.mechanism": "the same",
    "sasl.username": "the same",
    "sasl.password": "the same",
    "client.rack": "BROKER__RACK, for both",
}
"""Settings that differ on purpose, by librdkafka's names."""

APART_PRODUCERS = APART | {
    "socket.timeout.ms": "at most the time limit of a transaction; librdkafka shortens it by itself",
}
"""The same for producers."""


def librdkafka_consumer() -> ClientConfig:
    return _librdkafka(EVERY_CLIENT + CONSUMER)


def librdkafka_producer() -> ClientConfig:
    return _librdkafka(EVERY_CLIENT + PRODUCER)


def transactional(transactional_id: str, *, timeout_ms: int) -> ClientConfig:
    """What a producer needs besides `librdkafka_producer` for transactions that end in this time."""
    return {
        "transactional.id": transactional_id,
        "transaction.timeout.ms": timeout_ms,
        "message.timeout.ms": timeout_ms,
        # The broker needs some milliseconds to end the transaction before.
        "retry.backoff.ms": 5,
        "retry.backoff.max.ms": 1_000,
        # Otherwise librdkafka forgets the brokers when all are gone, and then waits without end for the one that
        # coordinates the group (seen with 2.16: send_offsets_to_transaction ignores its timeout).
        "metadata.recovery.strategy": "none",
        # The one codec that every reader has.
        "compression.type": "gzip",
    }


def librdkafka_any() -> ClientConfig:
    """For a client that neither reads nor writes records: an admin client."""
    return _librdkafka(EVERY_CLIENT)


def librdkafka_timing(close_idle_after_s: int, refresh_metadata_every_s: int) -> ClientConfig:
    """What the settings may change in `EVERY_CLIENT`."""
    return {
        "connections.max.idle.ms": close_idle_after_s * 1000,
        "topic.metadata.refresh.interval.ms": refresh_metadata_every_s * 1000,
        "metadata.max.age.ms": refresh_metadata_every_s * 3000,
    }


def aiokafka_timing(close_idle_after_s: int, refresh_metadata_every_s: int) -> dict[str, Any]:
    """The same for aiokafka."""
    changed = librdkafka_timing(close_idle_after_s, refresh_metadata_every_s)
    both = [each for each in EVERY_CLIENT if each.aiokafka and each.librdkafka in changed]
    return {each.aiokafka: changed[each.librdkafka] for each in both}


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
