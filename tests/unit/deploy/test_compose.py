"""docker-compose.yml without Docker: it is what the compose specification asks for, what it names exists, and what it
sets is taken by the services.

The specification's schema comes out of compose-go, the library that Docker reads the file with.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml
from typer.testing import CliRunner

import planner.settings
import simulator.cli
import writer.settings
from ops import topics
from planner.mapping import load
from simulator import tenant
from tests.unit.deploy.images import ROOT, stages
from tests.unit.deploy.variables import unknown

TEXT = (ROOT / "docker-compose.yml").read_text()
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].endswith(":laptop")}
BUILT = {service["image"]: service["build"]["target"] for service in OURS.values() if "build" in service}
KAFKA = SERVICES["kafka"]["environment"]
COMPOSE_GO = "github.com/compose-spec/compose-go/v2@v2.16.2"
PROFILES = ("calls", "ui", "observability", "sign-in")
UP = [chosen for count in range(4) for chosen in itertools.combinations(PROFILES[1:], count)]
"""The profiles that `up` may be given; that of the call system is for `run`, which asks for no profile."""
WITHOUT_A_DIGEST = {
    "registry": "no digest of apicurio/apicurio-registry:3.0.9 could be looked up; Docker resolves the tag"
}


def active(profiles: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """What `up` starts with these profiles."""
    return {
        name: service
        for name, service in SERVICES.items()
        if not service.get("profiles") or set(service["profiles"]) & set(profiles)
    }


@functools.cache
def specification() -> dict[str, Any]:
    if shutil.which("go") is None:
        if os.environ.get("CI"):
            raise RuntimeError("the compose specification's schema comes by Go's module proxy: put Go on the PATH")
        pytest.skip("no Go on this machine: docker-compose.yml is not compared with the specification")
    answer = subprocess.run(["go", "mod", "download", "-json", COMPOSE_GO], check=True, capture_output=True, text=True)
    schema: dict[str, Any] = json.loads(
        (Path(json.loads(answer.stdout)["Dir"]) / "schema/compose-spec.json").read_text()
    )
    return schema


def refused(file: dict[str, Any]) -> list[str]:
    validator = jsonschema.validators.validator_for(specification())
    return [f"{each.json_path}: {each.message}" for each in validator(specification()).iter_errors(file)]


def test_the_file_is_what_the_compose_specification_asks_for() -> None:
    assert refused(FILE) == []


@pytest.mark.parametrize(
    "wrong", [{"memlimit": "1g"}, {"cap_drop": "ALL"}, {"healthcheck": {"tests": ["CMD", "true"]}}, {"restart": True}]
)
def test_the_specification_would_refuse_a_misspelt_key_or_a_wrong_type(wrong: dict[str, Any]) -> None:
    assert refused({**FILE, "services": {**SERVICES, "kafka": {**SERVICES["kafka"], **wrong}}})


def test_every_part_of_the_system_is_there() -> None:
    assert set(active(())) == {"kafka", "registry", "topics", "simulator", "planner", "writer"}
    added = {profile: set(active((profile,))) - set(active(())) for profile in PROFILES}
    assert added == {
        "calls": {"calls"},
        "ui": {"kafka-ui"},
        "observability": {"prometheus", "grafana", "collector"},
        "sign-in": {"tenant", "writer-signed-in"},
    }


@pytest.mark.parametrize("profiles", UP, ids=lambda profiles: "+".join(profiles) or "none")
def test_up_waits_for_what_stays_and_for_what_ends_by_itself(profiles: tuple[str, ...]) -> None:
    """`up --wait` calls a service that has ended broken, unless a service that stays waits for its good end."""
    running = active(profiles)
    stays = [service for service in running.values() if service["restart"] != "no"]
    awaited = {
        name
        for service in stays
        for name, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    assert {name for name, service in running.items() if service["restart"] == "no"} == awaited == {"topics"}


@pytest.mark.parametrize("profiles", [*UP, *((each,) for each in PROFILES)], ids="+".join)
def test_who_waits_for_another_gets_it_with_the_same_profiles(profiles: tuple[str, ...]) -> None:
    running = active(profiles)
    needed = {other for service in running.values() for other in service.get("depends_on", {})}
    needed |= {
        service["network_mode"].removeprefix("service:") for service in running.values() if "network_mode" in service
    }
    assert needed <= running.keys()


def test_nobody_waits_in_a_circle() -> None:
    waiting = {name: set(service.get("depends_on", {})) for name, service in SERVICES.items()}
    while ready := {name for name, others in waiting.items() if not others & waiting.keys()}:
        waiting = {name: others for name, others in waiting.items() if name not in ready}
    assert waiting == {}


@pytest.mark.parametrize("profiles", UP, ids=lambda profiles: "+".join(profiles) or "none")
def test_no_two_services_want_one_port_of_the_laptop(profiles: tuple[str, ...]) -> None:
    ports = [port.rpartition(":")[0] for service in active(profiles).values() for port in service.get("ports", [])]
    assert len(ports) == len(set(ports))


IN_THE_IMAGE = {
    "kafka": "/opt/kafka/bin/kafka-broker-api-versions.sh",
    "registry": "bash",
    "kafka-ui": "wget",
    "prometheus": "wget",
    "grafana": "wget",
}
"""What their health checks call: a part of the program or of BusyBox. Ours call the Python that they run on."""


def test_a_health_check_calls_what_is_in_the_image() -> None:
    checks = {name: service["healthcheck"]["test"] for name, service in SERVICES.items() if "healthcheck" in service}
    assert {check[0] for check in checks.values()} == {"CMD"}, "without a shell"
    assert {name: check[1] for name, check in checks.items()} == {
        name: IN_THE_IMAGE.get(name, "python") for name in checks
    }
    unchecked = SERVICES.keys() - checks.keys()
    assert unchecked == {"topics", "calls", "collector"}
    assert not unchecked & {
        other
        for service in SERVICES.values()
        for other, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }


def test_every_file_that_is_mounted_exists_and_is_mounted_to_be_read() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, _, mode = (*volume.split(":"), "")[:3]
            if source.startswith("./"):
                assert mode == "ro"
                assert (ROOT / source).is_file(), source
            else:
                assert source in FILE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_memory_limit_and_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")


def test_prometheus_scrapes_where_the_services_listen_and_loads_the_charts_alerts() -> None:
    config = yaml.safe_load((ROOT / "compose/prometheus.yml").read_text())
    mounted = {each.split(":")[1] for each in SERVICES["prometheus"]["volumes"]}
    assert set(config["rule_files"]) <= mounted
    assert f"--config.file={min(mounted)}" in SERVICES["prometheus"]["command"]
    targets = {each["job_name"]: each["static_configs"][0]["targets"] for each in config["scrape_configs"]}
    planner_port, writer_port = probed(OURS["planner"]), probed(OURS["writer"])
    assert targets == {"planner": [f"planner:{planner_port}"], "writer": [f"simulator:{writer_port}"]}
    assert OURS["writer"]["network_mode"] == "service:simulator"


def test_grafana_shows_the_charts_dashboard_from_that_prometheus() -> None:
    (source,) = yaml.safe_load((ROOT / "compose/grafana-datasources.yaml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    (provider,) = yaml.safe_load((ROOT / "compose/grafana-dashboards.yaml").read_text())["providers"]
    targets = [each.split(":")[1] for each in SERVICES["grafana"]["volumes"]]
    dashboards = [each for each in targets if Path(each).is_relative_to(provider["options"]["path"])]
    assert dashboards == [SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]]


def test_traces_go_to_the_collector_only_if_asked_for() -> None:
    endpoints = {SERVICES[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] for name in ("planner", "writer")}
    assert endpoints == {"${TRACES:-}"}
    config = yaml.safe_load((ROOT / "compose/collector.yaml").read_text())
    assert config["receivers"]["otlp"]["protocols"]["http"]["endpoint"] == "0.0.0.0:4318"
    assert "TRACES=http://collector:4318" in TEXT
    (mounted,) = SERVICES["collector"]["volumes"]
    assert SERVICES["collector"]["command"] == [f"--config={mounted.split(':')[1]}"]


def test_B1_a_dry_run_signs_in_with_the_simulators_own_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    service = OURS["writer-signed-in"]
    for name, value in service["environment"].items():
        monkeypatch.setenv(name, value)
    settings = writer.settings.read_settings()
    (identity,) = settings.identities
    assert isinstance(identity, writer.settings.ClientSecretIdentity)
    assert (identity.tenant_id, identity.client_id) == (tenant.TENANT_ID, tenant.CLIENT_ID)
    assert identity.client_secret is not None
    assert identity.client_secret.get_secret_value() == tenant.CLIENT_SECRET
    assert not settings.write

    options = dict(each.removeprefix("--").split("=") for each in SERVICES["tenant"]["command"][1:])
    assert options["auth"] == "entra"
    for url in (settings.dataverse.url, settings.sign_in.authority):
        assert url == f"https://{options['name']}:{options['tls-port']}"
    assert options["name"] == "tenant", "by which it is reached"
    (own,) = SERVICES["tenant"]["volumes"]
    (shared,) = service["volumes"]
    volume, folder = own.split(":")
    name, target, mode = shared.split(":")
    assert (name, mode) == (volume, "ro")
    ca = f"{target}/{Path(options['tls-dir']).relative_to(folder)}/ca.pem"
    assert {settings.dataverse.ca_file, settings.sign_in.ca_file} == {ca}


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


@pytest.mark.parametrize("name", ["simulator", "calls", "tenant"])
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
    user = stages((ROOT / "Dockerfile").read_text())[BUILT[service["image"]]].all("USER")[-1].rest
    assert service["user"] == user
    assert BUILT[service["image"]] in stages((ROOT / "Dockerfile").read_text())


def test_nothing_listens_to_the_network_around_the_laptop() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_images_of_others_are_pinned_to_a_release_and_its_known_digest() -> None:
    for name in SERVICES.keys() - OURS.keys():
        image, _, digest = SERVICES[name]["image"].partition("@")
        assert re.search(r":v?\d+\.\d+\.\d+$", image)
        assert (re.fullmatch(r"sha256:[0-9a-f]{64}", digest) is None) == (name in WITHOUT_A_DIGEST)


def test_nothing_is_taken_for_a_variable_of_composes_own_but_where_traces_go() -> None:
    assert "$" not in json.dumps(SERVICES).replace("${TRACES:-}", "")


def commands() -> Iterator[list[str]]:
    for page in ("README.md", "docs/deploy.md", "docs/simulator.md", "docker-compose.yml"):
        for found in re.findall(r"docker compose ([^`\n]*?)(?:`|\s{2,}|$)", (ROOT / page).read_text(), re.MULTILINE):
            yield shlex.split(found)


def test_a_command_in_the_pages_names_profiles_and_services_that_exist() -> None:
    found = list(commands())
    assert len(found) > 4
    for words in found:
        profiles = {words[at + 1] for at, word in enumerate(words) if word == "--profile"}
        assert profiles <= {*PROFILES, "*", "NAME"}
        if {"run", "logs"} & set(words):
            assert words[-1] in SERVICES, words
