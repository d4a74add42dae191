"""README, schema and data files of the chart say what values and code say."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.unit.deploy.chart_files import CHART, FILES, values

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
TEXT = (CHART / "values.yaml").read_text()
VALUES = [each for each in values(TEXT) if each.default]


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_chart_is_what_its_source_says(name: str) -> None:
    written = (CHART / name).read_text()
    assert written == FILES[name](), "write it anew with: python -m tests.unit.deploy.chart_files"


def test_every_value_has_a_description() -> None:
    assert [each.path for each in VALUES if len(each.description.split()) < 2] == []


def test_a_description_is_the_comment_on_the_line_or_those_right_above() -> None:
    text = "a: 1 # one\n# two,\n# lines\nb:\n  # three\n  c: {}\n  d: x # four\ne: []\n"
    assert [(each.path, each.default, each.description) for each in values(text)] == [
        ("a", "1", "one"),
        ("b", "", "two, lines"),
        ("b.c", "{}", "three"),
        ("b.d", '"x"', "four"),
        ("e", "[]", ""),
    ]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    return resolved(found)


def schema_of(path: str) -> dict[str, Any]:
    found = SCHEMA
    for key in path.split("."):
        found = resolved(found)["properties"][key]
    return resolved(found)


def in_schema(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, below in resolved(schema).get("properties", {}).items():
        yield from in_schema(below, f"{path}{key}.")
    if path:
        yield path.removesuffix(".")


@pytest.mark.parametrize("path", [each.path for each in VALUES])
def test_every_value_has_an_entry_in_the_schema_that_says_more_than_that_it_exists(path: str) -> None:
    assert schema_of(path).keys() & {"type", "enum", "pattern"}


def test_everything_in_the_schema_is_a_value() -> None:
    defaults = yaml.safe_load(TEXT)

    def exists(path: str) -> bool:
        found: Any = defaults
        for key in path.split("."):
            if not isinstance(found, dict) or (found and key not in found):
                return False
            found = found.get(key, {})
        return True

    of_kubernetes_or_helm = ("global", "resources.claims")
    named = [path for path in in_schema(SCHEMA) if not path.endswith(of_kubernetes_or_helm)]
    assert [path for path in named if not exists(path)] == []


def test_the_chart_says_who_keeps_it_what_it_runs_and_carries_its_own_icon() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    kind, _, content = chart["icon"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(content) == (CHART / "icon.svg").read_bytes()
    assert chart["maintainers"]
    defaults = yaml.safe_load(TEXT)
    named = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    assert {each["name"]: each["image"] for each in named} == {
        name: f"{defaults[name]['image']['repository']}:{chart['appVersion']}" for name in ("planner", "writer", "ops")
    }
