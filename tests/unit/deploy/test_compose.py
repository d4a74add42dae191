"""docker-compose.yml without Docker: what it names exists, and what it sets is taken by the services."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

import planner.settings
import simulator.cli
import writer.settings
from ops import topics
from planner.mapping import load
from tests.unit.deploy.images import ROOT, stages
from tests.unit.deploy.variables import unknown

TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].endswith(":laptop")}
BUILT = {service["image"]: service["build"]["target"] for service in OURS.values() if "build" in service}
KAFKA = SERVICES["kafka"]["environment"]


def test_every_part_of_the_system_is_there() -> None:
    assert set(SERVICES) == {"kafka", "registry", "topics", "simulator", "planner", "writer", "calls"}


def test_every_variable_is_a_setting() -> None:
    assert not unknown({name for service in OURS.values() for name in service.get("environment", {})})


def test_the_planner_takes_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OURS["planner"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = planner.settings.read_settings()
    source, target, _ = OURS["planner"]["volumes"][0].split(":")
    assert str(settings.mapping_file) == target
    assert load(ROOT / source) is not None
    assert probed(OURS["planner"]) == settings.endpoint_port


def test_W8_the_writer_writes_and_only_to_the_simulator_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OURS["writer"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = writer.settings.read_settings()
    assert settings.write
    assert writer.settings.is_loopback(settings.dataverse.url)
    assert OURS["writer"]["network_mode"] == "service:simulator"
    assert settings.dataverse.url.endswith(f":{probed(OURS['simulator'])}")
    assert probed(OURS["writer"]) == settings.endpoint_port


def probed(service: dict[str, Any]) -> int:
    """The port that the health check asks."""
    found = re.search(r"127\.0\.0\.1:(\d+)/", " ".join(service["healthcheck"]["test"]))
    assert found
    return int(found[1])


@pytest.mark.parametrize("name", ["planner", "writer", "topics"])
def test_the_broker_is_reached_by_an_address_that_it_tells(name: str) -> None:
    (address,) = [v for k, v in OURS[name]["environment"].items() if k.endswith("BROKER__BOOTSTRAP_SERVERS")]
    told = dict(each.split("://") for each in KAFKA["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert address in told.values()


def test_the_brokers_listeners_agree_with_each_other() -> None:
    def names(variable: str, separator: str) -> set[str]:
        return {each.split(separator)[0] for each in KAFKA[variable].split(",")}

    assert names("KAFKA_LISTENERS", ":") == names("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", ":")
    assert names("KAFKA_ADVERTISED_LISTENERS", ":") == names("KAFKA_LISTENERS", ":") - {"CONTROLLER"}


def test_topics_are_created_by_a_command_that_exists() -> None:
    group, *arguments = OURS["topics"]["command"]
    assert group == "topics"
    assert understood(topics.app, arguments)


@pytest.mark.parametrize("name", ["simulator", "calls"])
def test_the_simulator_is_given_options_that_it_has(name: str) -> None:
    assert understood(simulator.cli.app, SERVICES[name]["command"])


def understood(app: typer.Typer, arguments: list[str]) -> bool:
    """Unknown commands and options are refused even where help is asked for."""
    assert CliRunner().invoke(app, [*arguments, "--no-such-option", "--help"]).exit_code
    return CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0


def test_who_waits_for_another_waits_for_something_that_will_happen() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            match how["condition"]:
                case "service_healthy":
                    assert "healthcheck" in SERVICES[other]
                case "service_completed_successfully":
                    assert SERVICES[other]["restart"] == "no"
                case other_condition:
                    pytest.fail(other_condition)


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_locked_down_as_in_the_chart(name: str) -> None:
    service = OURS[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert BUILT[service["image"]] in stages((ROOT / "Dockerfile").read_text())


def test_nothing_listens_to_the_network_around_the_laptop() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_images_of_others_are_pinned_to_a_release() -> None:
    for name in SERVICES.keys() - OURS.keys():
        assert re.search(r":\d+\.\d+\.\d+$", SERVICES[name]["image"])


def test_nothing_is_taken_for_a_variable_of_composes_own() -> None:
    assert "$" not in json.dumps(SERVICES)
