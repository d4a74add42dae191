"""The two broker clients are told the same, except where a reason says otherwise."""

from __future__ import annotations

import ctypes
import inspect
from typing import Any

import aiokafka
import pytest
import trustme
from confluent_kafka import cimpl
from pydantic import SecretStr

from runtime import clients
from runtime.clients import APART, APART_PRODUCERS, CONSUMER, EVERY_CLIENT, PRODUCER, Alike
from runtime.connection import BrokerSettings, Sasl

COUNTERPARTS = {
    "client_id": "client.id",
    "group_id": "group.id",
    "group_instance_id": "group.instance.id",
    "fetch_max_wait_ms": "fetch.wait.max.ms",
    "fetch_max_bytes": "fetch.max.bytes",
    "fetch_min_bytes": "fetch.min.bytes",
    "max_partition_fetch_bytes": "fetch.message.max.bytes",
    "request_timeout_ms": "socket.timeout.ms",
    "retry_backoff_ms": "retry.backoff.ms",
    "auto_offset_reset": "auto.offset.reset",
    "enable_auto_commit": "enable.auto.commit",
    "auto_commit_interval_ms": "auto.commit.interval.ms",
    "check_crcs": "check.crcs",
    "metadata_max_age_ms": "topic.metadata.refresh.interval.ms",
    "partition_assignment_strategy": "partition.assignment.strategy",
    "max_poll_interval_ms": "max.poll.interval.ms",
    "session_timeout_ms": "session.timeout.ms",
    "heartbeat_interval_ms": "heartbeat.interval.ms",
    "security_protocol": "security.protocol",
    "connections_max_idle_ms": "connections.max.idle.ms",
    "isolation_level": "isolation.level",
    "sasl_mechanism": "sasl.mechanism",
    "sasl_plain_password": "sasl.password",
    "sasl_plain_username": "sasl.username",
    "client_rack": "client.rack",
    "acks": "acks",
    "enable_idempotence": "enable.idempotence",
    "compression_type": "compression.type",
    "max_batch_size": "batch.size",
    "max_request_size": "message.max.bytes",
    "linger_ms": "linger.ms",
    "transaction_timeout_ms": "transaction.timeout.ms",
}
"""aiokafka's names to librdkafka's."""
WITHOUT_COUNTERPART = {
    "loop", "bootstrap_servers", "key_deserializer", "value_deserializer", "key_serializer", "value_serializer",
    "topics",  # given to `subscribe` there
    "rebalance_timeout_ms",  # librdkafka takes max.poll.interval.ms for it
    "consumer_timeout_ms", "max_poll_records",  # arguments of `consume` there
    "ssl_context",  # compared by what it does, below
    "api_version", "exclude_internal_topics",
    "sasl_kerberos_service_name", "sasl_kerberos_domain_name",  # not offered by ours
    "sasl_oauth_token_provider",  # `oauth_cb` there, which is no setting; one source of tokens is behind both
    "partitioner",  # a function here, a name there; aiokafka's is murmur2, see PRODUCER
    "transactional_id",  # none unless it is given, in both
}  # fmt: skip


def librdkafkas_defaults() -> dict[str, str]:
    """Of the settings that have a counterpart, asked from the library itself."""
    library = ctypes.CDLL(cimpl.__file__)
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    library.rd_kafka_conf_get.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_size_t),
    ]  # fmt: skip
    library.rd_kafka_conf_set.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t,
    ]  # fmt: skip
    config = library.rd_kafka_conf_new()
    # A setting of topics has no default before one of them was set: this one, to what it is anyway.
    library.rd_kafka_conf_set(config, b"acks", b"-1", None, 0)
    found = {}
    for name in COUNTERPARTS.values():
        text, size = ctypes.create_string_buffer(512), ctypes.c_size_t(512)
        if library.rd_kafka_conf_get(config, name.encode(), text, ctypes.byref(size)) == 0:
            found[name] = text.value.decode()
    return found


def parameters(client: type) -> dict[str, Any]:
    given = inspect.signature(vars(client)["__init__"]).parameters
    return {name: each.default for name, each in given.items() if name != "self"}


def alike(librdkafkas: Any, aiokafkas: Any) -> bool:
    words = {"largest": "latest", "smallest": "earliest", "-1": "all", "": "none"}
    one, other = (str(value).lower() for value in (librdkafkas, aiokafkas))
    return words.get(one, one) == words.get(other, other)


CLIENTS = [
    pytest.param(aiokafka.AIOKafkaConsumer, clients.aiokafka_consumer(), clients.librdkafka_consumer(), id="consumer"),
    pytest.param(aiokafka.AIOKafkaProducer, clients.aiokafka_producer(), clients.librdkafka_producer(), id="producer"),
]


@pytest.mark.parametrize(("client", "theirs", "ours"), CLIENTS)
def test_whatever_the_two_clients_can_be_told_has_a_counterpart_or_a_reason_why_not(
    client: type, theirs: dict[str, Any], ours: dict[str, Any]
) -> None:
    """A new version of aiokafka with a new setting turns this red: decide what it is to be."""
    unknown = parameters(client).keys() - COUNTERPARTS.keys() - WITHOUT_COUNTERPART
    assert unknown == set()


@pytest.mark.parametrize(("client", "theirs", "ours"), CLIENTS)
def test_both_clients_behave_alike_wherever_no_reason_says_otherwise(
    client: type, theirs: dict[str, Any], ours: dict[str, Any]
) -> None:
    """With their defaults and with what we tell them: a setting in which they differ must be in the table."""
    defaults, apart = librdkafkas_defaults(), APART if client is aiokafka.AIOKafkaConsumer else APART_PRODUCERS
    different = {
        name: (ours.get(name, defaults.get(name)), theirs.get(parameter, default))
        for parameter, default in parameters(client).items()
        if (name := COUNTERPARTS.get(parameter)) and name not in apart
        if not alike(ours.get(name, defaults.get(name)), theirs.get(parameter, default))
    }
    assert different == {}


@pytest.mark.parametrize("name", sorted(APART))
def test_what_is_different_on_purpose_is_not_also_set_alike(name: str) -> None:
    assert name in COUNTERPARTS.values()
    assert name not in {each.librdkafka for each in EVERY_CLIENT + CONSUMER + PRODUCER}


@pytest.mark.parametrize("each", EVERY_CLIENT + CONSUMER + PRODUCER, ids=lambda each: each.librdkafka)
def test_every_setting_has_a_reason_and_both_names_where_both_have_it(each: Alike) -> None:
    assert each.why
    assert each.aiokafka in ("", *(ours for ours, theirs in COUNTERPARTS.items() if theirs == each.librdkafka))


def test_records_of_transactions_that_were_rolled_back_are_read_by_neither() -> None:
    broker = BrokerSettings()
    assert broker.consumer_config()["isolation.level"] == broker.aiokafka_consumer()["isolation_level"]
    assert broker.consumer_config()["isolation.level"] == "read_committed"


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "sasl",
    [None, *(Sasl(mechanism=each, username="u", password=SecretStr("p")) for each in ("PLAIN", "SCRAM-SHA-256"))],
)
def test_both_clients_get_the_same_connection(tls: bool, sasl: Sasl | None, tmp_path: Any) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    broker = BrokerSettings(tls=tls, sasl=sasl, ca_file=str(tmp_path / "ca.pem") if tls else None)
    ours, theirs = broker.client_config(), broker.aiokafka_consumer()
    assert str(ours["security.protocol"]).upper() == theirs["security_protocol"]
    for name, counterpart in (
        ("sasl.mechanism", "sasl_mechanism"),
        ("sasl.username", "sasl_plain_username"),
        ("sasl.password", "sasl_plain_password"),
    ):
        assert ours.get(name) == theirs.get(counterpart)
    if tls:  # librdkafka verifies certificate and host name by default
        assert theirs["ssl_context"].check_hostname
        assert [each["subject"] for each in theirs["ssl_context"].get_ca_certs()]
        assert ours["ssl.ca.location"] == broker.ca_file
    else:
        assert theirs["ssl_context"] is None
