"""Somebody who follows docs/administrators.md from top to bottom ends with an approved mapping that fits."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from planner import mapping as mappings
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.ops.kit import writeback

PAGE = Path(__file__).parents[3] / "docs" / "administrators.md"
BLOCK = re.compile(r"<!-- run -->\n```sh\n(.*?)```", re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True) for block in BLOCK.findall(PAGE.read_text()) for line in block.splitlines()
]


@pytest.fixture
def crm() -> Iterator[RunningSimulator]:
    with running_simulator(auth="none") as simulator:
        yield simulator


def test_the_pages_commands_lead_to_an_approved_mapping_that_fits(
    crm: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRITEBACK_DATAVERSE__URL", crm.base_url)
    monkeypatch.setenv("WRITEBACK_IDENTITIES", json.dumps([{"kind": "none"}]))
    monkeypatch.setenv("WRITEBACK_BROKER__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    codes: dict[str, int] = {}
    for program, *arguments in COMMANDS:
        if program == "cp":
            shutil.copy(*arguments)
            continue
        ran = writeback(*arguments)
        codes[" ".join(arguments[:2])] = ran.code
        assert ran.out, arguments
    assert codes == {
        "mapping discover": 0, "mapping explain": 0, "mapping verify": 1, "mapping approve": 0, "doctor --only": 0,
        "mapping diff": 0,
    }, "verify names what nobody has accepted yet"  # fmt: skip
    assert mappings.load(Path("mapping.json"))


def test_the_page_shows_every_part_of_the_command() -> None:
    shown = {arguments[1] for _, *arguments in COMMANDS if arguments[0] == "mapping"}
    assert shown == {"discover", "verify", "approve", "diff", "explain"}
