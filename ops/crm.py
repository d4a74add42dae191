"""The edge to Dataverse for commands: signs in as the writer does, and reads single records."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import structlog

from ops.errors import CrmRefuses, CrmUnavailable
from ops.settings import Settings
from runtime.errors import Misconfigured
from writer.core import results
from writer.core.emission import Observed
from writer.core.replies import Judgement, Kind, Meaning
from writer.core.sign_in import SignInFault
from writer.dataverse.client import ETAG_PROPERTY, DataverseClient, HttpReply, HttpRequest
from writer.dataverse.identity import token_source
from writer.dataverse.metadata_cache import MetadataCache
from writer.dataverse.pool import Pool
from writer.errors import MetadataUnavailable, NeverSent, SignInFailed, SignInRefused, Unanswered
from writer.metrics import Metrics
from writer.settings import WriterSettings
from writer.wiring import build_facts, build_pool

_FOUND, _NOT_FOUND, _NOT_SIGNED_IN, _FORBIDDEN = 200, 404, 401, 403

_NO_SUCH_RECORD = b"0x80040217"
"""The code of a record that is not there; another 404 is about the table."""

Place = tuple[str, str]
"""Entity set and record id."""


@dataclass(frozen=True, slots=True)
class Records:
    """What was found; None for a record that is not there."""

    rows: Mapping[Place, Mapping[str, Any] | None]


def is_configured(settings: Settings) -> bool:
    return settings.dataverse is not None and bool(settings.identities)


def observed(row: Mapping[str, Any] | None) -> Observed | None:
    """A record as the writer's rules take it."""
    return None if row is None else Observed(str(row[ETAG_PROPERTY]), row)


NOT_CONFIGURED = "set WRITEBACK_DATAVERSE__URL and WRITEBACK_IDENTITIES to look into the CRM too"


def read_records(settings: Settings, places: Sequence[Place]) -> Records:
    """Raises Misconfigured, CrmUnavailable, CrmRefuses."""
    return asyncio.run(_read(settings, places))


async def _read(settings: Settings, places: Sequence[Place]) -> Records:
    client = client_of(settings)
    try:
        return Records({place: await _record(client, place) for place in dict.fromkeys(places)})
    finally:
        await client.close()


def client_of(settings: Settings, index: int = 0) -> DataverseClient:
    """Of one identity. Raises Misconfigured."""
    if settings.dataverse is None or not settings.identities:
        raise Misconfigured([NOT_CONFIGURED])
    scope = f"{settings.dataverse.url}/.default"
    try:
        tokens = token_source(settings.identities[index], index, scope=scope, sign_in=settings.sign_in)
        return DataverseClient(settings.dataverse, tokens)
    except (ValueError, OSError) as error:
        why = f"its secret, certificate or file cannot be used ({type(error).__name__})"
        raise Misconfigured([f"WRITEBACK_IDENTITIES: {why}"]) from None


@asynccontextmanager
async def environment(settings: Settings) -> AsyncIterator[tuple[Pool, MetadataCache]]:
    """Reads metadata and owners as the writer does, signed in with every identity. Raises Misconfigured, CrmRefuses,
    CrmUnavailable.
    """
    if settings.dataverse is None or not settings.identities:
        raise Misconfigured([NOT_CONFIGURED])
    as_writer = WriterSettings.model_construct(
        dataverse=settings.dataverse, identities=settings.identities, sign_in=settings.sign_in
    )
    try:
        pool = build_pool(as_writer, Metrics())
    except Misconfigured as error:
        raise Misconfigured([ours(each) for each in error.problems]) from None
    try:
        with _no_log_lines():
            for channel in pool.channels:
                judgement = await pool.who_am_i(channel)
                if judgement.kind is not Kind.DONE:
                    raise _trouble(judgement)
            yield pool, build_facts(as_writer, pool)
    except MetadataUnavailable as failure:
        raise _trouble(failure.judgement) from None
    finally:
        await pool.close()


async def reach(settings: Settings) -> None:
    """Signs in with every identity, and asks nothing else. Raises as `environment` does."""
    async with environment(settings):
        pass


@contextmanager
def _no_log_lines() -> Iterator[None]:
    """What the writer would log, a command raises."""
    before = structlog.get_config()
    structlog.configure(processors=[_dropped])
    try:
        yield
    finally:
        structlog.configure(**before)


def _dropped(*_: Any) -> NoReturn:
    raise structlog.DropEvent


def _trouble(judgement: Judgement) -> CrmRefuses | CrmUnavailable:
    refused = judgement.kind is Kind.PERMANENT or judgement.meaning in (Meaning.NOT_ALLOWED, Meaning.SIGN_IN)
    return (CrmRefuses if refused else CrmUnavailable)(ours(results.why_it_waits(judgement)))


def ours(text: str) -> str:
    """The writer's settings by the names that they have here."""
    return text.replace("WRITER_", "WRITEBACK_")


async def _record(client: DataverseClient, place: Place) -> Mapping[str, Any] | None:
    entity_set, record_id = place
    reply = await asked(client, f"{entity_set}({record_id})")
    if reply.status == _NOT_FOUND and _NO_SUCH_RECORD in reply.body:
        return None
    if reply.status == _NOT_FOUND:
        raise CrmRefuses(
            f"Dataverse has no table {entity_set}; `python -m writer check --mapping FILE` lists every gap"
        )
    if reply.status == _FOUND:
        try:
            found: Any = json.loads(reply.body)
        except ValueError:
            raise CrmUnavailable("what answers at Dataverse's address does not answer as Dataverse does") from None
        return found if isinstance(found, dict) else None
    if reply.status in (_NOT_SIGNED_IN, _FORBIDDEN):
        raise CrmRefuses(
            f"Dataverse answers {reply.status} for {entity_set}: the application user is not known there, or its "
            "security role may not read this table"
        )
    raise CrmUnavailable(f"Dataverse answers {reply.status} for {entity_set}")


async def asked(client: DataverseClient, path: str) -> HttpReply:
    """Raises CrmUnavailable, CrmRefuses."""
    try:
        return await client.send(HttpRequest("GET", path))
    except SignInFailed as failure:
        refused = isinstance(failure, SignInRefused)
        raise (CrmRefuses if refused else CrmUnavailable)(sign_in_sentence(failure.fault)) from None
    except NeverSent as failure:
        what = ours(failure.advice)
        raise CrmUnavailable(what or f"Dataverse cannot be reached ({failure})") from None
    except Unanswered as failure:
        raise CrmUnavailable(f"Dataverse does not answer ({failure})") from None


def sign_in_sentence(fault: SignInFault) -> str:
    return ours(f"the sign-in fails: {fault}")
