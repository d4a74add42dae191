"""Every command that docs/operators.md shows is run, and does what such a page promises: it understands it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from confluent_kafka import Producer

from schemas import headers
from schemas.codec import single_object
from schemas.conversion import to_plain
from schemas.records import CallOutcome
from tests.integration.ops.kit import writeback
from tests.integration.writer.kit import Topic
from tests.support.factories import an_id, make_outcome, make_plan

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "operators.md"
BLOCK = re.compile(r"<!-- run -->\n```sh\n(.*?)```", re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True) for block in BLOCK.findall(PAGE.read_text()) for line in block.splitlines()
]


@pytest.fixture
def world(topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page's examples are about."""
    topic.publish(make_plan(session_id="sess-000001"))
    outcome = make_outcome()
    beside = [headers.reasons_header([headers.Reason("mismatch", "session_id", "another")])]
    producer = Producer({"bootstrap.servers": topic.bootstrap})
    value = single_object(CallOutcome).encode(outcome)
    producer.produce("call-outcomes-rejected", value, outcome.queue_item_id.encode(), 0, headers=beside)
    assert producer.flush(20) == 0
    (tmp_path / "outcome.json").write_text(json.dumps(to_plain(outcome), default=lambda at: at.isoformat()))
    (tmp_path / "mapping.json").write_bytes((ROOT / "ops" / "demo" / "mapping.json").read_bytes())
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_of_the_page_is_understood_and_says_something_or_finds_nothing(
    world: None, command: list[str]
) -> None:
    program, *arguments = command
    assert program == "writeback"
    ran = writeback(*arguments)
    assert ran.code in (0, 1, 2), ran.err
    if "--json" in arguments:
        assert all(isinstance(each, dict) for each in ran.json)
    else:
        assert ran.out


def test_the_page_shows_every_command_that_looks() -> None:
    shown = {" ".join(command[1:3]) if command[1] in ("rejected", "outcome") else command[1] for command in COMMANDS}
    assert shown == {
        "status", "watch", "list", "trace", "rejected list", "rejected show", "outcome check", "rewind", "doctor",
        "replay", "rejected redrive", "replan", "resolve", "retire", "forget",
    }  # fmt: skip
    assert an_id("queue item 1") in PAGE.read_text()
