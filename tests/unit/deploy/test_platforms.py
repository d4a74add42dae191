"""Every example of docs/deploy.md: the chart renders it, and the programs' settings take it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

import planner.settings
import writer.settings
from ops.settings import Settings as OpsSettings
from runtime import environment
from runtime.connection import BrokerSettings
from runtime.service_settings import ServiceSettings
from tests.unit.deploy.chart import CHART, pods, templated
from tests.unit.deploy.images import ROOT
from tests.unit.deploy.test_chart import set_environment
from tests.unit.deploy.variables import unknown

PLATFORMS = {"Plain Kafka", "Strimzi", "Confluent Cloud", "Amazon MSK", "Azure Event Hubs", "Redpanda"}
NEEDED = """
broker: { bootstrapServers: "kafka.example:9093" }
mapping: { existingConfigMap: mapping }
writer: { dataverse: { url: "https://example.crm.dynamics.com" }, identities: [{ kind: managed }] }
"""


PAGE = (ROOT / "docs" / "deploy.md").read_text()
CONNECTING = PAGE.partition("\n## Connecting to Kafka\n")[2].partition("\n## ")[0]


def examples(language: str, page: str = PAGE) -> list[tuple[str, str]]:
    """Name and text of each block in that language."""
    found = []
    for part in re.split(r"^##+ ", page, flags=re.MULTILINE):
        title = part.partition("\n")[0] or "all"
        blocks = re.findall(rf"^ *```{language}\n(.*?)^ *```", part, flags=re.MULTILINE | re.DOTALL)
        found += [(f"{title} {number}", dedent(text)) for number, text in enumerate(blocks, 1)]
    return found


def test_every_platform_has_a_section_with_values() -> None:
    assert set(re.findall(r"^### (.+)$", CONNECTING, flags=re.MULTILINE)) == PLATFORMS
    assert {name.rpartition(" ")[0] for name, _ in examples("yaml", CONNECTING)} >= PLATFORMS


def test_what_looks_like_values_is_a_block_of_yaml() -> None:
    in_blocks = {line.strip() for _, text in examples("yaml") for line in text.splitlines()}
    keys = "|".join(yaml.safe_load((CHART / "values.yaml").read_text()))
    assert [line for line in re.findall(rf"^ *((?:{keys}):.*)$", PAGE, re.MULTILINE) if line not in in_blocks] == []


@pytest.mark.parametrize("values", [text for _, text in examples("yaml")], ids=[name for name, _ in examples("yaml")])
def test_the_chart_renders_an_example_and_every_program_takes_its_environment(
    values: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (needed := tmp_path / "needed.yaml").write_text(NEEDED)
    (example := tmp_path / "example.yaml").write_text(values)
    others = ["--set-json=writer.identities=[]"] if "identitiesSecret" in values else []
    running = pods(templated(f"--values={needed}", f"--values={example}", "--set=toolbox.enabled=true", *others))
    assert running.keys() >= {"planner", "writer", "topics-check", "toolbox"}
    for component, pod in running.items():
        read = {"planner": planner.settings.read_settings, "writer": writer.settings.read_settings}
        with monkeypatch.context() as patched:
            set_environment(patched, pod)
            broker = read.get(component, OpsSettings)().broker
        assert broker.tls
        if values in CONNECTING:
            wanted = yaml.safe_load(values).get("broker", {}).get("sasl", {})
            assert (broker.sasl.mechanism if broker.sasl else None) == wanted.get("mechanism")


@pytest.mark.parametrize("prefix", ["PLANNER_", "WRITER_", "WRITEBACK_"])
@pytest.mark.parametrize("text", [text for _, text in examples("sh")], ids=[name for name, _ in examples("sh")])
def test_every_program_takes_an_environment_from_the_page(
    text: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = dict(line.split("=", 1) for line in text.splitlines())
    for name, value in given.items():
        monkeypatch.setenv(f"{prefix}{name}", value)
    for name, value in {
        "PLANNER_MAPPING_FILE": "mapping.json",
        "WRITER_DATAVERSE__URL": "https://example.crm.dynamics.com",
        "WRITER_IDENTITIES": '[{"kind": "managed"}]',
    }.items():
        monkeypatch.setenv(name, value)
    read: dict[str, Callable[[], ServiceSettings | OpsSettings]] = {
        "PLANNER_": planner.settings.read_settings,
        "WRITER_": writer.settings.read_settings,
        "WRITEBACK_": lambda: environment.read(OpsSettings, help_command="writeback settings"),
    }
    assert read[prefix]().broker.bootstrap_servers == given["BROKER__BOOTSTRAP_SERVERS"]


def test_every_setting_that_the_page_names_exists() -> None:
    """In full, or without the beginning that all have in common."""
    names = set(re.findall(r"`…?((?:[A-Z]+_{1,2})+[A-Z_]+)(?:=[^`]*)?`", CONNECTING)) - {"HTTPS_PROXY"}
    names = {name.removeprefix("BROKER__") for name in names}
    assert "CLOSE_IDLE_AFTER_S" in names
    fields = {name.upper() for name in BrokerSettings.model_fields}
    full = {name for name in names if name.startswith(("PLANNER_", "WRITER_", "WRITEBACK_"))}
    of_broker = {name for name in names - full if name.partition("__")[0] in fields}
    assert not unknown({name for name in full if not name.endswith("__")})
    assert not unknown({f"WRITER_BROKER__{name}" for name in of_broker})
    assert names - full - of_broker <= {"CLIENT_ID", "CLIENT_SECRET_FILE", "ASSERTION_FILE", "CA_FILE"}
