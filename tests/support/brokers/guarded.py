"""Users of a real Kafka with ACLs: what they may do is exactly what a test grants."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from ops.demo.waiting import HANGS_AFTER_S, wait_until
from runtime.rights import Operation, Resource, Right
from schemas.topics import Topics
from tests.support.brokers.config import SCRAM
from tests.support.brokers.kafka import RealKafka

_OPERATIONS = {
    Operation.READ: AclOperation.READ,
    Operation.WRITE: AclOperation.WRITE,
    Operation.CREATE: AclOperation.CREATE,
    Operation.DESCRIBE: AclOperation.DESCRIBE,
    Operation.DESCRIBE_CONFIGS: AclOperation.DESCRIBE_CONFIGS,
}
_RESOURCES = {
    Resource.TOPIC: ResourceType.TOPIC,
    Resource.GROUP: ResourceType.GROUP,
    Resource.TRANSACTIONAL_ID: ResourceType.TRANSACTIONAL_ID,
    Resource.CLUSTER: ResourceType.BROKER,
}


@dataclass
class GuardedUser:
    """A user who may do nothing until something is granted, and how it signs in."""

    kafka: RealKafka
    name: str
    password: str
    ca_file: Path

    def grant(self, rights: Iterable[Right]) -> None:
        if bindings := [self._binding(each) for each in rights]:
            for done in self.kafka.admin.create_acls(bindings, request_timeout=HANGS_AFTER_S).values():
                done.result()

    def revoke(self, right: Right) -> None:
        """Returns when the broker has heard of it."""
        binding = self._binding(right)
        wish = AclBindingFilter(
            binding.restype, binding.name, binding.resource_pattern_type, binding.principal, "*", binding.operation,
            AclPermissionType.ALLOW,
        )  # fmt: skip
        for done in self.kafka.admin.delete_acls([wish], request_timeout=HANGS_AFTER_S).values():
            assert len(done.result()) == 1, f"{right.operation} on {right.on} was not granted"

        def gone() -> bool:
            return not self.kafka.admin.describe_acls(wish, request_timeout=HANGS_AFTER_S).result()

        wait_until(gone, what="the right is gone")

    def environment(self, prefix: str) -> dict[str, str]:
        """Settings of a service or command, by the prefix of their names."""
        assert self.kafka.secure is not None
        return {
            f"{prefix}BROKER__BOOTSTRAP_SERVERS": self.kafka.secure.bootstrap,
            f"{prefix}BROKER__TLS": "true",
            f"{prefix}BROKER__CA_FILE": str(self.ca_file),
            f"{prefix}BROKER__SASL__MECHANISM": SCRAM,
            f"{prefix}BROKER__SASL__USERNAME": self.name,
            f"{prefix}BROKER__SASL__PASSWORD": self.password,
            f"{prefix}BROKER__CHECK_TOPIC_POLICIES": "true",
        }

    def _binding(self, right: Right) -> AclBinding:
        pattern = ResourcePatternType.PREFIXED if right.pattern == "prefixed" else ResourcePatternType.LITERAL
        return AclBinding(
            _RESOURCES[right.resource], right.name, pattern, f"User:{self.name}", "*", _OPERATIONS[right.operation],
            AclPermissionType.ALLOW,
        )  # fmt: skip


def new_user(kafka: RealKafka, folder: Path, rights: Iterable[Right] = ()) -> GuardedUser:
    """A user of its own, with a password that may be anything."""
    assert kafka.secure is not None
    name, password = kafka.unique("user"), secrets.token_urlsafe(12)
    wish = UserScramCredentialUpsertion(
        name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), password.encode()
    )
    kafka.admin.alter_user_scram_credentials([wish], request_timeout=HANGS_AFTER_S)[name].result()
    (ca_file := folder / f"{name}.pem").write_text(kafka.secure.ca_pem)
    user = GuardedUser(kafka, name, password, ca_file)
    user.grant(rights)
    return user


def create_topics(kafka: RealKafka, partitions: int) -> str:
    """All topics of an installation, as `writeback topics create` makes them; the prefix of their names."""
    prefix = kafka.unique("guarded") + "."
    for spec in Topics().prefixed(prefix).all():
        kafka.create_topic(spec.name, partitions, spec.creation_config())
    return prefix
