"""The settings of the one-node Kafka that the broker tier runs on. Pure: the same for Maven and for a container."""

from collections.abc import Mapping
from dataclasses import dataclass

SCRAM = "SCRAM-SHA-512"
AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"

# Everything that makes a broker slow or careful by default, the other way round.
_FAST: Mapping[str, str] = {
    "auto.create.topics.enable": "false",
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "log.cleaner.backoff.ms": "500",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.initial.task.delay.ms": "200",
    "log.retention.check.interval.ms": "1000",
    "log.segment.delete.delay.ms": "1000",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
}


@dataclass(frozen=True)
class Ports:
    plain: int
    secure: int
    controller: int


@dataclass(frozen=True)
class Identity:
    """The broker's certificate, PEM: chain and its PKCS#8 key."""

    chain_pem: str
    key_pem: str


def broker_properties(
    ports: Ports, identity: Identity, *, superuser: str, data: str, bind: str = "127.0.0.1"
) -> dict[str, str]:
    """A broker that is its own controller, with a plain listener and one with TLS and SCRAM.

    `data` is the log directory; `bind` the address listened on. Clients are told 127.0.0.1 and localhost.
    """
    addresses = {"PLAIN": ports.plain, "SECURE": ports.secure, "CONTROLLER": ports.controller}
    secure = "listener.name.secure."
    return {
        **_FAST,
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{ports.controller}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAIN",
        "listeners": ",".join(f"{name}://{bind}:{port}" for name, port in addresses.items()),
        "advertised.listeners": f"PLAIN://127.0.0.1:{ports.plain},SECURE://localhost:{ports.secure}",
        "listener.security.protocol.map": "PLAIN:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT",
        "log.dirs": data,
        # Without sign-in everything is allowed, and so it is for the tests' own user; everybody else needs ACLs.
        "authorizer.class.name": AUTHORIZER,
        "super.users": f"User:ANONYMOUS;User:{superuser}",
        secure + "sasl.enabled.mechanisms": SCRAM,
        secure
        + f"{SCRAM.lower()}.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        secure + "ssl.keystore.type": "PEM",
        secure + "ssl.keystore.certificate.chain": one_line(identity.chain_pem),
        secure + "ssl.keystore.key": one_line(identity.key_pem),
    }


def properties_text(properties: Mapping[str, str]) -> str:
    """A Java properties file; values are single lines here."""
    return "".join(f"{key}={value}\n" for key, value in sorted(properties.items()))


def container_environment(properties: Mapping[str, str]) -> dict[str, str]:
    """The same settings as the apache/kafka image takes them: KAFKA_, `.` as `_`, `_` as `__`, `-` as `___`."""
    rename = str.maketrans({".": "_", "_": "__", "-": "___"})
    return {f"KAFKA_{key.translate(rename).upper()}": value for key, value in properties.items()}


def one_line(pem: str) -> str:
    return " ".join(pem.split("\n")).strip()
