"""The mapping file as text: one entry a line, in the file's order, so that a review sees each change. No I/O."""

from __future__ import annotations

import json
from typing import Any

from planner.mapping import MappingFile

_SECTIONS = ("entities", "fields", "option_sets", "owners", "fixed_values", "suggestions")


def written(content: dict[str, Any]) -> str:
    """`content` as the file's JSON has it."""
    parts = [_line(name, value) for name, value in content.items() if value or name != "suggestions"]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _line(name: str, value: Any) -> str:
    if name not in _SECTIONS:
        return f"  {_json(name)}: {_json(value)}"
    entries = ",\n".join(f"    {_json(key)}: {_json(entry)}" for key, entry in value.items())
    return f"  {_json(name)}: {{\n{entries}\n  }}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def meanings_of(mapping: MappingFile) -> dict[str, dict[str, str]]:
    """Column to what each number of an option means, in the words of the CRM."""
    found: dict[str, dict[str, str]] = {}
    for name, option in mapping.option_sets.items():
        if (column := mapping.fields.get(option.field)) is not None:
            label = option.label or name.rpartition(".")[2]
            found.setdefault(column.logical_name, {})[str(option.value)] = label
    return found


def content_of(mapping: MappingFile) -> dict[str, Any]:
    content = mapping.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {name: content[name] for name in ("_meta", *content) if name in content}
