"""One real Kafka with a listener for each way to sign in, and for each way in which a certificate can be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from tests.support.brokers.config import Identity, one_line
from tests.support.brokers.kafka import RealKafka
from tests.support.brokers.servers import Kafka, issue
from tests.support.ports import free_ports
from tests.support.tokens import AUDIENCE, ISSUER, TokenService

PLAIN_USER, PLAIN_PASSWORD = "$ConnectionString", "Endpoint=sb://ns.example/;SharedAccessKey=a+b=="
_SECURITY = "org.apache.kafka.common.security"
_PROTOCOLS = {
    "PASSWORDS": "SASL_SSL",
    "CERTIFICATES": "SSL",
    "TOKENS": "SASL_SSL",
    "OTHERNAME": "SASL_SSL",
    "EXPIRED": "SASL_SSL",
}
SESSION_MS = 3_000
"""How long a sign-in with a token holds, at most."""


@dataclass(frozen=True)
class Guises:
    """`ports`: by listener. `clients`: the authority of clients' certificates."""

    kafka: RealKafka
    ports: dict[str, int]
    ca_file: Path
    clients: trustme.CA
    tokens: TokenService

    def at(self, listener: str) -> str:
        return f"localhost:{self.ports[listener]}"


@contextmanager
def kafka_in_every_guise(work: Path, tokens: TokenService) -> Iterator[Guises]:
    """Everybody who can sign in may do everything."""
    servers, clients = trustme.CA(), trustme.CA()
    ports = dict(zip(_PROTOCOLS, free_ports(len(_PROTOCOLS)), strict=True))
    (jwks := work / "jwks.json").write_text(tokens.jwks)
    servers.cert_pem.write_to_path(str(ca_file := work / "ca.pem"))
    allowed = f"{_SECURITY.replace('common.security', 'sasl')}.oauthbearer.allowed"
    broker = Kafka(
        work,
        authority=servers,
        listeners={name: (protocol, ports[name]) for name, protocol in _PROTOCOLS.items()},
        more=dict(_properties(servers, clients, jwks)),
        java=[f"-D{allowed}.urls={jwks.as_uri()}", f"-D{allowed}.files={jwks}"],
    )
    broker.start()
    try:
        yield Guises(RealKafka(broker.bootstrap, broker.secure, "guises"), ports, ca_file, clients, tokens)
    finally:
        broker.kill()


def _properties(servers: trustme.CA, clients: trustme.CA, jwks: Path) -> Iterator[tuple[str, str]]:
    yield "allow.everyone.if.no.acl.found", "true"
    yesterday = datetime.now(UTC) - timedelta(days=1)
    certificates = {
        "OTHERNAME": issue(servers, "other.example"),
        "EXPIRED": issue(servers, not_after=yesterday),
    }
    for name in _PROTOCOLS:
        yield from _keystore(name, certificates.get(name) or issue(servers))
    yield from _passwords("PASSWORDS")
    yield from _passwords("OTHERNAME")
    yield from _passwords("EXPIRED")
    of = "listener.name.certificates."
    yield of + "ssl.client.auth", "required"
    yield of + "ssl.truststore.type", "PEM"
    yield of + "ssl.truststore.certificates", one_line(clients.cert_pem.bytes().decode())
    of = "listener.name.tokens."
    yield of + "sasl.enabled.mechanisms", "OAUTHBEARER"
    yield of + "connections.max.reauth.ms", str(SESSION_MS)
    of += "oauthbearer."
    yield of + "sasl.jaas.config", f"{_SECURITY}.oauthbearer.OAuthBearerLoginModule required;"
    handler = f"{_SECURITY}.oauthbearer.OAuthBearerValidatorCallbackHandler"
    yield of + "sasl.server.callback.handler.class", handler
    yield of + "sasl.oauthbearer.jwks.endpoint.url", jwks.as_uri()
    yield of + "sasl.oauthbearer.expected.audience", AUDIENCE
    yield of + "sasl.oauthbearer.expected.issuer", ISSUER
    yield of + "sasl.oauthbearer.clock.skew.seconds", "0"


def _keystore(listener: str, identity: Identity) -> Iterator[tuple[str, str]]:
    of = f"listener.name.{listener.lower()}.ssl.keystore."
    yield of + "type", "PEM"
    yield of + "certificate.chain", one_line(identity.chain_pem)
    yield of + "key", one_line(identity.key_pem)


def _passwords(listener: str) -> Iterator[tuple[str, str]]:
    of = f"listener.name.{listener.lower()}."
    yield of + "sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
    for mechanism in ("scram-sha-256", "scram-sha-512"):
        yield of + f"{mechanism}.sasl.jaas.config", f"{_SECURITY}.scram.ScramLoginModule required;"
    users = f'user_{PLAIN_USER}="{PLAIN_PASSWORD}"'
    yield of + "plain.sasl.jaas.config", f"{_SECURITY}.plain.PlainLoginModule required {users};"
