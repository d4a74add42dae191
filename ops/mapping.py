"""`writeback mapping`: make the mapping file, verify it in the CRM, approve it, compare it, and explain it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from ops import crm
from ops.actions import this_user
from ops.core import discovery, explanation
from ops.core.counting import number_of
from ops.core.explanation import Write
from ops.core.mapping_text import content_of, written
from ops.core.selectors import Selectors
from ops.core.sessions import Status
from ops.core.tables import table
from ops.output import Json, console, json_line
from ops.settings import Settings, read_settings
from ops.view.view import opened
from planner import mapping as mappings
from planner.errors import MappingUnfit
from planner.mapping import OWNER_TABLES, TASK_OWNERS, MappingFile
from runtime.errors import Misconfigured
from runtime.exit_codes import Exit
from schemas.records import Disposition, OwnerKind
from writer.core import gate
from writer.dataverse.mapping import owner_candidate, read_mapping
from writer.dataverse.mapping_verification import Report, verify
from writer.dataverse.tenant import TenantReader

app = typer.Typer(
    no_args_is_help=True, help="Make the mapping file, verify it in the CRM, approve it, compare it, and explain it."
)

File = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="The mapping; WRITEBACK_MAPPING_FILE if not given.",
        show_default=False,
    ),
]


@app.command(
    epilog="Example: writeback mapping discover --scaffold planner/mapping.example.json --output mapping.json; "
    "writeback mapping discover --owner callback=ID --owner review=team:ID"
)
def discover(
    scaffold: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A mapping, whole or in part: what it names is taken.")
    ] = None,
    queue_table: Annotated[
        str | None, typer.Option(metavar="NAME", help="Logical name of the table of the queue items.")
    ] = None,
    owner: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK=ID", help="Who gets callback or review tasks: a user's id, or team:ID.", show_default=False
        ),
    ] = None,
    output: Annotated[Path, typer.Option(metavar="FILE", help="The file to write; one that exists is kept.")] = Path(
        "mapping.json"
    ),
    as_json: Json = False,
) -> None:
    """Write a mapping file from what the CRM has. It is not approved: a person reviews it.

    What the scaffold does not name is suggested from names, types and labels. Each suggestion is listed in the file
    with its reason; check it, correct the entry if it is wrong, and take the line out. Owners are never guessed.
    """
    if output.exists():
        raise typer.BadParameter(f"{output} exists; name another file, or remove it", param_hint="--output")
    given = _scaffold(scaffold, queue_table, owner or ())
    settings = read_settings()
    content = asyncio.run(_discovered(settings, given))
    output.write_text(written(content), encoding="utf-8")
    suggestions: Mapping[str, str] = content["suggestions"]
    found = MappingFile.model_validate_json(output.read_text(encoding="utf-8"))
    gaps = [each for each in mappings.gaps(found) if not each.startswith(("suggestions.", "_meta."))]
    if as_json:
        json_line({"file": str(output), "suggestions": suggestions, "gaps": gaps})
        return
    out = console()
    if suggestions:
        out.print(table(("suggested or open", "why"), list(suggestions.items())))
    for each in gaps:
        out.print(Text(f"missing: {each}"))
    out.print(
        Text(f"written to {output}: {number_of(len(suggestions), 'place')} to check, {number_of(len(gaps), 'gap')}")
    )
    typer.echo(f"next: review it, then: writeback mapping approve {output} --by NAME", err=True)


@app.command("verify", epilog="Example: writeback mapping verify mapping.json --json")
def verify_(file: File = None, as_json: Json = False) -> None:
    """Compare a mapping with the CRM's live metadata, without a broker. Exit code 1 if anything is missing.

    All gaps are named in one round: of the file itself, and of tables, columns, types, lengths, lookup targets,
    options, labels, owners and the environment.
    """
    settings = read_settings()
    path = _named(settings, file)
    gaps, report = _examined(settings, path)
    _show_verdict(path, [*gaps, *map(str, report.gaps)], report.notices, as_json=as_json)


@app.command(epilog="Example: writeback mapping approve mapping.json --by 'Ada Admin'")
def approve(
    file: File = None,
    by: Annotated[str, typer.Option(help="Who reviewed it; who calls this, if not given.", show_default=False)] = "",
    accept_suggestions: Annotated[
        bool, typer.Option("--accept-suggestions", help="All suggestions in the file were checked and are right.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Record in the file who approved it and when. Refuses what `verify` refuses, and suggestions that nobody accepted.

    A file that is changed afterwards is not approved any more: the planner refuses it.
    """
    settings = read_settings()
    path = _named(settings, file)
    mapping = _read(path)
    if accept_suggestions:
        mapping = mapping.model_copy(update={"suggestions": {}})
    who = by or this_user()
    marked = {
        "approved": True, "approved_by": who, "approved_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "approved_fingerprint": mapping.fingerprint(),
    }  # fmt: skip
    approved = mapping.model_copy(update={"meta": mapping.meta.model_copy(update=marked)})
    report = asyncio.run(_verified(settings, path))
    gaps = [*mappings.gaps(approved), *map(str, report.gaps)]
    if not gaps:
        path.write_text(written(content_of(approved)), encoding="utf-8")
    _show_verdict(path, gaps, report.notices, as_json=as_json, approved=who)


@app.command(epilog="Example: writeback mapping explain mapping.json --disposition no_answer")
def explain(
    file: File = None,
    disposition: Annotated[
        list[Disposition] | None, typer.Option("--disposition", help="Only this one; several times for more.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show for each disposition which column gets what, approved or not."""
    mapping = _read(_named(read_settings(), file))
    out = console()
    for each in disposition or Disposition:
        writes = explanation.explained(mapping, each)
        if as_json:
            for write in writes:
                json_line({"disposition": each} | _as_json(write))
            continue
        rows = [(w.record, w.table, w.column, w.label or "", w.gets) for w in writes]
        out.print(table(("record", "table", "column", "label", "gets"), rows, title=each.value))
        out.print()
    if not as_json:
        kept = ", ".join(mapping.preserve_if_present) or "none"
        out.print(Text(f"Preserved: {kept}. A person's change of one of them, or of a column above, stops the write."))


def _as_json(write: Write) -> dict[str, Any]:
    return {
        "record": write.record, "table": write.table, "column": write.column, "label": write.label, "gets": write.gets,
    }  # fmt: skip


@app.command(
    epilog="Example: writeback mapping diff old.json new.json; writeback mapping diff 3f9a17c2 new.json --json"
)
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A mapping file, or a fingerprint (8 letters or more).")],
    new: File = None,
    sessions: Annotated[
        bool, typer.Option("--sessions/--no-sessions", help="Count sessions; needs the broker.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Show what changed between two mappings, which dispositions it touches, and how many sessions it concerns.

    Sessions are those that were planned with the old mapping and are not settled, or are blocked: a plan keeps the
    mapping that it was made with.
    """
    settings = read_settings()
    mapping = _read(_named(settings, new))
    before = _read(Path(old)) if Path(old).is_file() else None
    if before is None and not _is_fingerprint(old):
        raise typer.BadParameter(f"{old} is neither a file nor a fingerprint", param_hint="OLD")
    fingerprint = before.fingerprint() if before else old.lower()
    same = mapping.fingerprint().startswith(fingerprint)
    found = _Difference(
        fingerprint,
        mapping.fingerprint(),
        explanation.changes(before, mapping) if before else [],
        explanation.touched(before, mapping) if before else {} if same else {each: [] for each in Disposition},
    )
    concerned = _concerned(settings, fingerprint, found.touched) if sessions and found.touched else {}
    if as_json:
        json_line(_difference_as_json(found, concerned, same=same))
    else:
        _show_difference(found, concerned, same=same, by_content=before is not None, counted=sessions)


@dataclass(frozen=True, slots=True)
class _Difference:
    old: str
    """Fingerprint, or its beginning."""
    new: str
    changes: Sequence[tuple[str, str, str]]
    touched: Mapping[Disposition, Sequence[str]]


Counts = dict[Disposition, tuple[int, int]]
"""Sessions that are not settled, and that are blocked."""


def _concerned(settings: Settings, fingerprint: str, touched: Mapping[Disposition, Sequence[str]]) -> Counts:
    with opened(settings) as view:
        count = view.store.count
        return {
            each: (
                count(Selectors(mapping=[fingerprint], disposition=[each], unsettled=True)),
                count(Selectors(mapping=[fingerprint], disposition=[each], status=[Status.BLOCKED])),
            )
            for each in touched
        }


def _difference_as_json(found: _Difference, concerned: Counts, *, same: bool) -> dict[str, Any]:
    return {
        "old": found.old, "new": found.new, "same": same,
        "changes": [{"place": place, "old": one, "new": other} for place, one, other in found.changes],
        "dispositions": [
            {"disposition": each, "columns": list(columns)}
            | ({"unsettled": concerned[each][0], "blocked": concerned[each][1]} if each in concerned else {})
            for each, columns in found.touched.items()
        ],
    }  # fmt: skip


def _show_difference(found: _Difference, concerned: Counts, *, same: bool, by_content: bool, counted: bool) -> None:
    out = console()
    if same:
        out.print(Text("a plan made with either is the same: they differ in nothing, or in labels and approval alone"))
        return
    if by_content:
        out.print(table(("place", "old", "new"), found.changes))
        rows = [(each.value, *_counts(concerned, each), ", ".join(columns)) for each, columns in found.touched.items()]
        out.print(table(("disposition", "unsettled", "blocked", "columns"), rows))
    else:
        out.print(Text(f"{found.old} is another mapping; its file would show what changed"))
        counted_ones = [each for each in found.touched if any(concerned.get(each, ()))]
        listed = [(each.value, *_counts(concerned, each)) for each in counted_ones]
        out.print(table(("disposition", "unsettled", "blocked"), listed))
    if counted:
        unsettled, blocked = (sum(each[i] for each in concerned.values()) for i in (0, 1))
        out.print(Text(f"planned with {found.old[:12]}: {unsettled:,} unsettled and {blocked:,} blocked"))


def _counts(concerned: Counts, disposition: Disposition) -> tuple[str, str]:
    if disposition not in concerned:
        return "not counted", "not counted"
    unsettled, blocked = concerned[disposition]
    return f"{unsettled:,}", f"{blocked:,}"


_SHORTEST_FINGERPRINT = 8


def _is_fingerprint(text: str) -> bool:
    return len(text) >= _SHORTEST_FINGERPRINT and not set(text.lower()) - set("0123456789abcdef")


def _scaffold(file: Path | None, queue_table: str | None, owners: Sequence[str]) -> dict[str, Any]:
    """What a person has named, in a file and beside it."""
    content: Any = {}
    if file is not None:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise typer.BadParameter(
                f"{file} cannot be read as JSON: {type(error).__name__}", param_hint="--scaffold"
            ) from None
        if not isinstance(content, dict):
            raise typer.BadParameter(f"{file} is not a mapping: one JSON object", param_hint="--scaffold")
    if queue_table is not None:
        content["entities"] = {**content.get("entities", {}), "queue_item": {"logical_name": queue_table}}
    if owners:
        content["owners"] = {**content.get("owners", {}), **dict(map(_owner, owners))}
    return dict(content)


def _owner(given: str) -> tuple[str, dict[str, str]]:
    task, _, who = given.partition("=")
    kind, _, record_id = who.rpartition(":")
    if task not in TASK_OWNERS or not record_id or kind not in ("", *OwnerKind):
        raise typer.BadParameter(
            f"{given}: give callback=ID, review=ID, or team:ID in place of ID", param_hint="--owner"
        )
    return task, {"kind": OWNER_TABLES[OwnerKind(kind or OwnerKind.USER)], "id": record_id.lower()}


async def _discovered(settings: Settings, given: dict[str, Any]) -> dict[str, Any]:
    """Raises Misconfigured, CrmRefuses, CrmUnavailable."""
    async with crm.environment(settings) as (pool, facts):
        reader = TenantReader(pool)
        tables = await reader.tables(discovery.tables_to_read(given, await reader.tables()))
        owners = {each["id"]: gate.owner(owner_candidate(each["kind"], each["id"])) for each in _owners_of(given)}
        names = await facts.names_of(list(owners.values()))
        return discovery.discovered(
            given,
            tables,
            environment=mappings.environment_mark(settings.dataverse.url if settings.dataverse else ""),
            at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            owner_names={record_id: names[each.key] for record_id, each in owners.items() if names.get(each.key)},
        )


def _owners_of(given: dict[str, Any]) -> list[dict[Literal["kind", "id"], Any]]:
    owners = given.get("owners") or {}
    return [each for each in owners.values() if isinstance(each, dict) and {"kind", "id"} <= each.keys()]


def _named(settings: Settings, file: Path | None) -> Path:
    """Raises Misconfigured, BadParameter."""
    named = file or settings.mapping_file
    if named is None:
        raise typer.BadParameter("name the mapping, or set WRITEBACK_MAPPING_FILE", param_hint="FILE")
    if not named.is_file():
        raise Misconfigured([f"WRITEBACK_MAPPING_FILE: there is no file {named}"])
    return named


def _read(path: Path) -> MappingFile:
    """Raises Misconfigured with every mistake in its shape."""
    try:
        return mappings.read(path)
    except MappingUnfit as error:
        raise Misconfigured([f"{path}: {each}" for each in error.problems]) from None


def _examined(settings: Settings, path: Path) -> tuple[list[str], Report]:
    """Every gap of the file itself, and the report of live metadata; a file of no shape is not compared."""
    try:
        gaps = mappings.gaps(mappings.read(path))
    except MappingUnfit as error:
        return list(error.problems), Report(())
    return gaps, asyncio.run(_verified(settings, path))


async def _verified(settings: Settings, path: Path) -> Report:
    async with crm.environment(settings) as (_, facts):
        return await verify(read_mapping(path), facts, settings.dataverse.url if settings.dataverse else "")


def _show_verdict(
    path: Path, gaps: Sequence[str], notices: Sequence[str], *, as_json: bool, approved: str | None = None
) -> None:
    gaps = [crm.ours(each) for each in gaps]
    if as_json:
        json_line({"file": str(path), "fits": not gaps, "gaps": gaps, "notices": list(notices)})
    else:
        out = console()
        for gap in gaps:
            out.print(Text.assemble(("✗ ", "red"), gap))
        for notice in notices:
            out.print(Text.assemble(("! ", "yellow"), notice))
        good = f"approved by {approved}" if approved else "approved and complete, and the CRM has everything it names"
        verdict = good if not gaps else f"{number_of(len(gaps), 'gap')}; nothing can be written with it"
        verdict = f"{path}: {verdict}"
        out.print(Text(verdict, style="bold red" if gaps else "green"))
    raise typer.Exit(Exit.ACT if gaps else Exit.OK)
