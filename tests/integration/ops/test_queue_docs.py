"""Every command about the queue side that the pages show is run, in the order of the page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from simulator.testing import RunningSimulator
from tests.integration.ops.kit import writeback
from tests.integration.ops.queue_kit import queue_side, ready, row_of
from tests.support.factories import an_id

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"<!-- run: queue -->\n```sh\n(.*?)```", re.DOTALL)


def commands(page: str) -> list[list[str]]:
    blocks = BLOCK.findall((DOCS / page).read_text())
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("page", ["call-systems.md", "operators.md"])
def test_every_command_of_the_page_does_what_it_says(
    page: str, simulator: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_side(simulator, tmp_path, monkeypatch)
    first = ready(simulator, medx_callqueueitemid=an_id("queue item 1"))
    ready(simulator, medx_donotcall=True)
    stale = ready(
        simulator, medx_callstatus=1, medx_lastdisposition="claimed dialler-3-000001 2026-01-02T03:04:05Z after failed"
    )
    others = [ready(simulator) for _ in range(3)]
    listed = commands(page)
    assert listed
    for program, *arguments in listed:
        assert program == "writeback"
        ran = writeback(*arguments)
        assert ran.code == 0, (arguments, ran.err)
        assert ran.out, arguments
        if "--json" in arguments:
            assert all("queue_item_id" in each or each["what"] == "release" for each in ran.json)
    if page == "operators.md":
        assert (row_of(simulator, stale)["medx_callstatus"], row_of(simulator, stale)["medx_lastdisposition"]) == (
            0, "failed",
        )  # fmt: skip
    else:
        claimed = [each for each in (first, *others) if row_of(simulator, each)["medx_callstatus"] == 1]
        assert len(claimed) == 1, "by the claim without a token; what was claimed with one is released"
