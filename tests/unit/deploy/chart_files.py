"""Files of the chart that come from elsewhere: `python -m tests.unit.deploy.chart_files` writes them anew.

- files/topics.json and files/rights.json: the topics and the one table of rights, with %PREFIX% for the topic prefix
  and %GROUP:planner% and the like for the names of consumer groups. The templates fill them in.
- The table of values in README.md: from the comments in values.yaml. A value's description is the comment on its line,
  or the comment lines right above it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runtime.rights import GroupNames, Role, all_rights, strimzi
from schemas.topics import REPLICAS, Topics
from tests.unit.deploy.images import ROOT

CHART = ROOT / "helm" / "writeback"
_TOPICS = Topics().prefixed("%PREFIX%")
_GROUPS = GroupNames(planner="%GROUP:planner%", writer="%GROUP:writer%", dry_run="%GROUP:dryRun%")
_TABLE = re.compile(r"(<!-- values -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Value:
    """A row of the table: a value without keys of its own below it, or one that is written on one line; and, without a
    default, a group that has a description."""

    path: str
    default: str
    description: str


def values(text: str) -> list[Value]:
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    return list(_values(root, text.splitlines(), ""))


def _values(node: yaml.MappingNode, lines: list[str], path: str) -> Iterator[Value]:
    for key, value in node.value:
        name = f"{path}{key.value}"
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            if heading := _description(lines, key.start_mark.line):
                yield Value(name, "", heading)
            yield from _values(value, lines, f"{name}.")
        else:
            plain = yaml.safe_load(yaml.serialize(value))
            yield Value(name, json.dumps(plain), _description(lines, key.start_mark.line))


def _description(lines: list[str], line: int) -> str:
    """Quoted text in values.yaml has no #."""
    if " # " in lines[line]:
        return lines[line].partition(" # ")[2].strip()
    above: list[str] = []
    while line and lines[line - 1].lstrip().startswith("# "):
        line -= 1
        above.insert(0, lines[line].strip().removeprefix("# "))
    return " ".join(above)


def readme() -> str:
    listed = "\n".join(_row(each) for each in values((CHART / "values.yaml").read_text()))
    return _TABLE.sub(
        lambda found: f"{found[1]}| Value | Default | |\n|---|---|---|\n{listed}\n{found[2]}",
        (CHART / "README.md").read_text(),
    )


def _row(value: Value) -> str:
    cells = (f"`{value.path}`", f"`{value.default}`" if value.default else "", value.description)
    return "| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |"


def topics() -> str:
    return _json({spec.name: spec.creation_config(REPLICAS) for spec in _TOPICS.all()})


def rights() -> str:
    table = all_rights(_TOPICS, _GROUPS)
    return _json({role.value: strimzi(each for each in table if each.role is role) for role in Role})


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1) + "\n"


FILES = {"files/topics.json": topics, "files/rights.json": rights, "README.md": readme}


def main() -> None:
    for name, made in FILES.items():
        Path(CHART, name).write_text(made())


if __name__ == "__main__":
    main()
