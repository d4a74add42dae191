"""`writeback doctor`: is everything in place? One verdict; changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ops import crm
from ops.core import privileges
from ops.core.counting import number_of
from ops.core.health import (
    CheckResult,
    Finding,
    Part,
    clock_finding,
    is_well,
    not_checked,
    ok,
    service_finding,
    summary,
    wrong,
)
from ops.core.privileges import CrmRole
from ops.errors import CrmRefuses, CrmUnavailable
from ops.groups import Groups
from ops.options import MappingPath
from ops.output import Json, console, json_line
from ops.settings import Settings, read_settings
from ops.view.logs import Logs
from planner import mapping as mappings
from planner.errors import MappingUnfit
from planner.mapping import MappingFile
from runtime import rights
from runtime.broker import BrokerUnavailable, BrokerView
from runtime.connection import RegistrySettings
from runtime.errors import Misconfigured, RegistryUnavailable, SchemaRefused
from runtime.exit_codes import Exit, problems_of
from runtime.registry import Registry
from schemas.records import CallOutcome, PlannedWriteback, WritebackResult
from writer.core.sign_in import SENTENCES, SignInTrouble
from writer.dataverse.client import WHO_AM_I
from writer.dataverse.mapping import read_mapping
from writer.dataverse.mapping_verification import verify
from writer.dataverse.tenant import Lacking, TenantReader

ASK_S = 15.0
_OK, _NOT_ACCEPTED = 200, (401, 403)


def doctor(
    only: Annotated[
        list[Part] | None,
        typer.Option("--only", help="Check this part alone; give it several times.", show_default=False),
    ] = None,
    mapping_file: MappingPath = None,
    role: Annotated[
        CrmRole, typer.Option(help="Whose privileges the identities need: the writer's, or an operator's.")
    ] = CrmRole.WRITER,
    as_json: Json = False,
) -> None:
    """Check settings, broker, topics, rights, services, registry, mapping, sign-in, clock, privileges, metadata.

    Parts that are not set up are named as not checked; what --only asks for has to be set up. Exit code 1 if anything
    would stop a service or block a plan, or if a service has work before it and does not run. No secret is printed.
    """
    findings = list(_examined(only or (), mapping_file, role))
    if as_json:
        for each in findings:
            json_line({"part": each.part, "verdict": each.verdict, "text": each.text})
        json_line({"well": is_well(findings), "summary": summary(findings)})
    else:
        out = console()
        for each in findings:
            mark, style = _MARKS[each.verdict]
            out.print(Text.assemble((f"{mark} ", style), (f"{each.part:<10} ", "bold"), each.text))
        out.print(Text(summary(findings), style="green" if is_well(findings) else "bold red"))
    raise typer.Exit(Exit.OK if is_well(findings) else Exit.ACT)


_MARKS = {CheckResult.OK: ("✓", "green"), CheckResult.WRONG: ("✗", "red"), CheckResult.NOT_CHECKED: ("–", "dim")}


def _examined(only: Sequence[Part], mapping_file: Path | None, role: CrmRole) -> Iterator[Finding]:
    try:
        settings = read_settings()
    except Misconfigured as error:
        yield from wrong(Part.SETTINGS, error.problems)
        return
    mapping_file = mapping_file or settings.mapping_file
    parts: dict[tuple[Part, ...], Callable[[], list[Finding]]] = {
        (Part.SETTINGS,): lambda: [ok(Part.SETTINGS, "every setting is known and well-formed")],
        (Part.BROKER, Part.TOPICS, Part.SERVICES): lambda: _broker(settings),
        (Part.REGISTRY,): lambda: _registry(settings),
        (Part.MAPPING,): lambda: _mapping(mapping_file),
        _OF_THE_CRM: lambda: _crm(settings, mapping_file, role),
    }
    for names, examine in parts.items():
        if not only or set(names) & set(only):
            found = [each for each in examine() if not only or each.part in only]
            asked_for = [each for each in found if only and each.verdict is CheckResult.NOT_CHECKED]
            yield from (each for each in found if each not in asked_for)
            yield from _as_wrong(asked_for)


_OF_THE_CRM = (Part.SIGN_IN, Part.CLOCK, Part.PRIVILEGES, Part.METADATA)


def _as_wrong(findings: Sequence[Finding]) -> list[Finding]:
    """What was asked for by name and could not be checked."""
    return [Finding(each.part, CheckResult.WRONG, each.text) for each in findings]


def _broker(settings: Settings) -> list[Finding]:
    broker = settings.broker
    try:
        wanted = rights.operator_rights(broker.topics, settings.groups)
        facts, problems = BrokerView(broker, broker.topics.all(), wanted).look(timeout_s=ASK_S)
    except Misconfigured as error:
        return wrong(Part.BROKER, error.problems)
    except BrokerUnavailable as error:
        rest = [not_checked(each, "the broker cannot be asked") for each in (Part.TOPICS, Part.SERVICES)]
        return [*wrong(Part.BROKER, [str(error)]), *rest]
    found = [ok(Part.BROKER, f"{broker.bootstrap_servers} answers, {number_of(facts.brokers, 'broker')}")]
    if problems:
        return [*found, *wrong(Part.TOPICS, problems), not_checked(Part.SERVICES, "the topics are not fit")]
    return [
        *found,
        ok(
            Part.TOPICS,
            f"all are fit, and this user's rights on them: {number_of(facts.partitions or 0, 'partition')} each",
        ),
        *_services(settings, range(facts.partitions or 0)),
    ]


def _services(settings: Settings, partitions: range) -> list[Finding]:
    """Whether planner and writer run, where something waits for them."""
    try:
        return list(_running(settings, partitions))
    except (Misconfigured, BrokerUnavailable) as error:
        return wrong(Part.SERVICES, problems_of(error))


def _running(settings: Settings, partitions: range) -> Iterator[Finding]:
    topics, groups, logs = settings.broker.topics, Groups(settings), Logs(settings)
    for service, group, topic in (
        ("planner", settings.planner_group, topics.call_outcomes.name),
        ("writer", settings.writer_group, topics.planned_writebacks.name),
    ):
        _, oldest_ms = logs.waiting(settings.group_id(group), topic, partitions)
        runs = groups.is_active(settings.group_id(group))
        yield service_finding(service, runs=runs, waits=oldest_ms is not None)


def _registry(settings: Settings) -> list[Finding]:
    if settings.registry is None:
        return [not_checked(Part.REGISTRY, "none is set: records are in Avro single-object encoding")]
    given, topics = settings.registry, settings.broker.topics
    return [
        _schema(given, topics.call_outcomes.name, lambda of, name: of.codec(CallOutcome, name)),
        _schema(given, topics.planned_writebacks.name, lambda of, name: of.codec(PlannedWriteback, name)),
        _schema(given, topics.writeback_results.name, lambda of, name: of.codec(WritebackResult, name)),
    ]


def _schema(given: RegistrySettings, topic: str, look_up: Callable[[Registry, str], object]) -> Finding:
    """Looks, and registers nothing."""
    try:
        look_up(Registry(given.model_copy(update={"register_schemas": False})), topic)
    except SchemaRefused as error:
        if given.register_schemas and "does not hold" in str(error):
            return ok(Part.REGISTRY, f"{topic}: today's schema is not there yet; a service registers it at its start")
        return Finding(Part.REGISTRY, CheckResult.WRONG, str(error))
    except RegistryUnavailable as error:
        return Finding(Part.REGISTRY, CheckResult.WRONG, str(error))
    return ok(Part.REGISTRY, f"{topic}: today's schema is registered")


def _mapping(file: Path | None) -> list[Finding]:
    if file is None:
        return [not_checked(Part.MAPPING, "name it with --mapping or WRITEBACK_MAPPING_FILE")]
    try:
        mapping = mappings.load(file)
    except MappingUnfit as error:
        return wrong(Part.MAPPING, [f"{file}: {each}" for each in error.problems])
    return [ok(Part.MAPPING, f"{file.name} is approved and complete, fingerprint {mapping.fingerprint[:12]}")]


def _crm(settings: Settings, mapping_file: Path | None, role: CrmRole) -> list[Finding]:
    if not crm.is_configured(settings):
        return [not_checked(part, crm.NOT_CONFIGURED) for part in _OF_THE_CRM]
    try:
        found = asyncio.run(_who_am_i(settings))
        if not is_well(found):
            return [*found, *(not_checked(each, "the sign-in fails") for each in (Part.PRIVILEGES, Part.METADATA))]
        found += asyncio.run(_privileges(settings, mapping_file, role))
        return [*found, *asyncio.run(_metadata(settings, mapping_file))]
    except Misconfigured as error:
        return wrong(Part.SIGN_IN, [crm.ours(each) for each in error.problems])


async def _who_am_i(settings: Settings) -> list[Finding]:
    """Of every identity: the services share their load."""
    found: list[Finding] = []
    for index, identity in enumerate(settings.identities):
        client = crm.client_of(settings, index)
        try:
            before = time.time()
            reply = await crm.asked(client, WHO_AM_I.path)
            after = time.time()
        except (CrmUnavailable, CrmRefuses) as error:
            found += wrong(Part.SIGN_IN, [f"identity {index} ({identity.kind}): {error}"])
            continue
        finally:
            await client.close()
        if reply.status in _NOT_ACCEPTED:
            what = f"{SENTENCES[SignInTrouble.NOT_ACCEPTED]} (status {reply.status})"
            found += wrong(Part.SIGN_IN, [f"identity {index} ({identity.kind}): {what}"])
        elif reply.status != _OK:
            found += wrong(Part.SIGN_IN, [f"identity {index} ({identity.kind}): Dataverse answers {reply.status}"])
        else:
            found.append(ok(Part.SIGN_IN, f"identity {index} ({identity.kind}) is signed in"))
            if (date := reply.headers.get("date")) and not any(each.part is Part.CLOCK for each in found):
                found.append(clock_finding(_skew(date, before, after)))
    return found


def _skew(date: str, before: float, after: float) -> float:
    """The header's second is cut off, and the answer was made between the two moments."""
    theirs = parsedate_to_datetime(date).timestamp()
    return before - (theirs + 1) if before > theirs + 1 else min(0.0, after - theirs)


async def _privileges(settings: Settings, mapping_file: Path | None, role: CrmRole) -> list[Finding]:
    """Of every identity, for each table what a security role has to grant."""
    found: list[Finding] = []
    mapping = _mapping_if_any(mapping_file)
    tables = privileges.wanted(role, mapping)
    bypasses = settings.dataverse is not None and settings.dataverse.bypass_business_logic is not None
    named = privileges.without_table(role, mapping, bypasses=bypasses)
    for index, identity in enumerate(settings.identities):
        who = f"identity {index} ({identity.kind})"
        try:
            async with crm.environment(settings.model_copy(update={"identities": (identity,)})) as (pool, _):
                reader, own_rows = TenantReader(pool), privileges.own_rows(role, mapping)
                lacking = await reader.lacking(tables, own_rows=own_rows, named=named)
                caller = await _of_caller(reader, role, mapping) if index == 0 else []
        except (CrmUnavailable, CrmRefuses) as error:
            found += wrong(Part.PRIVILEGES, [f"{who}: {error}"])
            continue
        found += wrong(Part.PRIVILEGES, [f"{who} {_sentence(each, named)}" for each in lacking] + caller)
        if not lacking:
            listed = "; ".join([*(f"{table}: {', '.join(accesses)}" for table, accesses in tables.items()), *named])
            found.append(ok(Part.PRIVILEGES, f"{who} has what the {role} needs: {listed}"))
    if mapping is None:
        found.append(
            not_checked(Part.PRIVILEGES, "those on the table of the queue items, without a mapping (--mapping)")
        )
    return found


async def _of_caller(reader: TenantReader, role: CrmRole, mapping: MappingFile | None) -> list[str]:
    """What the user lacks on whose behalf the writer records calls; who is not there is a matter of metadata."""
    if role is not CrmRole.WRITER or mapping is None or mapping.caller is None:
        return []
    wanted, user = privileges.of_caller(mapping), mapping.caller.id
    return [
        f"the user {user} of the mapping's caller {_sentence(each, {})}"
        for each in await reader.lacking(wanted, own_rows=wanted, user=user)
    ]


def _sentence(lacking: Lacking, named: Mapping[str, str]) -> str:
    if not lacking.table:
        return f"lacks {lacking.name}: let its security role grant it, {named[lacking.name]}"
    why = privileges.WHY[lacking.access]
    if lacking.own_rows_only:
        return (
            f"has {lacking.access} on {lacking.table} ({lacking.name}) for its own rows only: let its security role "
            f"grant it for the whole organization, {why}"
        )
    return f"lacks {lacking.access} on {lacking.table} ({lacking.name}): let its security role grant it, {why}"


def _mapping_if_any(file: Path | None) -> MappingFile | None:
    """Whether it is right is for others to say."""
    try:
        return mappings.read(file) if file else None
    except MappingUnfit:
        return None


async def _metadata(settings: Settings, mapping_file: Path | None) -> list[Finding]:
    """As the writer verifies it at its start."""
    try:
        async with crm.environment(settings) as (_, facts):
            await facts.reach()
            if mapping_file is None:
                return [ok(Part.METADATA, "can be read; with a mapping, all it names is verified too (--mapping)")]
            url = settings.dataverse.url if settings.dataverse else ""
            report = await verify(read_mapping(mapping_file), facts, url)
    except (CrmUnavailable, Misconfigured) as error:
        return wrong(Part.METADATA, problems_of(error))
    notices = [ok(Part.METADATA, notice) for notice in report.notices]
    if report.gaps:
        gaps = [crm.ours(str(gap)) for gap in report.gaps]
        return [*wrong(Part.METADATA, gaps), *notices]
    return [ok(Part.METADATA, f"Dataverse has everything that {mapping_file.name} names"), *notices]
