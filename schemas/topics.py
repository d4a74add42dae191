"""The topics: their names, keys and settings, and what makes a broker's topics unfit. No I/O.

A plan's key is its session, and its partition is that of its queue item. So compaction can only replace a plan by the
same plan, and everything of one queue item stays in one partition, in order. Partition counts therefore never change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal

DAY_MS = 86_400_000
MIB = 1_048_576
KAFKAS_LARGEST = 1_048_588
"""Kafka's default limit for one batch of records: 1 MiB and the batch's header."""
COMPACTED_WITHIN_MS = 7 * DAY_MS
"""A compacted topic does not put off compaction longer than this: what was replaced or forgotten is gone soon after.
Not required of a topic that exists."""
REPLICAS = 3
"""Copies of each partition; fewer are allowed only where there are fewer brokers, on a laptop."""

Policy = Literal["delete", "compact"]
TimestampType = Literal["CreateTime", "LogAppendTime"]


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic must be. Times in milliseconds; a minimum of None requires nothing."""

    name: str
    policy: Policy
    min_retention_ms: int | None = None
    min_delete_retention_ms: int | None = None
    timestamp_type: TimestampType | None = None
    largest_bytes: int = KAFKAS_LARGEST
    """`max.message.bytes` at creation. The check requires at least Kafka's default."""
    compacted_after_ms: int | None = None
    """Compaction takes nothing that is younger. Not required of a topic that exists."""
    copies_of: str | None = None
    """Name of the topic whose records are copied here, with reasons in their headers."""

    def creation_config(self, replicas: int = 1) -> dict[str, str]:
        """The broker settings that a topic with so many copies of each partition is created with."""
        config: dict[str, str] = {
            "cleanup.policy": self.policy,
            "min.insync.replicas": str(least_in_sync(replicas)),
            "unclean.leader.election.enable": "false",
            "max.message.bytes": str(self.largest_bytes),
        }
        if self.min_retention_ms is not None:
            config["retention.ms"] = str(self.min_retention_ms)
            config["retention.bytes"] = "-1"
        if self.min_delete_retention_ms is not None:
            config["delete.retention.ms"] = str(self.min_delete_retention_ms)
        if self.policy == "compact":
            config["max.compaction.lag.ms"] = str(COMPACTED_WITHIN_MS)
        if self.compacted_after_ms is not None:
            config["min.compaction.lag.ms"] = str(self.compacted_after_ms)
        if self.timestamp_type is not None:
            config["message.timestamp.type"] = self.timestamp_type
        return config


def least_in_sync(replicas: int) -> int:
    """How many copies must have a record before it counts as written. One copy is lost with its broker."""
    return 2 if replicas > 1 else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    call_outcomes: TopicSpec = TopicSpec(
        "call-outcomes", "delete", min_retention_ms=7 * DAY_MS, timestamp_type="LogAppendTime"
    )
    planned_writebacks: TopicSpec = TopicSpec(
        "planned-writebacks",
        "compact",
        min_delete_retention_ms=7 * DAY_MS,
        largest_bytes=2 * MIB,
        # W4 A requeued plan's copy lies behind others of its queue item. If its writer ends before it has read that
        # copy, the next one keeps the order by the original.
        compacted_after_ms=DAY_MS,
    )
    writeback_results: TopicSpec = TopicSpec(
        "writeback-results", "compact", min_delete_retention_ms=7 * DAY_MS, largest_bytes=2 * MIB
    )
    call_outcomes_rejected: TopicSpec = TopicSpec(
        "call-outcomes-rejected",
        "delete",
        min_retention_ms=30 * DAY_MS,
        largest_bytes=2 * MIB,
        copies_of="call-outcomes",
    )
    planned_writebacks_rejected: TopicSpec = TopicSpec(
        "planned-writebacks-rejected",
        "delete",
        min_retention_ms=30 * DAY_MS,
        largest_bytes=4 * MIB,
        copies_of="planned-writebacks",
    )
    writeback_dry_run: TopicSpec = TopicSpec(
        "writeback-dry-run", "delete", min_retention_ms=DAY_MS, largest_bytes=2 * MIB
    )
    operator_actions: TopicSpec = TopicSpec("operator-actions", "delete", min_retention_ms=400 * DAY_MS)

    def all(self) -> tuple[TopicSpec, ...]:
        return tuple(getattr(self, f.name) for f in fields(self))

    def prefixed(self, prefix: str) -> Topics:
        """The same topics for one of several installations on a shared cluster."""
        return Topics(**{f.name: _prefixed(spec, prefix) for f, spec in zip(fields(self), self.all(), strict=True)})


def _prefixed(spec: TopicSpec, prefix: str) -> TopicSpec:
    return replace(spec, name=prefix + spec.name, copies_of=spec.copies_of and prefix + spec.copies_of)


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """What a broker reports about a topic. The embedded broker reports less: None."""

    partitions: int
    config: Mapping[str, str] | None = None
    replicas: int | None = None
    """The replicas of the partition that has the fewest."""
    topic_id: str | None = None
    """Changes when the topic is deleted and created again."""


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What a broker reports about those of our topics that exist."""

    topics: Mapping[str, FoundTopic] = field(default_factory=dict)
    brokers: int = 1

    @property
    def partitions(self) -> int:
        """The partition count that all topics share, if they are fit."""
        return next(iter(self.topics.values())).partitions


def mismatches(required: Sequence[TopicSpec], found: TopicFacts) -> list[str]:
    """Every reason not to run, each with its remedy; empty if fit. All topics must have equally many partitions."""
    problems = [
        f"topic {spec.name} does not exist; create it with: writeback topics create"
        for spec in required
        if spec.name not in found.topics
    ]
    present = [(spec, found.topics[spec.name]) for spec in required if spec.name in found.topics]
    counts = {spec.name: topic.partitions for spec, topic in present}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        problems.append(
            f"topics must have the same number of partitions, which never changes after the first record: {listed}; "
            "how a count is raised: docs/deploy.md, Raising the partition count"
        )
    for spec, topic in present:
        problems += _replica_problems(spec, topic, found.brokers)
        if topic.config is not None:
            problems += _config_problems(spec, topic, topic.config)
            problems += _copy_problems(spec, topic.config, found.topics)
    return problems


def changes(required: Iterable[TopicSpec], at_start: TopicFacts, now: TopicFacts) -> list[str]:
    """Changes after which a running service must end: its topics were created again, or have more partitions. A missing
    topic is only a mismatch, because it may come back unchanged."""
    problems = []
    for spec in required:
        then, found = at_start.topics.get(spec.name), now.topics.get(spec.name)
        if then is None or found is None:
            continue
        if then.topic_id != found.topic_id:
            problems.append(
                f"topic {spec.name} was deleted and created again: its offsets start at 0, and its records are gone; "
                "see docs/deploy.md, When a topic was created again"
            )
        elif then.partitions != found.partitions:
            problems.append(
                f"topic {spec.name} has {found.partitions} partitions and had {then.partitions}: the queue items of "
                "most keys have moved to other partitions, so order and the one plan of a session are no longer safe; "
                "see docs/deploy.md, Raising the partition count"
            )
    return problems


def _replica_problems(spec: TopicSpec, topic: FoundTopic, brokers: int) -> list[str]:
    wanted = min(REPLICAS, brokers)
    if topic.replicas is None or topic.replicas >= wanted:
        return []
    why = "otherwise a lost broker loses records (kafka-reassign-partitions adds replicas)"
    return [f"topic {spec.name} has {topic.replicas} replicas; it must have at least {wanted}; {why}"]


def _config_problems(spec: TopicSpec, topic: FoundTopic, config: Mapping[str, str]) -> list[str]:
    """A setting that the broker does not report does not exist there, so it cannot be wrong."""
    return [
        f"topic {spec.name} has {rule.key}={actual}; it must be {rule.expected} ({_alter(spec, rule.key, rule.right)})"
        for rule in _rules(spec, topic)
        if (actual := config.get(rule.key)) is not None and not rule.holds(actual)
    ]


def _alter(spec: TopicSpec, key: str, value: str) -> str:
    return f"kafka-configs --alter --entity-type topics --entity-name {spec.name} --add-config {key}={value}"


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a setting must be; `right` is a value that is."""

    key: str
    expected: str
    right: str
    holds: Callable[[str], bool]


def _rules(spec: TopicSpec, topic: FoundTopic) -> Iterator[_Rule]:
    created = spec.creation_config(topic.replicas or 1)
    for key in ("cleanup.policy", "unclean.leader.election.enable", "message.timestamp.type"):
        if key in created:
            yield _Rule(key, created[key], created[key], created[key].__eq__)
    yield _at_least("min.insync.replicas", int(created["min.insync.replicas"]))
    yield _at_least(_LARGEST, KAFKAS_LARGEST)
    if spec.min_retention_ms is not None:
        yield _kept_for("retention.ms", spec.min_retention_ms)
        no_limit = "-1, no limit: a size limit deletes records regardless of their age"
        yield _Rule("retention.bytes", no_limit, "-1", "-1".__eq__)
    if spec.min_delete_retention_ms is not None:
        yield _kept_for("delete.retention.ms", spec.min_delete_retention_ms)


def _at_least(key: str, least: int) -> _Rule:
    return _Rule(key, f"at least {least}", str(least), lambda actual: int(actual) >= least)


def _kept_for(key: str, least: int) -> _Rule:
    days = f"at least {least} ({least // DAY_MS} days)"
    return _Rule(key, days, str(least), lambda actual: int(actual) < 0 or int(actual) >= least)


def _copy_problems(spec: TopicSpec, config: Mapping[str, str], topics: Mapping[str, FoundTopic]) -> list[str]:
    """The topic for copies must accept every record that the original topic accepts."""
    source = topics.get(spec.copies_of or "")
    copied, takes = (source.config or {} if source else {}).get(_LARGEST), config.get(_LARGEST)
    if copied is None or takes is None or int(takes) >= int(copied):
        return []
    why = f"the limit of {spec.copies_of}, whose records are copied there"
    remedy = _alter(spec, _LARGEST, copied)
    return [f"topic {spec.name} has {_LARGEST}={takes}; it must be at least {copied}, {why} ({remedy})"]


_LARGEST = "max.message.bytes"
