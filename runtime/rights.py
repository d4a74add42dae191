"""What each service may do on a broker with ACLs: the one table from which checks, docs and tests come. No I/O.

Kafka lets whoever may read or write something describe it too, so no row asks for Describe where it follows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any, Literal

from schemas.topics import Topics, TopicSpec


class Role(StrEnum):
    CALL_SYSTEM = "call system"
    PLANNER = "planner"
    WRITER = "writer"
    DRY_RUN = "writer, dry run"
    CHECK = "topics check"
    CREATE = "topics create"


class Resource(StrEnum):
    TOPIC = "Topic"
    GROUP = "Group"
    TRANSACTIONAL_ID = "TransactionalId"
    CLUSTER = "Cluster"


class Operation(StrEnum):
    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"


Pattern = Literal["literal", "prefixed"]


@dataclass(frozen=True, slots=True)
class Right:
    """One ACL that allows one operation. `why` ends the sentence "without it, …"."""

    role: Role
    resource: Resource
    name: str
    operation: Operation
    why: str
    pattern: Pattern = "literal"

    @property
    def on(self) -> str:
        """Resource and name, as a person says it."""
        return f"{_SAID[self.resource]} {self.name}"


_SAID = {
    Resource.TOPIC: "topic",
    Resource.GROUP: "consumer group",
    Resource.TRANSACTIONAL_ID: "transactional id",
    Resource.CLUSTER: "cluster",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Full names of the consumer groups, the topic prefix included."""

    planner: str
    writer: str
    dry_run: str

    @classmethod
    def usual(cls, prefix: str = "") -> Groups:
        """As they are named where no setting says otherwise."""
        return cls(
            planner=f"{prefix}writeback-planner",
            writer=f"{prefix}writeback-writer",
            dry_run=f"{prefix}writeback-dry-run",
        )


def planner_rights(topics: Topics, group: str) -> tuple[Right, ...]:
    return (
        *_on(Role.PLANNER, topics.call_outcomes, {Operation.READ: "no outcome is planned"}),
        *_on(
            Role.PLANNER,
            topics.planned_writebacks,
            {
                Operation.READ: "nobody knows which sessions are planned already",
                Operation.WRITE: "no plan is published",
            },
        ),
        *_on(
            Role.PLANNER,
            topics.call_outcomes_rejected,
            {Operation.WRITE: "an outcome that cannot be planned stops all"},
        ),
        _group(Role.PLANNER, group),
        _transactions(Role.PLANNER, group),
    )


def writer_rights(topics: Topics, group: str, *, write: bool) -> tuple[Right, ...]:
    """Of this mode."""
    if not write:
        return (
            *_on(Role.DRY_RUN, topics.planned_writebacks, {Operation.READ: "no plan is taken"}),
            *_on(
                Role.DRY_RUN, topics.writeback_results, {Operation.READ: "nobody knows which sessions settled before"}
            ),
            *_on(Role.DRY_RUN, topics.writeback_dry_run, {Operation.WRITE: "nobody sees what would be done"}),
            _group(Role.DRY_RUN, group),
            _transactions(Role.DRY_RUN, group),
        )
    return (
        *_on(
            Role.WRITER,
            topics.planned_writebacks,
            {Operation.READ: "no plan is taken", Operation.WRITE: "a plan that fails holds up all behind it"},
        ),
        *_on(
            Role.WRITER,
            topics.writeback_results,
            {Operation.READ: "nobody knows which sessions settled before", Operation.WRITE: "no plan settles"},
        ),
        *_on(Role.WRITER, topics.planned_writebacks_rejected, {Operation.WRITE: "a record that is no plan stops all"}),
        _group(Role.WRITER, group),
        _transactions(Role.WRITER, group),
    )


def check_rights(topics: Topics) -> tuple[Right, ...]:
    """Of `writeback topics check`, which looks and changes nothing."""
    nobody_knows = {Operation.DESCRIBE: "the topic cannot be seen"}
    return tuple(right for spec in topics.all() for right in _on(Role.CHECK, spec, nobody_knows))


def create_rights(topics: Topics) -> tuple[Right, ...]:
    """Of `writeback topics create`."""
    return tuple(
        Right(Role.CREATE, Resource.TOPIC, spec.name, operation, why)
        for spec in topics.all()
        for operation, why in (
            (Operation.DESCRIBE, "a topic that exists cannot be seen, nor how many partitions it has"),
            (Operation.CREATE, "the topic cannot be created"),
        )
    )


def call_system_rights(topics: Topics) -> tuple[Right, ...]:
    """Of those who publish outcomes."""
    name = topics.call_outcomes.name
    return (Right(Role.CALL_SYSTEM, Resource.TOPIC, name, Operation.WRITE, "no outcome can be published"),)


def all_rights(topics: Topics, groups: Groups) -> tuple[Right, ...]:
    """The whole table."""
    return (
        *call_system_rights(topics),
        *planner_rights(topics, groups.planner),
        *writer_rights(topics, groups.writer, write=True),
        *writer_rights(topics, groups.dry_run, write=False),
        *check_rights(topics),
        *create_rights(topics),
    )


Allowed = Mapping[tuple[Resource, str], Collection[str] | None]
"""What the broker says one may do, by resource and name, in the broker's words; None where it does not say."""


def missing(rights: Iterable[Right], allowed: Allowed, *, user: str | None) -> list[str]:
    """Every right that the broker does not give, with the command that gives it."""
    return [
        refused(right, user)
        for right in rights
        if (given := allowed.get((right.resource, right.name))) is not None and right.operation not in given
    ]


def refused(right: Right, user: str | None = None) -> str:
    """What a person has to know of a right that the broker does not give."""
    return (
        f"{right.operation} on {right.on} is not allowed to {_principal(user)}; without it, {right.why}; "
        f"grant it with: {grant(right, user)}"
    )


def grant(right: Right, user: str | None = None) -> str:
    """The command of Kafka's own tools that grants it; the address of the broker is the reader's."""
    where = {
        Resource.TOPIC: f"--topic {right.name}",
        Resource.GROUP: f"--group {right.name}",
        Resource.TRANSACTIONAL_ID: f"--transactional-id {right.name}",
        Resource.CLUSTER: "--cluster",
    }[right.resource]
    pattern = " --resource-pattern-type prefixed" if right.pattern == "prefixed" else ""
    return f"kafka-acls --add --allow-principal {_principal(user)} --operation {right.operation} {where}{pattern}"


def table(rights: Iterable[Right]) -> list[tuple[str, str, str]]:
    """Rows for a person: who, on what, which operations."""
    return [(role, on, ", ".join(each.operation for each in some)) for (role, on), some in _grouped(rights)]


def strimzi(rights: Iterable[Right]) -> list[dict[str, Any]]:
    """`spec.authorization.acls` of a KafkaUser of Strimzi's."""
    found = []
    for _, same in _grouped(rights):
        first = same[0]
        resource = {"type": _STRIMZIS[first.resource], "name": first.name, "patternType": first.pattern}
        found.append({"resource": resource, "operations": [each.operation.value for each in same]})
    return found


_STRIMZIS = {
    Resource.TOPIC: "topic",
    Resource.GROUP: "group",
    Resource.TRANSACTIONAL_ID: "transactionalId",
    Resource.CLUSTER: "cluster",
}


def _grouped(rights: Iterable[Right]) -> Iterator[tuple[tuple[str, str], Sequence[Right]]]:
    for key, same in groupby(rights, lambda each: (each.role.value, each.on)):
        yield key, list(same)


def _on(role: Role, spec: TopicSpec, operations: Mapping[Operation, str]) -> Iterator[Right]:
    for operation, why in operations.items():
        yield Right(role, Resource.TOPIC, spec.name, operation, why)
    why = "nobody can check that the topic keeps what it must"
    yield Right(role, Resource.TOPIC, spec.name, Operation.DESCRIBE_CONFIGS, why)


def _group(role: Role, name: str) -> Right:
    return Right(role, Resource.GROUP, name, Operation.READ, "it cannot join its group, nor say how far it is")


def _transactions(role: Role, group: str) -> Right:
    """Each process has an id of its own behind the group's name. What is allowed here, a broker tells nobody before."""
    why = "nothing is published, since records and progress go in one transaction"
    return Right(role, Resource.TRANSACTIONAL_ID, f"{group}-", Operation.WRITE, why, "prefixed")


def _principal(user: str | None) -> str:
    return f"User:{user or 'NAME'}"
