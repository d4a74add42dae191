"""One table says what a broker's errors mean, whoever meets them."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from runtime.broker_errors import Kind, kind_of, missing_right, trouble
from runtime.connection import BrokerSettings
from runtime.rights import GroupNames, Operation, planner_rights
from schemas.topics import Topics

RIGHTS = planner_rights(Topics(), GroupNames.usual().planner)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, Kind.TOO_LARGE),
        (KafkaError.RECORD_LIST_TOO_LARGE, Kind.TOO_LARGE),
        (KafkaError.INVALID_MSG_SIZE, Kind.TOO_LARGE),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Kind.FORBIDDEN),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, Kind.FORBIDDEN),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, Kind.FORBIDDEN),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, Kind.FORBIDDEN),
        (KafkaError._TRANSPORT, Kind.TRANSIENT),
        (KafkaError.NOT_ENOUGH_REPLICAS, Kind.TRANSIENT),
        (KafkaError.UNKNOWN, Kind.TRANSIENT),
        (KafkaError.KAFKA_STORAGE_ERROR, Kind.TRANSIENT),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, Kind.TRANSIENT),
        (KafkaError._UNKNOWN_PARTITION, Kind.PERMANENT),
        (KafkaError.INVALID_PRODUCER_EPOCH, Kind.PERMANENT),
    ],
)
def test_every_error_has_a_kind_and_what_nobody_thought_of_is_refused(code: int, kind: Kind) -> None:
    assert kind_of(KafkaError(code)) is kind


def test_what_is_fatal_never_passes_but_a_missing_right_stays_one() -> None:
    assert kind_of(KafkaError(KafkaError._TRANSPORT, "text", True)) is Kind.PERMANENT
    assert kind_of(KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "text", True)) is Kind.FORBIDDEN


def test_what_the_client_calls_retriable_passes() -> None:
    assert kind_of(KafkaError(KafkaError.REBALANCE_IN_PROGRESS, "text", False, True)) is Kind.TRANSIENT


def test_a_missing_right_is_named_by_what_was_tried() -> None:
    topic = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    written = missing_right(topic, RIGHTS, doing=Operation.WRITE, name="planned-writebacks", user="calls")
    assert written.startswith("Write on topic planned-writebacks is not allowed to User:calls; without it, no plan")
    assert written.endswith("--operation Write --topic planned-writebacks (TOPIC_AUTHORIZATION_FAILED)")
    read = missing_right(topic, RIGHTS, doing=Operation.READ)
    assert "Read on topic call-outcomes is" in read
    assert " or: Read on topic planned-writebacks is" in read
    group = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)
    assert "Read on consumer group writeback-planner" in missing_right(group, RIGHTS, doing=Operation.READ)


def test_a_missing_right_that_is_in_no_table_is_named_by_its_resource() -> None:
    error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert "Write on Topic plans is not allowed;" in missing_right(error, (), doing=Operation.WRITE, name="plans")
    assert "Write on Topic is not allowed;" in missing_right(error, (), doing=Operation.WRITE)


CLOSED = "127.0.0.1:9093/bootstrap: Disconnected: connection closed by peer: receive 0 (after 1ms in state {state})"

ALERT = (
    "ssl://b:1/bootstrap: Receive failed: error:0A000412:SSL routines::ssl/tls alert {}: SSL alert number 42 (after)"
)
TOKEN_REFUSED = 'b: SASL authentication error: {"status":"invalid_token"} (after 318ms in state AUTH_REQ)'
SESSION_ENDED = (
    "b: SASL OAUTHBEARER mechanism handshake failed: Broker: Request not valid in current SASL state: broker's "
    "supported mechanisms:  (after 6ms in state AUTH_HANDSHAKE)"
)


@pytest.mark.parametrize(
    ("said", "cause", "certain"),
    [
        (["b: SASL authentication error: Authentication failed"], "refuses the user name or the password", True),
        (
            ["b: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener? (after 2ms)"],
            "does not speak TLS",
            True,
        ),
        (
            ["b: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed"],
            "does not trust the authority",
            True,
        ),
        (["b: SSL handshake failed: certificate verify failed: hostname mismatch"], "another host name", True),
        ([CLOSED.format(state="APIVERSION_QUERY")] * 3, "as a TLS port does", True),
        ([CLOSED.format(state="UP")] * 3, "needs a sign-in", True),
        # once or twice, it may be a broker that is going down
        ([CLOSED.format(state="UP")] * 2, "does not answer", False),
        ([*[CLOSED.format(state="UP")] * 3, "Connect to b failed: Connection refused"], "nothing listens", False),
        ([SESSION_ENDED] * 3, "accepts no sign-in", True),
        (
            ["b: No matching issuer found, not sending any client certificates", ALERT.format("bad certificate")],
            "does not trust the authority that signed this client's certificate",
            True,
        ),
        ([ALERT.format("bad certificate")], "asks for a client certificate", True),
        ([ALERT.format("certificate unknown")], "refuses this client's certificate", True),
        (["b: certificate verify failed", "certificate verify failed: certificate has expired"], "has expired", True),
        (["b: certificate verify failed", "certificate verify failed: Hostname mismatch"], "another host name", True),
        (["Failed to resolve 'b:9092'"], "cannot resolve the host name", False),
        ([], "does not answer", False),
    ],
)
def test_why_there_is_no_connection_is_told_with_the_way_out(said: list[str], cause: str, certain: bool) -> None:
    found = trouble(said)
    assert cause in found.cause
    assert found.certain is certain
    assert f"{found}" == f"{found.cause}; {found.remedy}"


@pytest.mark.parametrize(
    ("said", "cause", "certain"),
    [
        ([TOKEN_REFUSED] * 3, "refuses the token", True),
        (["b: SASL authentication error: Access denied"] * 3, "refuses the token", True),
        # once, it is a session that ended while the token was renewed
        ([TOKEN_REFUSED, SESSION_ENDED], "does not answer", False),
    ],
)
def test_with_a_token_neither_user_nor_password_is_at_fault(said: list[str], cause: str, certain: bool) -> None:
    found = trouble(said, by_token=True)
    assert cause in found.cause
    assert found.certain is certain


def test_a_remedy_names_variables_as_the_program_reads_them() -> None:
    tls, settings = trouble(["b: wrong version number"]), BrokerSettings.model_validate({})
    settings.read_with("WRITEBACK_")
    assert settings.named(str(tls)) == (
        "WRITEBACK_BROKER__TLS asks for encryption, but the broker's port does not speak TLS; put its TLS port into "
        "WRITEBACK_BROKER__BOOTSTRAP_SERVERS, or set WRITEBACK_BROKER__TLS=false"
    )
