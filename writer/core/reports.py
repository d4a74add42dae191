"""What the engine asks the outside to report: lines of the log and figures, as values. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Log:
    """`fields` never hold anything of a record but its session, queue item and place (B1). `traces`: of the records
    that it is about; the line names them.
    """

    level: Level
    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    traces: Sequence[object] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """`metric` is an attribute of `writer.metrics.Metrics`."""

    metric: str
    labels: tuple[str, ...] = ()
    amount: float = 1.0


@dataclass(frozen=True, slots=True)
class Observe:
    metric: str
    value: float
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Show:
    """A gauge."""

    metric: str
    value: float
    labels: tuple[str, ...] = ()


Report = Log | Count | Observe | Show
