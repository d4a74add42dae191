"""Which environment variables a settings class takes, read off the class itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from ops.settings import Settings as OpsSettings
from planner.settings import PlannerSettings
from writer.settings import WriterSettings

CLASSES: dict[str, type[BaseModel]] = {
    "PLANNER_": PlannerSettings,
    "WRITER_": WriterSettings,
    "WRITEBACK_": OpsSettings,
}


def variables(model: type[BaseModel], prefix: str) -> set[str]:
    """Full names, those of nested models included: `WRITER_BROKER__SASL__USERNAME`."""
    return set(_variables(model, prefix))


def unknown(names: set[str]) -> set[str]:
    """Those of `names` that start like ours and are no setting of theirs."""
    known = set().union(*(variables(model, prefix) for prefix, model in CLASSES.items()))
    return {name for name in names if name.startswith(tuple(CLASSES))} - known


def _variables(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name.upper()
        for nested in _models(field.annotation):
            yield from _variables(nested, f"{prefix}{name.upper()}__")


def _models(annotation: Any) -> list[type[BaseModel]]:
    candidates = (annotation, *get_args(annotation))
    return [each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)]
