"""What a broker's errors mean: one table for both services, and one for what is said when no connection comes about.
No I/O.

Everything of confluent-kafka's goes by its code. The broker client's own causes (a host that is not known, a sign-in
that is refused) come as text only; their patterns are tested against a real broker.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from confluent_kafka import KafkaError

from runtime.rights import Operation, Resource, Right, refused


class Kind(StrEnum):
    """What happens next."""

    PASSES = "passes"
    """It comes and goes: wait, and try again."""
    TOO_LARGE = "too large"
    """This record, or the batch it is in, for its size: alone it may pass; if not, it never will."""
    FORBIDDEN = "forbidden"
    """A right is missing: a person must grant it."""
    REFUSED = "refused"
    """Whatever else: nothing that is tried again would help."""


_RESOURCES = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: Resource.TOPIC,
    KafkaError.GROUP_AUTHORIZATION_FAILED: Resource.GROUP,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Resource.TRANSACTIONAL_ID,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: Resource.CLUSTER,
}

_KINDS: dict[int, Kind] = {
    **dict.fromkeys(_RESOURCES, Kind.FORBIDDEN),
    KafkaError.MSG_SIZE_TOO_LARGE: Kind.TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE: Kind.TOO_LARGE,  # over segment.bytes, where the others are over max.message.bytes
    KafkaError.INVALID_MSG_SIZE: Kind.TOO_LARGE,
    **dict.fromkeys(
        (
            KafkaError._MSG_TIMED_OUT,  # noqa: SLF001  this one and the next: their public names
            KafkaError._TRANSPORT,  # noqa: SLF001
            KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
            KafkaError._TIMED_OUT,  # noqa: SLF001
            KafkaError._RESOLVE,  # noqa: SLF001
            KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001  we were stopped and woke up; the client joins again by itself
            KafkaError.REQUEST_TIMED_OUT,
            KafkaError.NOT_ENOUGH_REPLICAS,
            KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            KafkaError.LEADER_NOT_AVAILABLE,
            KafkaError.NOT_LEADER_FOR_PARTITION,
            KafkaError.UNKNOWN_TOPIC_OR_PART,  # a broker that has just started; a topic that is gone shows in the check
            KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
            KafkaError.COORDINATOR_NOT_AVAILABLE,
            KafkaError.NOT_COORDINATOR,
            KafkaError.CONCURRENT_TRANSACTIONS,
        ),
        Kind.PASSES,
    ),
}


def kind_of(error: KafkaError) -> Kind:
    if error.fatal() and _KINDS.get(error.code()) is not Kind.FORBIDDEN:
        return Kind.REFUSED
    return _KINDS.get(error.code(), Kind.PASSES if error.retriable() else Kind.REFUSED)


def missing_right(
    error: KafkaError, rights: Iterable[Right], *, doing: Operation, name: str | None = None, user: str | None = None
) -> str:
    """Of an error that is `Kind.FORBIDDEN`: which of the rights of this service it can only be. `name` is the topic,
    where that is known."""
    resource = _RESOURCES[error.code()]
    candidates = [
        refused(each, user)
        for each in rights
        if each.resource is resource and each.operation is doing and name in (None, each.name)
    ]
    where = f"{resource} {name}" if name else resource
    unknown = f"{doing} on {where} is not allowed; `writeback topics rights` lists what to grant"
    return f"{' or: '.join(candidates) or unknown} ({error.name()})"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no connection, and the way out. `certain`: a person must change the configuration. What is also
    said by a broker that is just going down has to be said several `times`."""

    cause: str
    remedy: str
    certain: bool
    times: int = 1

    def __str__(self) -> str:
        return f"{self.cause}; {self.remedy}"


_CONNECTIONS: tuple[tuple[str, Trouble], ...] = (
    (
        r"SASL authentication error|invalid credentials",
        Trouble(
            "the broker refuses the user name or the password",
            "check BROKER__SASL__USERNAME, BROKER__SASL__PASSWORD and BROKER__SASL__MECHANISM",
            certain=True,
        ),
    ),
    (
        r"current SASL state|supported mechanisms: +\(",
        Trouble(
            "the broker's port takes no sign-in",
            "name a port that does in BROKER__BOOTSTRAP_SERVERS, or leave BROKER__SASL__… out",
            certain=True,
        ),
    ),
    (
        r"mechanism handshake failed",
        Trouble(
            "the broker does not offer this way of signing in",
            "choose another BROKER__SASL__MECHANISM",
            certain=True,
        ),
    ),
    (
        r"hostname mismatch|IP address mismatch",
        Trouble(
            "the broker's certificate is for another host name",
            "use the certificate's name in BROKER__BOOTSTRAP_SERVERS and in the broker's advertised listeners",
            certain=True,
        ),
    ),
    (
        r"certificate verify failed",
        Trouble(
            "the broker's certificate is not signed by an authority that is trusted here",
            "name the file with that authority's certificate in BROKER__CA_FILE",
            certain=True,
        ),
    ),
    (
        r"PLAINTEXT broker listener|wrong version number|SSL handshake failed",
        Trouble(
            "the connection is to be encrypted, and the broker's port speaks no TLS",
            "name its TLS port in BROKER__BOOTSTRAP_SERVERS, or set BROKER__TLS=false",
            certain=True,
        ),
    ),
    (
        r"Failed to resolve",
        Trouble(
            "the host name is not known here",
            "check BROKER__BOOTSTRAP_SERVERS, and that this machine's name service knows it",
            certain=False,
        ),
    ),
    (
        r"Connection refused",
        Trouble(
            "nothing listens at that address",
            "check BROKER__BOOTSTRAP_SERVERS, and whether the broker runs",
            certain=False,
        ),
    ),
    (
        r"in state APIVERSION_QUERY",
        Trouble(
            "the broker closes the connection before its first answer, as a TLS port does with what is not encrypted",
            "set BROKER__TLS=true, or name another port in BROKER__BOOTSTRAP_SERVERS",
            certain=True,
            times=3,
        ),
    ),
    (
        r"closed by peer.* in state UP",
        Trouble(
            "the broker closes the connection at the first request, as a port does that wants a sign-in",
            "set BROKER__SASL__USERNAME and BROKER__SASL__PASSWORD",
            certain=True,
            times=3,
        ),
    ),
)
_SILENT = Trouble(
    "the broker does not answer",
    "check BROKER__BOOTSTRAP_SERVERS, the broker, and what lies between: a firewall drops connections in silence",
    certain=False,
)


def trouble(said: Iterable[str]) -> Trouble:
    """The most telling of everything that the client said while it tried to connect, in the order of the table."""
    texts = list(said)
    for pattern, meaning in _CONNECTIONS:
        if sum(bool(re.search(pattern, text)) for text in texts) >= meaning.times:
            return meaning
    return _SILENT
