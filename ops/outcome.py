"""`writeback outcome check`: would the planner accept this outcome, and what would it plan? Asks nobody."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from ops.core import outcomes
from ops.core.tables import table
from ops.core.values import StepNow, step_now
from ops.options import MappingPath
from ops.output import Json, console, json_line
from ops.settings import Settings, read_settings
from ops.view.view import reader_of
from planner import mapping as mappings
from planner.core.normalisation import normalised
from planner.core.planning import Policy, Rejected, plan
from planner.core.resolution import ResolvedMapping
from planner.core.validation import reasons
from planner.errors import MappingUnfit
from runtime.errors import Misconfigured
from runtime.exit_codes import Exit
from schemas.codec import Undecodable
from schemas.headers import Reason
from schemas.placement import partition_of
from schemas.records import CallOutcome, PlannedWriteback, Source

app = typer.Typer(no_args_is_help=True, help="Check call outcomes before they are published.")


@app.callback()
def _group() -> None:
    """Check call outcomes before they are published."""


@app.command(
    epilog="Example: writeback outcome check outcome.json --mapping mapping.json; … | writeback outcome check -"
)
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON, or Avro as it is published; - for stdin.")],
    mapping_file: MappingPath = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="How many partitions: says where the record belongs.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether the planner would accept an outcome, or every reason why not; with a mapping, what it would plan.

    Also names the fields and columns that were left out and could have been sent. Times are judged by the moment at
    which the broker appends the record, so only the rest is judged here. Plans are made with the default policies
    (redacted, summary only). Exit codes: 0 accepted, 1 rejected.
    """
    settings = read_settings()
    outcome = _read(file, settings)
    if isinstance(outcome, CallOutcome):
        found = _judged(outcome, settings, mapping_file, partitions)
    else:
        found = {"accepted": False, "reasons": _listed(outcome)}
    if as_json:
        json_line({name: value for name, value in found.items() if name != "steps_now"})
    else:
        console().print(_shown(found))
    raise typer.Exit(Exit.OK if found["accepted"] else Exit.ACT)


def _read(file: Path, settings: Settings) -> CallOutcome | Sequence[Reason]:
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}", param_hint="FILE") from None
    if content[:1] not in (b"\x00", b"\xc3"):
        return outcomes.from_json(content)
    try:
        return reader_of(CallOutcome, settings).decode(content)
    except Undecodable as error:
        return (Reason("undecodable", "value", f"a call outcome, but it {error}"),)


def _judged(
    outcome: CallOutcome, settings: Settings, mapping_file: Path | None, partitions: int | None
) -> dict[str, Any]:
    meant = normalised(outcome)
    found: dict[str, Any] = {"accepted": True, "reasons": [], "key": meant.queue_item_id}
    if partitions is not None:
        found["partition"] = partition_of(meant.queue_item_id.encode(), partitions)
    found["left_out"] = [{"field": name, "so": why} for name, why in outcomes.left_out(meant)]
    mapping = _mapping(mapping_file or settings.mapping_file)
    planned = None if mapping is None else plan(outcome, _NOWHERE, mapping, Policy(planned_by="outcome check"))
    wrong = planned.reasons if isinstance(planned, Rejected) else reasons(meant)
    if wrong:
        return {**found, "accepted": False, "reasons": _listed(wrong)}
    if isinstance(planned, PlannedWriteback) and mapping is not None:
        steps = [step_now(step, None, looked=False, session_id=planned.session_id) for step in planned.steps]
        found |= {
            "disposition": planned.disposition,
            "steps": [_step(each) for each in steps],
            "columns_left_out": outcomes.columns_left_out(planned, mapping),
            "warnings": [each.code for each in planned.warnings],
            "steps_now": steps,
        }
    return found


_NOWHERE = Source(topic="(not published)", partition=0, offset=0)


def _mapping(file: Path | None) -> ResolvedMapping | None:
    """Raises Misconfigured with every gap."""
    if file is None:
        return None
    try:
        return mappings.load(file)
    except MappingUnfit as error:
        raise Misconfigured([f"{file}: {each}" for each in error.problems]) from None


def _listed(wrong: Sequence[Reason]) -> list[dict[str, str | None]]:
    return [{"code": each.code, "field": each.field, "expected": each.expected} for each in wrong]


def _step(step: StepNow) -> dict[str, Any]:
    columns = {each.name: each.planned for each in step.columns}
    return {"step_index": step.step_index, "operation": step.operation, "record": step.record, "columns": columns}


def _shown(found: dict[str, Any]) -> RenderableType:
    parts: list[RenderableType] = []
    if not found["accepted"]:
        parts.append(Text("rejected", style="bold red"))
        rows = [(each["code"], each["field"] or "", each["expected"]) for each in found["reasons"]]
        return Group(*parts, table(("reason", "field", "expected"), rows))
    where = f", partition {found['partition']}" if "partition" in found else ""
    parts.append(Text(f"accepted; publish it under the key {found['key']}{where}", style="green"))
    for step in found.get("steps_now", ()):
        parts.append(Text(f"step {step.step_index} {step.operation}  {step.record}", style="bold"))
        parts.append(table(("  column", "value"), [(f"  {each.name}", each.planned) for each in step.columns]))
    parts += [Text(f"warning {code}") for code in found.get("warnings", ())]
    if "steps" not in found:
        parts.append(Text("no mapping was given, so nothing was planned: --mapping FILE", style="dim"))
    if found["left_out"]:
        parts.append(table(("left out", "so"), [(each["field"], each["so"]) for each in found["left_out"]]))
    if columns := found.get("columns_left_out"):
        parts.append(Text(f"left out of baseline.preserved: {', '.join(columns)}", style="yellow"))
        parts.append(
            Text("what a person changes in them cannot be distinguished from what was there: send what was read")
        )
    return Group(*parts)
