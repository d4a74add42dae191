"""The writer reads of the mapping file what the planner will make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.mapping import MappingFile, resolve
from tests.support.factories import an_id
from writer.dataverse.mapping import read_mapping

EXAMPLE = Path(__file__).parents[3] / "ops" / "demo" / "mapping.json"
ANY_RECORD = "00000000-0000-0000-0000-000000000000"


def file_with(folder: Path, **sections: Any) -> Path:
    file = folder / "mapping.json"
    file.write_text(json.dumps(json.loads(EXAMPLE.read_text()) | sections))
    return file


@pytest.mark.parametrize(
    "parties",
    [
        {"to": "account"},
        {"from": {"kind": "queue", "id": an_id("queue")}},
        {"to": "account", "from": {"kind": "systemuser", "id": an_id("user"), "name": "Pat"}},
    ],
)
def test_both_services_make_the_same_parties_of_a_mapping(tmp_path: Path, parties: dict[str, Any]) -> None:
    file = file_with(tmp_path, activity_parties=parties)
    ours, theirs = read_mapping(file).parties, resolve(MappingFile.model_validate_json(file.read_text())).phone_call
    assert ours is not None
    assert theirs.parties is not None
    assert ours.members == theirs.parties.members(ANY_RECORD)
    assert (ours.collection, ours.entity_set, ours.id_column) == (
        theirs.parties.collection, theirs.parties.entity_set, theirs.parties.id_column,
    )  # fmt: skip


def test_both_services_make_the_same_caller_and_fixed_values_of_a_mapping(tmp_path: Path) -> None:
    file = file_with(
        tmp_path,
        caller={"id": an_id("user"), "object_id": an_id("object"), "name": "Pat"},
        fixed_values={"task": {"medx_x": {"type": "integer", "value": 3}}},
    )
    ours, theirs = read_mapping(file), resolve(MappingFile.model_validate_json(file.read_text()))
    assert ours.caller == theirs.phone_call.caller
    assert {one.column: one.value for one in ours.fixed} == theirs.task.fixed
    assert ours.names == {"caller": "Pat"}


def test_a_mapping_without_them_names_nobody(tmp_path: Path) -> None:
    ours = read_mapping(file_with(tmp_path))
    assert (ours.parties, ours.caller, ours.fixed, ours.names) == (None, None, (), {})


def test_parties_of_a_file_without_phone_calls_are_left_to_the_gap_of_their_table(tmp_path: Path) -> None:
    parties = {"to": "account", "from": {"kind": "queue", "id": an_id("queue")}}
    entities = json.loads(EXAMPLE.read_text())["entities"]
    no_calls = {word: each for word, each in entities.items() if word != "phone_call"}
    assert read_mapping(file_with(tmp_path, entities=no_calls, activity_parties=parties)).parties is None
