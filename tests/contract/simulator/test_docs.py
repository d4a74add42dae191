"""docs/simulator.md says what the simulator does: its switches, options, controls and the table file it shows."""

import re
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
import yaml

from simulator import tenant
from simulator.cli import app
from simulator.schema import table_from
from simulator.server.control import ROUTES
from simulator.switches import Switches
from simulator.testing import running_simulator

TEXT = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "values"), Switches.choices().items())
def test_every_switch_stands_there_with_its_default_first(name: Any, values: Any) -> None:
    (row,) = re.findall(rf"^\| `{name}` \| (.*) \|$", TEXT, re.MULTILINE)
    shown = re.findall(r"`([^`]+)`", row.split(":")[0])
    assert shown[0] == getattr(Switches(), name)
    assert set(shown) == set(values)


def test_every_control_stands_there() -> None:
    for _, name in ROUTES:
        assert f"`{name}" in TEXT or f"_control/{name}" in TEXT, name


def test_every_option_that_stands_there_exists() -> None:
    known = set()
    group: Any = typer.main.get_command(app)
    commands = group.commands
    for command in [*commands.values(), *commands["snapshot"].commands.values()]:
        for parameter in command.params:
            known |= {*parameter.opts, *parameter.secondary_opts}
    others = ("    docker ", "    curl ", "    pip ")
    ours = "\n".join(line for line in TEXT.splitlines() if not line.startswith(others))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours)) <= known


def test_the_table_file_is_one() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert table_from(yaml.safe_load(block)).logical_name == "new_ticket"


def test_every_call_of_the_control_endpoint_that_is_shown_is_taken() -> None:
    """Of faults, limits and rows: the bodies as the page prints them."""
    shown = [shlex.split(line) for line in TEXT.splitlines() if line.startswith("    curl -X") and "_control/" in line]
    with running_simulator(auth="none") as simulator:
        for _, _, method, url, _, body in shown:
            path = url.partition("/_control/")[2]
            given = body.replace("ACCOUNT", tenant.ACCOUNTS[0]) if path.startswith("seed/") else body
            answer = httpx.request(method, f"{simulator.control_url}/{path}", content=given)
            assert answer.status_code == 200, (path, answer.text)
        assert any("/seed/" in url for _, _, _, url, _, _ in shown)
        [row] = [each for each in simulator.rows("medx_callqueueitems") if each.get("medx_name") == "first"]
        assert row["_medx_accountid_value"] == tenant.ACCOUNTS[0]
        assert [httpx.get(f"{simulator.api_url}/accounts").status_code for _ in range(4)] == [503, 503, 503, 200]
