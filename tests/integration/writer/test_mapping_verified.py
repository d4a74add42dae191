"""W9: `check --mapping` and the start of the writer verify the whole mapping, and that it is of this environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from ops.demo.processes import Service, module, when_written
from ops.demo.waiting import HANGS_AFTER_S
from planner.mapping import environment_mark
from simulator.testing import RunningSimulator
from tests.integration.writer.kit import Topic, writer_env
from writer.core import mapping_check

EXAMPLE = Path(__file__).parents[3] / "planner" / "mapping.example.json"


def mapping_of(simulator: RunningSimulator, folder: Path, change: Callable[[Any], None] = lambda _: None) -> Path:
    content = json.loads(EXAMPLE.read_text())
    content["_meta"]["environment"] = environment_mark(simulator.base_url)
    change(content)
    file = folder / "mapping.json"
    file.write_text(json.dumps(content))
    return file


def check(simulator: RunningSimulator, topic: Topic, mapping: Path, folder: Path) -> tuple[int, str]:
    arguments = module("writer", "check", "--mapping", str(mapping))
    service = Service(arguments, env=writer_env(simulator, topic.bootstrap), output=folder / "check")
    return service.start().wait(), service.tail()


def test_both_services_mark_an_environment_alike() -> None:
    for url in ("https://Example.crm.dynamics.com/", "http://localhost:8080"):
        assert mapping_check.environment_mark(url) == environment_mark(url)


def test_W9_check_verifies_the_whole_mapping(simulator: RunningSimulator, topic: Topic, tmp_path: Path) -> None:
    status, said = check(simulator, topic, mapping_of(simulator, tmp_path), tmp_path)

    assert status == 0, said
    assert "Dataverse has everything that" in said


def spoil(content: Any) -> None:
    content["fields"]["queue.last_error"]["logical_name"] = "medx_gone"
    content["fields"]["phone_call.subject"]["type"] = "integer"
    content["option_sets"]["queue_status.dnc"]["value"] = 99
    content["owners"]["review"]["id"] = "33333333-aaaa-4bbb-8ccc-0000000000ff"
    content["preserve_if_present"].append("medx_nothing")


def test_W9_check_names_every_gap_at_once(simulator: RunningSimulator, topic: Topic, tmp_path: Path) -> None:
    status, said = check(simulator, topic, mapping_of(simulator, tmp_path, spoil), tmp_path)

    assert status == 78
    for gap in ("medx_gone", "phone_call.subject", "queue_status.dnc", "owners.review", "medx_nothing"):
        assert gap in said


@pytest.mark.parametrize("arguments", [("check",), ()])
def test_W9_a_mapping_of_another_environment_is_refused(
    simulator: RunningSimulator, topic: Topic, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    def elsewhere(content: Any) -> None:
        content["_meta"]["environment"] = environment_mark("https://other.crm.dynamics.com")

    mapping = mapping_of(simulator, tmp_path, elsewhere)
    settings = writer_env(simulator, topic.bootstrap, WRITER_MAPPING_FILE=str(mapping))
    service = Service(module("writer", *arguments), env=settings, output=tmp_path / "out").start()

    assert service.wait() == 78
    assert "another environment" in service.tail()


def test_W9_a_writer_whose_mapping_does_not_fit_says_so_and_is_not_ready(
    simulator: RunningSimulator, topic: Topic, tmp_path: Path
) -> None:
    env = writer_env(simulator, topic.bootstrap, WRITER_MAPPING_FILE=str(mapping_of(simulator, tmp_path, spoil)))
    writer = Service(module("writer"), env=env, output=tmp_path / "writer").start(when_written("mapping.does_not_fit"))
    try:
        [listening] = writer.events(event="endpoint.listening")
        root = f"http://127.0.0.1:{listening['port']}"
        with pytest.raises(HTTPError, match="503"):
            urlopen(f"{root}/ready", timeout=HANGS_AFTER_S)
        with urlopen(f"{root}/metrics", timeout=HANGS_AFTER_S) as metrics:
            assert "writeback_mapping_gaps 5.0" in metrics.read().decode()
    finally:
        assert writer.stop() == 0
    [said] = writer.events(event="mapping.does_not_fit")
    assert "medx_nothing" in json.dumps(said)


def test_a_mapping_that_is_none_is_told_with_every_mistake(
    simulator: RunningSimulator, topic: Topic, tmp_path: Path
) -> None:
    broken = tmp_path / "mapping.json"
    broken.write_text('{"_meta": {}, "entities": {"task": {}}}')
    status, said = check(simulator, topic, broken, tmp_path)

    assert status == 78
    assert "entities.task.logical_name" in said
    assert "fields" in said
    assert check(simulator, topic, tmp_path / "nowhere.json", tmp_path)[0] == 78
