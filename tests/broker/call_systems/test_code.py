"""Every program of docs/call-systems-code.md runs as it is printed there, on a real Kafka, with and without a registry.

The claim comes from `writeback claim`; what was published is what the planner accepts, in the right partition.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from ops.demo.processes import Service, module
from planner.core.planning import Policy, Rejected, plan
from planner.core.validation import Envelope
from runtime.connection import RegistrySettings
from runtime.registry import Registry
from schemas import headers
from schemas.codec import Codec, single_object
from schemas.placement import partition_of
from schemas.records import CallOutcome, Disposition, Source
from simulator.testing import RunningSimulator
from tests.broker.writer.conftest import PARTITIONS, Writers, prefix_of
from tests.integration.ops.kit import writeback
from tests.integration.ops.queue_kit import CAMPAIGN, queue_side, ready
from tests.integration.planner.harness import planner_env
from tests.integration.planner.harness import ready as planner_ready
from tests.integration.writer.kit import CRM, Topic
from tests.support.brokers.registry import RealRegistry
from tests.support.brokers.source import runs_under_ci
from tests.support.installed import Unavailable, maven_libraries, npm_modules

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
PAGE = (ROOT / "docs" / "call-systems-code.md").read_text()
PROGRAMS = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))
PUBLISHERS = ("publish.py", "Publish.java", "publish.mjs")


@pytest.fixture
def folder(simulator: RunningSimulator, topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a call system's programs are, beside the schemas."""
    queue_side(simulator, tmp_path, monkeypatch)
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", prefix_of(topic))
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(text)
    for schema in (ROOT / "schemas" / "avro").glob("*.avsc"):
        (programs / schema.name).write_bytes(schema.read_bytes())
    return programs


@pytest.fixture
def registry(schema_registry: RealRegistry) -> Iterator[Registry]:
    """The planner's; its connections are closed when the test ends."""
    ours = Registry(RegistrySettings(url=schema_registry.url))
    yield ours
    ours._client.__exit__(None, None, None)  # type: ignore[no-untyped-call]


def command_of(program: str, folder: Path) -> list[str]:
    """Skips if this machine cannot run it; fails under CI."""
    try:
        if program.endswith(".java"):
            return ["java", "-cp", f"{maven_libraries('call-systems', HERE)}/*", program]
        if program.endswith(".mjs"):
            modules = npm_modules("call-systems-node", HERE) / "node_modules"
            (folder / "node_modules").symlink_to(modules)
            return ["node", program]
    except Unavailable as missing:
        (pytest.fail if runs_under_ci() else pytest.skip)(f"{program}: {missing}")
    return [sys.executable, program]


def run(program: str, folder: Path, topic: Topic, given: str, **environment: str) -> list[dict[str, Any]]:
    ran = subprocess.run(
        command_of(program, folder),
        cwd=folder,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ, "BOOTSTRAP": topic.bootstrap, "TOPIC": topic.topics.call_outcomes.name,
            "GROUP": f"{prefix_of(topic)}dialler", **environment,
        },
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [json.loads(line) for line in ran.stdout.splitlines()]


def judged(message: Any, decoder: Codec[CallOutcome]) -> CallOutcome:
    """What the planner makes of a record; it has to be a plan."""
    outcome = decoder.decode(message.value())
    envelope = Envelope(message.key(), misplaced=message.partition() != partition_of(message.key(), PARTITIONS))
    made = plan(outcome, Source(topic="t", partition=0, offset=0), CRM, Policy(planned_by="test"), envelope=envelope)
    assert not isinstance(made, Rejected), made
    return outcome


def claimed(simulator: RunningSimulator) -> tuple[str, dict[str, Any]]:
    ready(simulator, medx_attemptcount=2, medx_priority=7, medx_lastsessionid="sess-before")
    ran = writeback("claim", *CAMPAIGN, "--json")
    assert ran.code == 0, ran.err
    return ran.out, ran.json[0]


def test_the_page_has_a_program_for_each_language() -> None:
    assert set(PROGRAMS) == {*PUBLISHERS, "follow.py"}


@pytest.mark.parametrize("program", PUBLISHERS)
def test_a_publisher_of_the_page_publishes_what_the_planner_accepts(
    program: str, folder: Path, simulator: RunningSimulator, topic: Topic
) -> None:
    line, claim = claimed(simulator)
    [published] = run(program, folder, topic, line)
    [message] = topic.read(topic.topics.call_outcomes.name)
    outcome = judged(message, single_object(CallOutcome))
    assert published == {
        "session_id": outcome.session_id,
        "place": f"{message.topic()}/{message.partition()}/{message.offset()}",
    }
    _is_of(outcome, claim)


@pytest.mark.parametrize("program", PUBLISHERS)
def test_a_publisher_of_the_page_takes_its_schema_from_the_registry_and_registers_nothing(
    program: str,
    folder: Path,
    simulator: RunningSimulator,
    topic: Topic,
    schema_registry: RealRegistry,
    registry: Registry,
) -> None:
    name = topic.topics.call_outcomes.name
    ours = registry.codec(CallOutcome, name)  # as the planner registers it at its start
    (folder / "call_outcome.avsc").unlink()
    line, claim = claimed(simulator)
    run(program, folder, topic, line, REGISTRY=schema_registry.url)
    [message] = topic.read(topic.topics.call_outcomes.name)
    assert message.value()[:1] == b"\0"
    _is_of(judged(message, ours), claim)
    assert schema_registry.client.get_versions(f"{name}-value") == [1]


def _is_of(outcome: CallOutcome, claim: dict[str, Any]) -> None:
    baseline = claim["baseline"]
    assert (outcome.queue_item_id, outcome.disposition) == (claim["queue_item_id"], Disposition.NO_ANSWER)
    assert (outcome.phone_number, outcome.campaign_id) == (claim["phone_number"], claim["campaign_id"])
    assert outcome.account is not None
    assert outcome.account.name == claim["account"]["name"]
    assert outcome.baseline.preserved == baseline["preserved"]
    assert (outcome.baseline.etag, outcome.baseline.attempt_count) == (baseline["etag"], 2)
    assert (
        outcome.baseline.captured_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        == (baseline["captured_at"])
    )
    assert outcome.baseline.last_session_id == "sess-before"


def test_the_follower_of_the_page_hears_of_the_result_and_of_a_rejection(
    folder: Path,
    simulator: RunningSimulator,
    topic: Topic,
    writers: Writers,
    make_service: Callable[..., Service],
) -> None:
    line, _ = claimed(simulator)
    [landed] = run("publish.py", folder, topic, line)
    [first] = topic.read(topic.topics.call_outcomes.name)
    bad = replace(single_object(CallOutcome).decode(first.value()), session_id="sess-bad", campaign_id="spring 2026")
    places: list[str] = []
    producer = Producer({"bootstrap.servers": topic.bootstrap, "partitioner": "murmur2_random"})
    producer.produce(
        first.topic(), single_object(CallOutcome).encode(bad), first.key(),
        on_delivery=lambda _, at: places.append(f"{at.topic()}/{at.partition()}/{at.offset()}"),
    )  # fmt: skip
    assert producer.flush(60) == 0
    env = planner_env(topic.bootstrap, checked=True, prefix=prefix_of(topic))
    make_service("planner", module("planner"), env=env).start(planner_ready)
    writers("writer-0", prefix_of(topic)).start()
    given = [landed, {"session_id": "sess-bad", "place": places[0]}]
    found = run("follow.py", folder, topic, "\n".join(map(json.dumps, given)))
    by_session = {each["session_id"]: each for each in found}
    assert by_session[landed["session_id"]]["status"] == "completed"
    assert by_session["sess-bad"]["status"] == "rejected"
    assert [headers.Reason(**each).field for each in by_session["sess-bad"]["reasons"]] == ["campaign_id"]
