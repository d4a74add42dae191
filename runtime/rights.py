"""The rights that each service needs on a broker with ACLs: the one table for checks, docs and tests. No I/O.

Kafka grants Describe with Read and with Write, so no row asks for Describe beside them.
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
    OPERATOR = "operator"
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
    """One ACL that allows one operation. `why` completes the sentence "without it, …"."""

    role: Role
    resource: Resource
    name: str
    operation: Operation
    why: str
    pattern: Pattern = "literal"

    @property
    def on(self) -> str:
        """Resource and name, for a person."""
        return f"{_SHOWN[self.resource]} {self.name}"


_SHOWN = {
    Resource.TOPIC: "topic",
    Resource.GROUP: "consumer group",
    Resource.TRANSACTIONAL_ID: "transactional id",
    Resource.CLUSTER: "cluster",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupNames:
    """Full names of the consumer groups, with the topic prefix."""

    planner: str
    writer: str
    dry_run: str

    @classmethod
    def usual(cls, prefix: str = "") -> GroupNames:
        """The names that hold if no setting changes them."""
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
                Operation.READ: "the planner does not know which sessions are planned already",
                Operation.WRITE: "no plan is published",
            },
        ),
        *_on(
            Role.PLANNER,
            topics.call_outcomes_rejected,
            {Operation.WRITE: "an outcome that cannot be planned stops the planner"},
        ),
        _group(Role.PLANNER, group),
        _transactions(Role.PLANNER, group),
    )


def writer_rights(topics: Topics, group: str, *, write: bool) -> tuple[Right, ...]:
    """The rights that the writer needs in this mode."""
    if not write:
        return (
            *_on(Role.DRY_RUN, topics.planned_writebacks, {Operation.READ: "no plan is read"}),
            *_on(
                Role.DRY_RUN,
                topics.writeback_results,
                {Operation.READ: "the writer does not know which sessions settled before"},
            ),
            *_on(
                Role.DRY_RUN, topics.writeback_dry_run, {Operation.WRITE: "the dry run cannot report what it would do"}
            ),
            _group(Role.DRY_RUN, group),
            _transactions(Role.DRY_RUN, group),
        )
    return (
        *_on(
            Role.WRITER,
            topics.planned_writebacks,
            {
                Operation.READ: "no plan is read",
                Operation.WRITE: "a failing plan holds up all behind it",
            },
        ),
        *_on(
            Role.WRITER,
            topics.writeback_results,
            {
                Operation.READ: "the writer does not know which sessions settled before",
                Operation.WRITE: "no plan settles",
            },
        ),
        *_on(
            Role.WRITER,
            topics.planned_writebacks_rejected,
            {Operation.WRITE: "a record that cannot be decoded stops the writer"},
        ),
        _group(Role.WRITER, group),
        _transactions(Role.WRITER, group),
    )


def check_rights(topics: Topics) -> tuple[Right, ...]:
    """The rights that `writeback topics check` needs. It changes nothing."""
    describe = {Operation.DESCRIBE: "the command cannot see the topic"}
    return tuple(right for spec in topics.all() for right in _on(Role.CHECK, spec, describe))


def create_rights(topics: Topics) -> tuple[Right, ...]:
    """The rights that `writeback topics create` needs."""
    return tuple(
        Right(Role.CREATE, Resource.TOPIC, spec.name, operation, why)
        for spec in topics.all()
        for operation, why in (
            (Operation.DESCRIBE, "the command cannot see an existing topic and its partition count"),
            (Operation.CREATE, "the command cannot create the topic"),
        )
    )


def operator_rights(topics: Topics, groups: GroupNames) -> tuple[Right, ...]:
    """The rights of a person with `writeback`: reads every topic, records what was changed, sends plans and outcomes
    again, moves a group back."""
    read = {Operation.READ: "the commands cannot show what is on the topic"}
    written = {
        topics.operator_actions.name: {Operation.WRITE: "no change can be recorded, and so none is made"},
        topics.planned_writebacks.name: {Operation.WRITE: "no session can be replayed"},
        topics.call_outcomes.name: {Operation.WRITE: "no rejected outcome can be sent again"},
        topics.writeback_results.name: {Operation.WRITE: "no session can be retired or forgotten"},
    }
    return (
        *(right for spec in topics.all() for right in _on(Role.OPERATOR, spec, read | written.get(spec.name, {}))),
        *(
            Right(Role.OPERATOR, Resource.GROUP, name, Operation.READ, "the commands cannot see or move its offsets")
            for name in (groups.planner, groups.writer, groups.dry_run)
        ),
    )


def call_system_rights(topics: Topics) -> tuple[Right, ...]:
    """The rights of a call system, which publishes outcomes."""
    name = topics.call_outcomes.name
    return (Right(Role.CALL_SYSTEM, Resource.TOPIC, name, Operation.WRITE, "no outcome can be published"),)


def all_rights(topics: Topics, groups: GroupNames) -> tuple[Right, ...]:
    """The whole table."""
    return (
        *call_system_rights(topics),
        *planner_rights(topics, groups.planner),
        *writer_rights(topics, groups.writer, write=True),
        *writer_rights(topics, groups.dry_run, write=False),
        *operator_rights(topics, groups),
        *check_rights(topics),
        *create_rights(topics),
    )


Allowed = Mapping[tuple[Resource, str], Collection[str] | None]
"""The operations that the broker allows, by resource and name; None where the broker does not report them."""


def missing(rights: Iterable[Right], allowed: Allowed, *, user: str | None) -> list[str]:
    """Every right that the broker does not grant, with the command that grants it."""
    return [
        refused(right, user)
        for right in rights
        if (given := allowed.get((right.resource, right.name))) is not None and right.operation not in given
    ]


def refused(right: Right, user: str | None = None) -> str:
    """The problem of a missing right: its consequence, and the command that grants it."""
    return (
        f"{right.operation} on {right.on} is not allowed to {_principal(user)}; without it, {right.why}; "
        f"grant it with: {grant(right, user)}"
    )


def grant(right: Right, user: str | None = None) -> str:
    """The kafka-acls command that grants it, without the broker's address."""
    where = {
        Resource.TOPIC: f"--topic {right.name}",
        Resource.GROUP: f"--group {right.name}",
        Resource.TRANSACTIONAL_ID: f"--transactional-id {right.name}",
        Resource.CLUSTER: "--cluster",
    }[right.resource]
    pattern = " --resource-pattern-type prefixed" if right.pattern == "prefixed" else ""
    return f"kafka-acls --add --allow-principal {_principal(user)} --operation {right.operation} {where}{pattern}"


def table(rights: Iterable[Right]) -> list[tuple[str, str, str]]:
    """Rows for a person: role, resource, operations."""
    return [(role, on, ", ".join(each.operation for each in some)) for (role, on), some in _grouped(rights)]


def strimzi(rights: Iterable[Right]) -> list[dict[str, Any]]:
    """`spec.authorization.acls` of a Strimzi KafkaUser, whose `type` is simple."""
    found = []
    for _, same in _grouped(rights):
        first = same[0]
        pattern = "prefix" if first.pattern == "prefixed" else first.pattern
        resource = {"type": _STRIMZIS[first.resource], "name": first.name, "patternType": pattern}
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
    why = "the topic's settings cannot be checked"
    yield Right(role, Resource.TOPIC, spec.name, Operation.DESCRIBE_CONFIGS, why)


def _group(role: Role, name: str) -> Right:
    return Right(role, Resource.GROUP, name, Operation.READ, "it can neither join its group nor commit offsets")


def _transactions(role: Role, group: str) -> Right:
    """Each process appends its own suffix to the group's name. A broker reports no rights on transactional ids."""
    why = "nothing is published, because records and offsets go in one transaction"
    return Right(role, Resource.TRANSACTIONAL_ID, f"{group}-", Operation.WRITE, why, "prefixed")


def _principal(user: str | None) -> str:
    return f"User:{user or 'NAME'}"
