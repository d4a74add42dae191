import re
from typing import Any

import pytest

from tests.support.brokers.config import Identity, Ports, broker_properties, container_environment, properties_text
from tests.support.brokers.source import Absent, Facts, Source, choose, gather, java_major


def make_facts(**overrides: Any) -> Facts:
    nothing: dict[str, Any] = {"given": None, "docker": False, "java": None, "mvn": False, "ci": False}
    return Facts(variable="WRITEBACK_TEST_BOOTSTRAP", **{**nothing, **overrides})


@pytest.mark.parametrize(
    ("facts", "source"),
    [
        (make_facts(given="kafka:9092", docker=True, java=21, mvn=True), Source.GIVEN),
        (make_facts(docker=True, java=21, mvn=True), Source.DOCKER),
        (make_facts(java=17, mvn=True), Source.MAVEN),
    ],
)
@pytest.mark.parametrize("ci", [True, False])
def test_the_given_broker_goes_before_docker_and_docker_before_maven(facts: Any, source: Any, ci: bool) -> None:
    assert choose("Apache Kafka", Facts(**{**vars(facts), "ci": ci})) is source


@pytest.mark.parametrize("ci", [True, False])
def test_without_any_the_tier_fails_under_ci_and_is_skipped_elsewhere(ci: bool) -> None:
    absent = choose("Apache Kafka", make_facts(ci=ci))
    assert isinstance(absent, Absent)
    assert absent.fails is ci


@pytest.mark.parametrize(
    ("overrides", "lack"),
    [
        ({"java": 17}, "mvn is not on PATH"),
        ({"mvn": True}, "Java 17 or later is needed and none is here"),
        ({"mvn": True, "java": 11}, "Java 17 or later is needed and 11 is here"),
    ],
)
def test_the_reason_is_one_line_that_names_everything_that_is_missing(overrides: Any, lack: str) -> None:
    absent = choose("Apache Kafka", make_facts(**overrides))
    assert isinstance(absent, Absent)
    expected = "no Apache Kafka for the broker tier: WRITEBACK_TEST_BOOTSTRAP is not set; no Docker engine answers; "
    assert absent.reason == expected + lack


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ("java: command not found", None),
    ],
)
def test_java_versions_are_read_old_style_and_new(text: str, major: int | None) -> None:
    assert java_major(text) == major


@pytest.mark.parametrize(("value", "ci"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_nothing_is_asked_of_this_machine_when_an_address_is_given(value: str, ci: bool) -> None:
    facts = gather("ADDRESS", {"ADDRESS": "kafka:9092", "CI": value})
    assert (facts.given, facts.docker, facts.java, facts.ci) == ("kafka:9092", False, None, ci)


def test_a_container_gets_the_settings_of_the_maven_broker_under_the_names_of_its_image() -> None:
    properties = broker_properties(
        Ports(1, 2, 3), Identity("-----BEGIN\nA\n", "-----BEGIN\nB\n"), superuser="test", data="/data"
    )
    environment = container_environment(properties)
    assert environment["KAFKA_PROCESS_ROLES"] == "broker,controller"
    assert "KAFKA_LISTENER_NAME_SECURE_SCRAM___SHA___512_SASL_JAAS_CONFIG" in environment
    assert len(environment) == len(properties)


def test_a_properties_file_has_one_line_for_each_setting_even_for_certificates() -> None:
    properties = broker_properties(
        Ports(1, 2, 3), Identity("-----BEGIN\nA\n", "-----BEGIN\nB\n"), superuser="test", data="/data"
    )
    lines = properties_text(properties).splitlines()
    assert len(lines) == len(properties)
    assert all(re.fullmatch(r"[a-z0-9.-]+=.+", line) for line in lines)
