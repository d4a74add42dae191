"""The edges to broker and registry say what happens next: ours to mend, or try again later; and never a password."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr, ValidationError

from ops.demo.embedded_broker import EmbeddedBroker
from runtime.broker import BrokerUnavailable, BrokerView, UnfitTopics
from runtime.connection import BrokerSettings, RegistrySettings, Sasl
from runtime.errors import RegistryUnavailable, SchemaRefused
from runtime.registry import Registry, codec
from schemas.codec import UnknownSchema, known_schemas, single_object
from schemas.records import CallOutcome
from schemas.topics import Topics
from schemas.wire import Fingerprint, SchemaId, frame
from tests.support.factories import make_outcome
from tests.support.ports import free_ports


@contextmanager
def answering(*replies: tuple[int, Any]) -> Iterator[str]:
    """An HTTP server that gives one scripted reply after another, the last one for ever."""
    left = list(replies)

    class Scripted(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = left.pop(0) if len(left) > 1 else left[0]
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Scripted)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_with_a_registry_records_carry_its_schema_id_and_the_schema_is_looked_up_once() -> None:
    with answering((200, {"id": 41}), (200, {"schema": known_schemas("call_outcome").text})) as url:
        settings = RegistrySettings(url=url, username="writer", password=SecretStr("canary"))
        ours = codec(CallOutcome, "call-outcomes", settings)
        framed = ours.encode(make_outcome())
        assert framed[:5] == b"\x00\x00\x00\x00\x29"
        assert ours.decode(framed) == make_outcome()
    assert ours.decode(framed) == make_outcome()


def test_P6_a_schema_whose_records_may_never_end_is_named_and_not_read_with() -> None:
    text = '{"type":"record","name":"CallOutcome","fields":[{"name":"next","type":["null","CallOutcome"]}]}'
    with answering((200, {"schema": text})) as url:
        registry = Registry(RegistrySettings(url=url))
        with pytest.raises(UnknownSchema, match="schema id 7, a schema that refers to itself"):
            registry.schema_by_id(7)


@pytest.mark.parametrize(
    "text",
    ["", '{"$schema": "x", "type": "object"}', 'syntax = "proto3"; message A {}', "[17]"],
)
def test_a_schema_id_of_something_that_is_no_avro_is_unknown(text: str) -> None:
    with answering((200, {"schema": text})) as url:
        registry = Registry(RegistrySettings(url=url))
        with pytest.raises(UnknownSchema, match="schema id 7, which is not an Avro schema"):
            registry.schema_by_id(7)


UNKNOWN_ID = (404, {"error_code": 40403, "message": "Schema not found"})
OUTCOME = known_schemas("call_outcome").text


def test_P6_a_schema_id_that_the_registry_itself_does_not_know_is_unknown() -> None:
    with answering((200, {"id": 1}), UNKNOWN_ID, (200, {"schema": OUTCOME}), UNKNOWN_ID) as url:
        ours = codec(CallOutcome, "call-outcomes", RegistrySettings(url=url))
        with pytest.raises(UnknownSchema, match="schema id 7, which the registry does not know"):
            ours.decode(frame(SchemaId(7), b""))


def test_a_registry_that_is_restored_while_it_is_asked_makes_no_schema_unknown() -> None:
    with answering((200, {"id": 1}), UNKNOWN_ID, (200, {"schema": OUTCOME})) as url:
        ours = codec(CallOutcome, "call-outcomes", RegistrySettings(url=url))
        body = single_object(CallOutcome).encode(make_outcome())[10:]
        assert ours.decode(frame(SchemaId(7), body)) == make_outcome()


@pytest.mark.parametrize(
    "own", [UNKNOWN_ID, (200, {"schema": '"string"'}), (200, {"schema": "{"})], ids=["gone", "another", "no schema"]
)
def test_a_registry_that_lost_what_it_gave_us_is_unavailable_and_no_record_is_at_fault(
    own: tuple[int, Any],
) -> None:
    with answering((200, {"id": 1}), UNKNOWN_ID, own) as url:
        ours = codec(CallOutcome, "call-outcomes", RegistrySettings(url=url))
        with pytest.raises(RegistryUnavailable, match="has lost its schemas: it no longer holds id 1"):
            ours.decode(frame(SchemaId(7), b""))


NOT_THE_REGISTRY = {
    "an ingress": (404, "<html>default backend - 404</html>"),
    "its web server": (404, {"error_code": 404, "message": "HTTP 404 Not Found"}),
    "a gateway": (404, {"error": "not_found", "code": 40403}),
    "a gateway that refuses": (400, {"message": "bad request"}),
    "a gateway that is full": (422, None),
    "a login page": (200, "<html>Sign in</html>"),
    "a moved page": (302, ""),
    "somebody else's JSON": (200, {"status": "ok"}),
    "a list": (200, [1, 2]),
    "a number": (200, 17),
}


@pytest.mark.parametrize("reply", NOT_THE_REGISTRY.values(), ids=NOT_THE_REGISTRY)
def test_only_the_registrys_own_words_count_as_its_words(reply: tuple[int, Any]) -> None:
    with answering((200, {"id": 1}), reply) as url:
        ours = codec(CallOutcome, "call-outcomes", RegistrySettings(url=url))
        with pytest.raises(RegistryUnavailable, match="does not come from a schema registry; check the registry's URL"):
            ours.decode(frame(SchemaId(7), b""))
    for register in (True, False):
        with answering(reply) as url, pytest.raises(RegistryUnavailable, match="does not come from a schema registry"):
            Registry(RegistrySettings(url=url, register_schemas=register)).codec(CallOutcome, "call-outcomes")


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_registry_that_lets_nobody_in_or_fails_is_no_records_fault(status: int) -> None:
    with answering((status, {"error_code": status, "message": "no"})) as url:
        registry = Registry(RegistrySettings(url=url))
        with pytest.raises(RegistryUnavailable, match=f"answered {status}"):
            registry.schema_by_id(7)


def test_an_id_that_was_given_to_another_kind_of_record_is_unknown() -> None:
    """A registry that was filled anew gives its ids out again."""
    with answering((200, {"id": 1}), (200, {"schema": known_schemas("planned_writeback").text})) as url:
        ours = codec(CallOutcome, "call-outcomes", RegistrySettings(url=url))
        with pytest.raises(UnknownSchema, match="holds as another kind of record"):
            ours.decode(frame(SchemaId(7), b""))


def test_whether_decoding_asks_the_registry_is_known_beforehand() -> None:
    with answering((200, {"id": 1}), (200, {"schema": OUTCOME})) as url:
        ours = codec(CallOutcome, "call-outcomes", RegistrySettings(url=url))
        bodies = (ours.encode(make_outcome()), frame(SchemaId(7), b""), frame(Fingerprint(7), b""), b"junk")
        assert [ours.asks_nobody(each) for each in bodies] == [True, False, True, True]


def test_without_a_registry_records_are_single_objects() -> None:
    assert isinstance(codec(CallOutcome, "call-outcomes", None).written_as, Fingerprint)


def test_a_schema_that_must_be_registered_already_is_looked_up() -> None:
    registered = {"subject": "call-outcomes-value", "id": 9, "version": 1, "schema": known_schemas("call_outcome").text}
    with answering((200, registered)) as url:
        settings = RegistrySettings(url=url, register_schemas=False)
        assert codec(CallOutcome, "call-outcomes", settings).written_as == SchemaId(9)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (409, 409, SchemaRefused),
        (409, 40901, SchemaRefused),
        (422, 42201, SchemaRefused),
        (404, 40401, SchemaRefused),
        (404, 40403, SchemaRefused),
        (500, 50001, RegistryUnavailable),
        (403, 40301, RegistryUnavailable),
    ],
)
def test_what_the_registry_answers_decides_who_must_act(status: int, code: int, error: type[Exception]) -> None:
    reply = (status, {"error_code": code, "message": "canary"})
    with answering(reply) as url, pytest.raises(error) as raised:
        Registry(RegistrySettings(url=url)).codec(CallOutcome, "call-outcomes")
    assert "canary" not in str(raised.value)


def test_a_registry_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(RegistryUnavailable):
        Registry(RegistrySettings(url=f"http://127.0.0.1:{free_ports(1)[0]}")).schema_by_id(1)


def test_a_registry_behind_a_private_authority_is_asked_with_its_certificate(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(authority))
    with pytest.raises(RegistryUnavailable):
        Registry(RegistrySettings(url=f"https://127.0.0.1:{free_ports(1)[0]}", ca_file=str(authority))).schema_by_id(1)


def test_topics_on_a_broker_are_counted_and_the_missing_ones_named() -> None:
    topics = Topics()
    with EmbeddedBroker() as broker:
        broker.create_topic("call-outcomes", 3)
        settings = BrokerSettings(bootstrap_servers=broker.bootstrap, check_topic_policies=False)
        assert BrokerView(settings, (topics.call_outcomes,)).checked(timeout_s=15).partitions == 3
        with pytest.raises(UnfitTopics, match="planned-writebacks does not exist") as raised:
            BrokerView(settings, (topics.call_outcomes, topics.planned_writebacks)).checked(timeout_s=15)
        assert len(raised.value.problems) == 1


def test_a_broker_that_cannot_describe_its_topics_is_unavailable_when_policies_are_to_be_checked() -> None:
    with EmbeddedBroker() as broker:
        broker.create_topic("call-outcomes", 3)
        with pytest.raises(BrokerUnavailable):
            BrokerView(BrokerSettings(bootstrap_servers=broker.bootstrap), (Topics().call_outcomes,)).checked(
                timeout_s=15
            )


def test_a_broker_that_is_not_there_is_unavailable() -> None:
    settings = BrokerSettings(bootstrap_servers=f"127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(BrokerUnavailable, match="nothing listens at that address"):
        BrokerView(settings, (Topics().call_outcomes,)).checked(timeout_s=0.5)


@pytest.fixture
def authority(tmp_path: Path) -> str:
    """The file of an authority's certificate."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


def test_B1_the_password_is_in_the_clients_settings_and_nowhere_else(authority: str) -> None:
    sasl = Sasl(mechanism="PLAIN", username="svc", password=SecretStr("canary"))
    settings = BrokerSettings(bootstrap_servers="b:9093", tls=True, ca_file=authority, sasl=sasl, topic_prefix="eu.")
    assert settings.client_config()["sasl.password"] == "canary"
    assert "canary" not in repr(settings)
    assert settings.producer_config()["security.protocol"] == "sasl_ssl"
    assert settings.producer_config()["partitioner"] == "murmur2_random"
    assert settings.topics.call_outcomes.name == "eu.call-outcomes"


def test_settings_that_contradict_each_other_are_refused_with_the_mend(authority: str) -> None:
    with pytest.raises(ValidationError, match="switch tls on or remove ca_file"):
        BrokerSettings(ca_file=authority)
    assert BrokerSettings().client_config()["security.protocol"] == "plaintext"
