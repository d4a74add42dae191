"""Values of CRM columns as a command may show them (B1), and where a record differs from its plan. No I/O.

Free text is shown as its length: subjects, descriptions, names and numbers are personal data. Whether it is what was
planned is said all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ops.core.counting import number_of
from ops.core.queue_item import claim_mark
from ops.core.rows import shown_session
from schemas.records import Disposition, Operation, PlannedStep, Value

_LINK = re.compile(r"/[a-z_]+\([0-9a-f-]{36}\)")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z")
_TRANSITION = re.compile(r"blocked_by_eligibility: [a-f](,[a-f])*")
_LINKS = "@"
"""A column of a plan that holds a link has an annotation behind its name."""


def shown(value: object, *, session_id: str) -> str:
    if value is None:
        return "(empty)"
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value)
    if (mark := claim_mark(value)) is not None:
        return f"(the mark of a claim: token {mark.token}, at {mark.at:%Y-%m-%dT%H:%M:%SZ})"
    is_plain = value in (session_id, *Disposition) or any(each.fullmatch(value) for each in (_LINK, _TIME, _TRANSITION))
    return value if is_plain else f"(text, {number_of(len(value), 'character')})"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a step: what the plan has for it and what the record holds, as both may be shown."""

    name: str
    planned: str
    found: str | None
    """None if the record was not looked at, or is not there."""
    same: bool | None


@dataclass(frozen=True, slots=True)
class StepNow:
    """A step beside the CRM's record. `exists` is None if nobody looked."""

    step_index: int
    operation: Operation
    record: str
    exists: bool | None
    columns: tuple[Column, ...]
    whose: str | None = None
    """Of a queue item that a later session wrote: that session."""

    @property
    def differs(self) -> bool:
        return self.exists is False or any(each.same is False for each in self.columns)


Row = Mapping[str, object]


def step_now(step: PlannedStep, row: Row | None, *, looked: bool, session_id: str) -> StepNow:
    """`row`: the record as the Web API gives it, None if it is not there."""
    columns = [_column(name, value, row, session_id) for name, value in step.attributes.items()]
    columns += [_counter(name, amount, row) for name, amount in step.increments.items()]
    return StepNow(
        step.step_index,
        step.operation,
        f"{step.entity_set}({step.record_id})",
        row is not None if looked else None,
        tuple(columns),
        _other_session(step, row, session_id),
    )


def _column(name: str, planned: Value, row: Row | None, session_id: str) -> Column:
    said = shown(planned, session_id=session_id)
    if row is None:
        return Column(name, said, None, None)
    if _LINKS in name:
        linked = str(planned).partition("(")[2].rstrip(")").lower()
        same = any(key.endswith("_value") and str(value).lower() == linked for key, value in row.items())
        return Column(name.partition(_LINKS)[0], said, said if same else "(another record, or none)", same)
    found = row.get(name)
    return Column(name, said, shown(found, session_id=session_id), _same(planned, found))


def _counter(name: str, amount: int, row: Row | None) -> Column:
    """What it should hold cannot be said: later sessions and people count too."""
    return Column(name, f"{amount:+d}", None if row is None else shown(row.get(name), session_id=""), None)


def _same(planned: Value, found: object) -> bool:
    if isinstance(planned, str) and isinstance(found, str) and _TIME.fullmatch(planned) and _TIME.fullmatch(found):
        return abs((datetime.fromisoformat(planned) - datetime.fromisoformat(found)).total_seconds()) < 1
    return planned == found or (planned in (None, "") and found in (None, ""))


def _other_session(step: PlannedStep, row: Row | None, session_id: str) -> str | None:
    if step.operation is not Operation.UPDATE_QUEUE_ITEM or row is None or step.session_column is None:
        return None
    found = row.get(step.session_column)
    if not isinstance(found, str) or found in ("", session_id):
        return None
    return shown_session(found) or "(an id that is not shown)"
