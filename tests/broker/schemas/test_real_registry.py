"""A real schema registry: both framings, the refusal, and a planner that uses it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema

from ops.demo.waiting import HANGS_AFTER_S, wait_until
from runtime.connection import RegistrySettings
from runtime.errors import RegistryUnavailable, SchemaRefused
from runtime.exit_codes import Exit
from runtime.registry import Registry
from schemas.codec import Undecodable, UnknownSchema, known_schemas, single_object
from schemas.records import CallOutcome, PlannedWriteback, WritebackResult
from tests.broker.planner.kit import make_topics
from tests.integration.planner.harness import lost, outcomes, planner_env, publish, read, ready
from tests.support.brokers.kafka import RealKafka
from tests.support.brokers.registry import RealRegistry
from tests.support.factories import make_outcome, make_plan, make_result
from tests.support.ports import free_ports

RECORDS = {CallOutcome: make_outcome(), PlannedWriteback: make_plan(), WritebackResult: make_result()}


@pytest.fixture
def open_registry(schema_registry: RealRegistry) -> Iterator[Any]:
    """Opens ours; the connections are closed when the test ends."""
    opened = []

    def open_registry(**settings: Any) -> Registry:
        opened.append(Registry(RegistrySettings(url=schema_registry.url, **settings)))
        return opened[-1]

    yield open_registry
    for each in opened:
        each._client.__exit__(None, None, None)  # type: ignore[no-untyped-call]


def incompatible() -> Schema:
    """An older schema with a required field that today's has not."""
    old = json.loads(known_schemas("call_outcome").text)
    old["fields"] = [{"name": "session_id", "type": "int"}]
    return Schema(json.dumps(old), "AVRO")


@pytest.mark.parametrize("cls", RECORDS)
def test_both_framings_are_read_back_by_either_reader(
    schema_registry: RealRegistry, cls: Any, open_registry: Any
) -> None:
    registered = open_registry().codec(cls, schema_registry.unique("topic"))
    another = open_registry().codec(cls, schema_registry.unique("topic"))
    framed = registered.encode(RECORDS[cls])
    assert framed[:1] == b"\0"
    assert another.decode(framed) == RECORDS[cls]
    assert registered.decode(single_object(cls).encode(RECORDS[cls])) == RECORDS[cls]
    with pytest.raises(Undecodable, match="no schema registry is configured"):
        single_object(cls).decode(framed)


def test_an_older_registered_schema_is_resolved_to_todays(schema_registry: RealRegistry, open_registry: Any) -> None:
    subject = schema_registry.unique("topic")
    older = json.loads(known_schemas("call_outcome").text)
    older["fields"] = [each for each in older["fields"] if each["name"] != "warnings"]
    schema_id = schema_registry.client.register_schema(f"{subject}-value", Schema(json.dumps(older), "AVRO"))
    codec = open_registry().codec(CallOutcome, subject)
    body = single_object(CallOutcome).encode(make_outcome())[10:]
    assert codec.decode(b"\0" + schema_id.to_bytes(4, "big") + body[:-1]) == make_outcome()


def test_a_refusal_says_clearly_which_subject_and_why(schema_registry: RealRegistry, open_registry: Any) -> None:
    topic = schema_registry.unique("topic")
    schema_registry.client.register_schema(f"{topic}-value", incompatible())
    schema_registry.set_compatibility(f"{topic}-value")
    with pytest.raises(SchemaRefused, match=rf"refuses {topic}-value: it is not compatible with a version"):
        open_registry().codec(CallOutcome, topic)


def test_a_schema_that_must_be_there_already_and_is_not_is_named(
    schema_registry: RealRegistry, open_registry: Any
) -> None:
    topic = schema_registry.unique("topic")
    with pytest.raises(SchemaRefused, match=rf"does not hold {topic}-value; register it"):
        open_registry(register_schemas=False).codec(CallOutcome, topic)


def test_an_id_that_nobody_registered_is_unknown(schema_registry: RealRegistry, open_registry: Any) -> None:
    codec = open_registry().codec(CallOutcome, schema_registry.unique("topic"))
    with pytest.raises(UnknownSchema, match="which the registry does not know"):
        codec.decode(b"\0" + (2**31 - 7).to_bytes(4, "big") + b"body")


def test_a_registry_that_is_not_there_is_nobodys_fault() -> None:
    settings = RegistrySettings(url=f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(RegistryUnavailable):
        Registry(settings).codec(CallOutcome, "topic")


def test_a_planner_with_a_registry_plans_outcomes_of_both_framings(
    kafka: RealKafka, schema_registry: RealRegistry, make_service: Any, open_registry: Any
) -> None:
    prefix, given = make_topics(kafka), outcomes(20)
    codec = open_registry().codec(CallOutcome, prefix + "call-outcomes")
    env = planner_env(kafka.bootstrap, prefix=prefix, PLANNER_REGISTRY__URL=schema_registry.url)
    make_service("planner", [sys.executable, "-m", "planner"], env=env).start(ready)
    publish(kafka.bootstrap, given[:10], topic=prefix + "call-outcomes")
    publish(kafka.bootstrap, given[10:], topic=prefix + "call-outcomes", codec=codec)
    wait_until(lambda: not lost(kafka.bootstrap, given, prefix=prefix), what="all are planned", every=0.3)
    assert {(each.value() or b"")[:1] for each in read(kafka.bootstrap, prefix + "planned-writebacks")} == {b"\0"}


def test_a_planner_whose_schema_the_registry_refuses_does_not_start_and_says_why(
    kafka: RealKafka, schema_registry: RealRegistry
) -> None:
    prefix = make_topics(kafka)
    subject = f"{prefix}call-outcomes-value"
    schema_registry.client.register_schema(subject, incompatible())
    schema_registry.set_compatibility(subject)
    env = planner_env(kafka.bootstrap, prefix=prefix, PLANNER_REGISTRY__URL=schema_registry.url)
    command = [sys.executable, "-m", "planner", "check", "--json"]
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=HANGS_AFTER_S)
    assert run.returncode == Exit.MISCONFIGURED
    assert f"the schema registry refuses {subject}" in json.loads(run.stdout)["problems"][0]
