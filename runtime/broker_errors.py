"""What a broker's errors mean: one table by error code for both services, and one by text for failed connections.
No I/O.

confluent-kafka gives each error a code. Why a connection failed (an unknown host, a refused sign-in) it only logs, as
text; the patterns for these texts are tested against a real broker.
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

    TRANSIENT = "transient"
    """It passes by itself: wait, and try again."""
    TOO_LARGE = "too large"
    """The record or its batch is too large. The record may pass alone; if it does not, it never will."""
    FORBIDDEN = "forbidden"
    """A right is missing. A person must grant it."""
    PERMANENT = "permanent"
    """Anything else. Trying again does not help."""


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
            KafkaError.UNKNOWN,  # the broker failed in its own code, as it does without space for an index
            KafkaError.KAFKA_STORAGE_ERROR,  # no space left, or another error of its disk
            KafkaError.UNKNOWN_TOPIC_OR_PART,  # a broker that has just started; a topic that is gone shows in the check
            KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
            KafkaError.COORDINATOR_NOT_AVAILABLE,
            KafkaError.NOT_COORDINATOR,
            KafkaError.CONCURRENT_TRANSACTIONS,
        ),
        Kind.TRANSIENT,
    ),
}


GROUP_MOVED_ON = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.STALE_MEMBER_EPOCH,
    }
)
"""What a transaction with offsets is refused with when its partitions may be another member's."""
FENCED = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001  its public name
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.UNKNOWN_PRODUCER_ID,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.INVALID_TXN_STATE,
    }
)
"""What a transaction is refused with when its producer has to be renewed."""


def names_of(codes: Iterable[int]) -> list[str]:
    """As logs and metrics have them."""
    return sorted(KafkaError(code).name() for code in codes)


def codes_of(*kinds: Kind) -> frozenset[int]:
    """Those that the table knows."""
    return frozenset(code for code, kind in _KINDS.items() if kind in kinds)


def kind_of(error: KafkaError) -> Kind:
    if error.fatal() and _KINDS.get(error.code()) is not Kind.FORBIDDEN:
        return Kind.PERMANENT
    return _KINDS.get(error.code(), Kind.TRANSIENT if error.retriable() else Kind.PERMANENT)


def missing_right(
    error: KafkaError, rights: Iterable[Right], *, doing: Operation, name: str | None = None, user: str | None = None
) -> str:
    """For an error of `Kind.FORBIDDEN`: the rights of this service that can be the missing one. `name` is the topic,
    where it is known."""
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
    """Why the connection failed, and the remedy. `pattern` finds it in the log. `certain`: a person must change the
    configuration. A text that a broker also causes while it shuts down, or when a session ends just while the client
    renews its token, counts only if it was logged several `times`.
    """

    pattern: str
    cause: str
    remedy: str
    certain: bool
    times: int = 1
    by_token: bool | None = None
    """Only for a sign-in by token, or only for one by password; None: for every sign-in."""

    def __str__(self) -> str:
        return f"{self.cause}; {self.remedy}"


UNTRUSTED = "certificate verify failed"
"""What librdkafka says of every certificate that it cannot verify; `certificates.why_untrusted` says more."""


_CONNECTIONS = (
    Trouble(
        r"SASL authentication error",
        "the broker refuses the token",
        "let BROKER__SASL__TOKEN__SCOPE or BROKER__SASL__TOKEN__AUDIENCE ask for a token with the issuer and audience "
        "that the broker expects, and check the clocks of both machines",
        certain=True,
        times=3,
        by_token=True,
    ),
    Trouble(
        r"SASL authentication error|invalid credentials",
        "the broker refuses the user name or the password",
        "check BROKER__SASL__USERNAME, BROKER__SASL__PASSWORD (or its file) and BROKER__SASL__MECHANISM",
        certain=True,
        by_token=False,
    ),
    Trouble(
        r"current SASL state|supported mechanisms: +\(",
        "the broker's port accepts no sign-in",
        "put a port that does into BROKER__BOOTSTRAP_SERVERS, or remove BROKER__SASL__…",
        certain=True,
        times=3,
    ),
    Trouble(
        r"mechanism handshake failed(?!.*current SASL state)",
        "the broker does not offer this way of signing in",
        "choose another BROKER__SASL__MECHANISM",
        certain=True,
    ),
    Trouble(
        r"(?i)hostname mismatch|IP address mismatch",
        "the broker's certificate is for another host name",
        "use the certificate's name in BROKER__BOOTSTRAP_SERVERS and in the broker's advertised listeners",
        certain=True,
    ),
    Trouble(
        r"certificate has expired",
        "the broker's certificate has expired, by this machine's clock",
        "renew the broker's certificate, or correct this machine's clock",
        certain=True,
    ),
    Trouble(
        UNTRUSTED,
        "this machine does not trust the authority that signed the broker's certificate",
        "set BROKER__CA_FILE to the file with that authority's certificate",
        certain=True,
    ),
    Trouble(
        r"not sending any client certificate",
        "the broker does not trust the authority that signed this client's certificate",
        "put a certificate of an authority that the broker trusts into BROKER__CERTIFICATE_FILE, with its key",
        certain=True,
    ),
    Trouble(
        r"alert bad certificate|alert certificate required",
        "the broker asks for a client certificate",
        "set BROKER__CERTIFICATE_FILE and BROKER__KEY_FILE, or put a port that wants none into "
        "BROKER__BOOTSTRAP_SERVERS",
        certain=True,
    ),
    Trouble(
        r"alert certificate (unknown|expired|revoked)|alert unknown ca|alert unsupported certificate",
        "the broker refuses this client's certificate",
        "renew the certificate in BROKER__CERTIFICATE_FILE, signed by an authority that the broker trusts",
        certain=True,
    ),
    Trouble(
        r"PLAINTEXT broker listener|wrong version number|SSL handshake failed",
        "BROKER__TLS asks for encryption, but the broker's port does not speak TLS",
        "put its TLS port into BROKER__BOOTSTRAP_SERVERS, or set BROKER__TLS=false",
        certain=True,
    ),
    Trouble(
        r"Failed to resolve",
        "this machine cannot resolve the host name",
        "check BROKER__BOOTSTRAP_SERVERS and this machine's DNS",
        certain=False,
    ),
    Trouble(
        r"Connection refused",
        "nothing listens at that address",
        "check BROKER__BOOTSTRAP_SERVERS and that the broker runs",
        certain=False,
    ),
    Trouble(
        r"in state APIVERSION_QUERY",
        "the broker closes the connection before its first answer, as a TLS port does to an unencrypted client",
        "set BROKER__TLS=true, or put another port into BROKER__BOOTSTRAP_SERVERS",
        certain=True,
        times=3,
    ),
    Trouble(
        r"closed by peer.* in state UP",
        "the broker closes the connection at the first request, as a port that needs a sign-in does",
        "set BROKER__SASL__MECHANISM and what it needs, such as BROKER__SASL__USERNAME and BROKER__SASL__PASSWORD",
        certain=True,
        times=3,
    ),
)
_SILENT = Trouble(
    "",
    "the broker does not answer",
    "check BROKER__BOOTSTRAP_SERVERS, the broker and the network between: a firewall may drop packets silently",
    certain=False,
)


def trouble(log_lines: Iterable[str], *, by_token: bool = False) -> Trouble:
    """The cause that the client's log lines show. If they show several, the first in the table counts. `by_token`: the
    client signs in with one."""
    texts = list(log_lines)
    for meaning in _CONNECTIONS:
        seen = sum(bool(re.search(meaning.pattern, text)) for text in texts)
        if seen >= meaning.times and meaning.by_token in (None, by_token):
            return meaning
    return _SILENT
