"""W9 kept live: asks Dataverse for what and whom plans name, and keeps the answers for a while.

Answers are kept with a time limit. A block is never decided on kept answers alone: before a plan is blocked for what
they lack, they are asked for anew (the service's own cache lags up to 30 s; `Consistency: Strong` sees through it).

W5: each table and each person is a fact of its own. What cannot be read, or is read slowly, holds up the plans that
need it and no others; plans that need the same ask once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.records import PlannedWriteback, Value
from writer.core.batch import Reply, Request, Succeeded
from writer.core.emission import Observed, Read
from writer.core.exchanges import PartReply
from writer.core.gate import (
    Blocked,
    Cleared,
    Column,
    Named,
    NamedKind,
    PeopleFacts,
    Snapshot,
    check,
    named,
    named_sets,
    normal,
)
from writer.core.replies import Judgement, Kind, Meaning
from writer.core.values import ETAG, LINK
from writer.dataverse.client import ETAG_PROPERTY
from writer.dataverse.metadata import (
    CATALOGUE,
    QUESTIONS_PER_TABLE,
    TableFacts,
    catalogue,
    questions,
    table_facts,
    without_concurrency,
)
from writer.dataverse.pool import Pool
from writer.errors import MetadataUnavailable

_PEOPLE_PER_REQUEST = 50
_JUST_NOW_S = 5.0
"""Plans that are blocked together ask anew together."""
_UNKNOWN_SET = "0x8006088a"


@dataclass(frozen=True, slots=True)
class _Kept:
    facts: TableFacts | None
    """None: there is no such table."""
    asked_at: float


class MetadataCache:
    """One for all plans. `clock` in monotonic seconds."""

    def __init__(
        self, pool: Pool, *, metadata_ttl_s: float, owner_ttl_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._metadata_ttl = metadata_ttl_s
        self._owner_ttl = owner_ttl_s
        self._clock = clock
        self._tables: dict[str, _Kept] = {}
        self._people: dict[str, tuple[bool, float]] = {}
        self._asking: dict[str, asyncio.Future[None]] = {}
        """What is being asked for, by entity set or key of a `Named`."""
        self._failed: dict[str, tuple[float, Judgement]] = {}
        """What could not be read, and when that became known; forgotten once it is read."""
        self.reachable = False

    async def reach(self) -> None:
        """Reads the list of tables, to see that metadata can be read. Raises MetadataUnavailable."""
        await self._ask([CATALOGUE], "metadata", None)

    def cached_verdict(self, plan: PlannedWriteback) -> Cleared | None:
        """The verdict if kept answers suffice and nothing is wrong; None if Dataverse has to be asked."""
        now = self._clock()
        metadata_ttl, owner_ttl = max(self._metadata_ttl, _JUST_NOW_S), max(self._owner_ttl, _JUST_NOW_S)
        if self._stale_sets(named_sets(plan), now - metadata_ttl):
            return None
        if self._stale_people(named(plan), now - owner_ttl):
            return None  # what was asked just now counts whatever the limits, or a short one would never send
        verdict = self._check(plan)
        return verdict if isinstance(verdict, Cleared) else None

    async def verdict(self, plan: PlannedWriteback, *, suspect: bool = False) -> Cleared | Blocked:
        """Asks for what is not known. `suspect`: the service refused what was cleared, so ask for all of it anew.

        Raises MetadataUnavailable.
        """
        sets, people = named_sets(plan), named(plan)
        if not suspect:
            await self._learn(sets, people, self._metadata_ttl, self._owner_ttl, strong=False)
            verdict = self._check(plan)
            if isinstance(verdict, Cleared):
                return verdict
        await self._learn(sets, people, _JUST_NOW_S, _JUST_NOW_S, strong=True)
        return self._check(plan)

    def read_property_of(self, entity_set: str) -> Mapping[str, str]:
        """Binding name or lookup column to the property that shows the link; empty for a table not verified."""
        kept = self._tables.get(entity_set)
        return kept.facts.read_properties if kept and kept.facts else {}

    def observed(self, read: Read, planned: Mapping[str, Value], reply: PartReply) -> Observed | Judgement | None:
        """The record in the plan's own words; None if it is not there; a judgement if the read failed.

        A link is read as an id only; for a binding name, the table it leads to is taken from the plan, or from the
        relationship.
        """
        match reply.answer:
            case Succeeded((one,)):
                body = one.json()
            case _:
                return None if _is_absent(reply.judgement) else reply.judgement
        if not isinstance(body, dict) or not ETAG.fullmatch(etag := str(body.get(ETAG_PROPERTY, ""))):
            return _NONSENSE
        shown = self.read_property_of(read.entity_set)
        columns: dict[str, Value] = {}
        for name in read.columns:
            value = body.get(shown.get(name, name))
            is_bound = name in self._links(read.entity_set) and value is not None
            kept = self._columns(read.entity_set).get(name)
            columns[name] = self._link(read, name, planned, value) if is_bound else normal(kept, value)
        return Observed(etag, columns)

    def _link(self, read: Read, name: str, planned: Mapping[str, Value], value: Value) -> str:
        wanted = str(planned.get(name) or "").strip("/").partition("(")[0]
        targets = self._links(read.entity_set)[name]
        return f"/{wanted if wanted in targets else min(targets, default='?')}({value})"

    def _links(self, entity_set: str) -> Mapping[str, frozenset[str]]:
        kept = self._tables.get(entity_set)
        return kept.facts.table.links if kept and kept.facts else {}

    def _columns(self, entity_set: str) -> Mapping[str, Column]:
        kept = self._tables.get(entity_set)
        return kept.facts.table.columns if kept and kept.facts else {}

    def _check(self, plan: PlannedWriteback) -> Cleared | Blocked:
        kept = {name: self._tables.get(name) for name in named_sets(plan)}
        tables = {name: one.facts.table for name, one in kept.items() if one and one.facts}
        known = {one.key: self._people[one.key][0] for one in named(plan) if one.key in self._people}
        return check(plan, Snapshot(tables), known)

    async def survey(self, sets: Collection[str], people: Collection[Named]) -> tuple[Snapshot, PeopleFacts]:
        """These tables and people as they are now; somebody may be there twice. Raises MetadataUnavailable."""
        await self._learn(sets, list({one.key: one for one in people}.values()), 0.0, 0.0, strong=True)
        tables = {name: kept.facts.table for name in sets if (kept := self._tables[name]).facts}
        return Snapshot(tables), {one.key: self._people[one.key][0] for one in people}

    async def names_of(self, people: Sequence[Named]) -> dict[str, str]:
        """The key of each to what people see of it; without those that are not there, and nothing is kept."""
        if not people:
            return {}
        exchange = await self._pool.exchange([_name_question(one) for one in people], operation="owners")
        bodies = [None if _is_absent(reply.judgement) else _answer(reply) for reply in exchange.parts]
        found = zip(people, bodies, strict=True)
        return {one.key: str(body.get("fullname") or body.get("name") or "") for one, body in found if body}

    async def _learn(
        self,
        sets_needed: Collection[str],
        people_needed: Collection[Named],
        max_age: float,
        people_age: float,
        *,
        strong: bool,
    ) -> None:
        """Asks for what is needed and nobody asks for yet; waits for what others ask for. Raises MetadataUnavailable if
        one of them could not be read.
        """
        since = self._clock()
        while True:
            sets = self._stale_sets(sets_needed, since - max_age)
            people = self._stale_people(people_needed, since - people_age)
            needed = [*sets, *(one.key for one in people)]
            if not needed:
                return
            for name in needed:
                if (failed := self._failed.get(name)) and failed[0] >= since:
                    raise MetadataUnavailable(failed[1])
            if others := [self._asking[name] for name in needed if name in self._asking]:
                await asyncio.wait(others)
            else:
                await self._ask_for(sets, people, strong=strong)

    async def _ask_for(self, sets: Sequence[str], people: Sequence[Named], *, strong: bool) -> None:
        """Nobody is asked for if a table could not be read: the plan has to wait in any case."""
        asking = asyncio.get_running_loop().create_future()
        names = [*sets, *(one.key for one in people)]
        self._asking |= dict.fromkeys(names, asking)
        try:
            if (not sets or await self._ask_tables(sets, "Strong" if strong else None)) and people:
                await self._ask_people(people)
        finally:  # also when cancelled: who waits finds that nothing is known, and asks
            for name in names:
                del self._asking[name]
            asking.set_result(None)

    def _fail(self, names: Iterable[str], judgement: Judgement) -> None:
        self._failed |= dict.fromkeys(names, (self._clock(), judgement))
        while len(self._failed) > _FAILURES:
            del self._failed[next(iter(self._failed))]

    def _stale_sets(self, sets: Collection[str], oldest: float) -> list[str]:
        return sorted(n for n in sets if (kept := self._tables.get(n)) is None or kept.asked_at < oldest)

    def _stale_people(self, people: Collection[Named], oldest: float) -> list[Named]:
        return [one for one in people if self._people.get(one.key, (False, oldest - 1))[1] < oldest]

    async def _ask_tables(self, sets: Sequence[str], consistency: str | None) -> bool:
        """Whether all could be read; each succeeds or fails on its own, once their names are known."""
        asked_at = self._clock()
        try:
            [names] = await self._ask([CATALOGUE], "metadata", consistency)
            entity_sets, bare = catalogue(names), without_concurrency(names)
        except MetadataUnavailable as failure:
            self._fail(sets, failure.judgement)
            return False
        except (AttributeError, KeyError, TypeError):
            self._fail(sets, _NONSENSE)
            return False
        logical = {entity_set: name for name, entity_set in entity_sets.items() if entity_set in sets}
        absent = [name for name in sets if name not in logical]
        self._keep({name: _Kept(None, asked_at) for name in absent})
        if not logical:
            return True
        asked = [question for name in logical.values() for question in questions(name)]
        exchange = await self._pool.exchange(asked, operation="metadata", consistency=consistency)
        for number, (entity_set, name) in enumerate(logical.items()):
            start = number * QUESTIONS_PER_TABLE
            try:
                answers = [_answer(reply) for reply in exchange.parts[start : start + QUESTIONS_PER_TABLE]]
                facts = table_facts(
                    answers, entity_sets, optimistic_concurrency=entity_set not in bare, logical_name=name
                )
            except MetadataUnavailable as failure:
                self._fail([entity_set], failure.judgement)
            except (AttributeError, KeyError, TypeError, ValueError):
                self._fail([entity_set], _NONSENSE)
            else:
                self._keep({entity_set: _Kept(facts, asked_at)})
        return not any(name in self._failed for name in sets)

    def _keep(self, tables: Mapping[str, _Kept]) -> None:
        self._tables |= tables
        for name in tables:
            self._failed.pop(name, None)

    async def _ask(self, asked: Sequence[Request], operation: str, consistency: str | None) -> list[dict[str, Any]]:
        exchange = await self._pool.exchange(asked, operation=operation, consistency=consistency)
        answers = [_answer(reply) for reply in exchange.parts]
        self.reachable = True
        return answers

    async def _ask_people(self, people: Sequence[Named]) -> None:
        """Each succeeds or fails on its own."""
        for start in range(0, len(people), _PEOPLE_PER_REQUEST):
            some = people[start : start + _PEOPLE_PER_REQUEST]
            asked_at = self._clock()
            askable = [one for one in some if LINK.fullmatch(one.link)]
            self._people |= {one.key: (False, asked_at) for one in some if one not in askable}
            if not askable:
                continue
            exchange = await self._pool.exchange([_question(one) for one in askable], operation="owners")
            for one, reply in zip(askable, exchange.parts, strict=True):
                try:
                    self._people[one.key] = (_holds(one, reply), asked_at)
                    self._failed.pop(one.key, None)
                except MetadataUnavailable as failure:
                    self._fail([one.key], failure.judgement)


_FAILURES = 10_000
"""How many of them are remembered at most (B3)."""
_NONSENSE = Judgement(Kind.TRANSIENT, Meaning.SUSPECT)


def _answer(reply: PartReply) -> dict[str, Any]:
    """Raises MetadataUnavailable."""
    match reply.answer:
        case Succeeded((one,)):
            return _json(one)
        case _:
            raise MetadataUnavailable(reply.judgement)


_OWN_COLUMNS: Mapping[NamedKind, str] = {
    NamedKind.USER: "isdisabled",
    NamedKind.TEAM: "teamid,teamtype",
    NamedKind.QUEUE: "statecode",
}
_OBJECT_ID = "azureactivedirectoryobjectid"


def _question(one: Named) -> Request:
    more = "" if one.object_id is None else f",{_OBJECT_ID}"
    return Request("GET", f"{one.link.lstrip('/')}?$select={_OWN_COLUMNS[one.kind]}{more}")


def _name_question(one: Named) -> Request:
    return Request("GET", f"{one.link.lstrip('/')}?$select={'fullname' if one.kind is NamedKind.USER else 'name'}")


_ACCESS_TEAM = 1
"""A team of this type shares records; it cannot own any."""
_ACTIVE = 0
"""State of a queue; nobody else is asked for it."""


def _holds(one: Named, reply: PartReply) -> bool:
    """Whether it is there and as a plan needs it. Raises MetadataUnavailable if nobody can say."""
    if reply.answer is not None and _is_absent(reply.judgement):
        return False
    body = _answer(reply)
    if one.object_id is not None and str(body.get(_OBJECT_ID)).lower() != one.object_id:
        return False
    active = body.get("isdisabled") is not True and body.get("statecode") in (None, _ACTIVE)
    return active and body.get("teamtype") != _ACCESS_TEAM


def _is_absent(judgement: Judgement) -> bool:
    """404 for the record; a table that is gone is drift, and a 404 without a body came from something in between."""
    said_no = judgement.kind is Kind.PERMANENT and judgement.by_the_crm
    return judgement.status == 404 and said_no and judgement.code != _UNKNOWN_SET


def _json(reply: Reply) -> dict[str, Any]:
    """Raises MetadataUnavailable: the service always answers a GET in JSON."""
    body = reply.json()
    if not isinstance(body, dict):
        raise MetadataUnavailable(_NONSENSE)
    return body
