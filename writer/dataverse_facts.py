"""W9 kept live: asks Dataverse for the metadata and the owners that plans name, and keeps the answers for a while.

Answers are kept with a time limit. A block is never decided on kept answers alone: before a plan is blocked for what
they lack, they are asked for anew (the service's own cache lags up to 30 s; `Consistency: Strong` sees through it).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.records import OwnerCandidate, OwnerKind, PlannedWriteback, Value
from writer.core.batch import Reply, Request, Succeeded
from writer.core.emission import ETAG, Observed, Read
from writer.core.gate import Blocked, Cleared, Snapshot, check, named_sets
from writer.core.replies import Judgement, Kind, Meaning
from writer.dataverse_metadata import CATALOGUE, QUESTIONS_PER_TABLE, TableFacts, catalogue, questions, table_facts
from writer.dataverse_pool import PartReply, Pool

_OWNER_LINK = re.compile(r"/?[A-Za-z_]\w*\([0-9a-fA-F-]{36}\)")
_OWNERS_PER_REQUEST = 50
_JUST_NOW_S = 5.0
"""Plans that are blocked together ask anew together."""
_UNKNOWN_SET = "0x8006088a"


class FactsUnavailable(Exception):
    """Dataverse did not say; nothing can be verified now. Carries how the request went."""

    def __init__(self, judgement: Judgement) -> None:
        super().__init__(f"{judgement.kind} {judgement.meaning}")
        self.judgement = judgement


@dataclass(frozen=True, slots=True)
class _Kept:
    facts: TableFacts | None
    """None: there is no such table."""
    asked_at: float


class Facts:
    """One for all plans. `clock` in monotonic seconds."""

    def __init__(
        self, pool: Pool, *, metadata_ttl_s: float, owner_ttl_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._metadata_ttl = metadata_ttl_s
        self._owner_ttl = owner_ttl_s
        self._clock = clock
        self._tables: dict[str, _Kept] = {}
        self._owners: dict[str, tuple[bool, float]] = {}
        self._one_at_a_time = asyncio.Lock()
        self.reachable = False
        self._failed: tuple[float, FactsUnavailable] | None = None

    async def reach(self) -> None:
        """Reads the list of tables, to see that metadata can be read. Raises FactsUnavailable."""
        await self._ask([CATALOGUE], "metadata", None)

    def cached_verdict(self, plan: PlannedWriteback) -> Cleared | None:
        """The verdict if kept answers suffice and nothing is wrong; None if Dataverse has to be asked."""
        metadata_ttl, owner_ttl = max(self._metadata_ttl, _JUST_NOW_S), max(self._owner_ttl, _JUST_NOW_S)
        if self._stale_sets([plan], metadata_ttl) or self._stale_owners([plan], owner_ttl):
            return None  # what was asked just now counts whatever the limits, or a short one would never send
        verdict = self._check(plan)
        return verdict if isinstance(verdict, Cleared) else None

    async def verdict(self, plan: PlannedWriteback, *, suspect: bool = False) -> Cleared | Blocked:
        """Asks for what is not known. `suspect`: the service refused what was cleared, so ask for all of it anew.

        Raises FactsUnavailable.
        """
        if not suspect:
            await self._learn([plan], self._metadata_ttl, self._owner_ttl, strong=False)
            verdict = self._check(plan)
            if isinstance(verdict, Cleared):
                return verdict
        await self._learn([plan], _JUST_NOW_S, _JUST_NOW_S, strong=True)
        return self._check(plan)

    def shown_as(self, entity_set: str) -> Mapping[str, str]:
        """Binding name or lookup column to the property that shows the link; empty for a table not verified."""
        kept = self._tables.get(entity_set)
        return kept.facts.shown_as if kept and kept.facts else {}

    def observed(self, read: Read, planned: Mapping[str, Value], reply: PartReply) -> Observed | None:
        """The record in the plan's own words; None if it is not there. Raises FactsUnavailable if the read failed.

        A link is read as an id only; for a binding name, the table it leads to is taken from the plan, or from the
        relationship.
        """
        match reply.answer:
            case Succeeded((one,)):
                body = _json(one)
            case _ if _is_absent(reply.judgement):
                return None
            case _:
                raise FactsUnavailable(reply.judgement)
        if not ETAG.fullmatch(etag := str(body.get("@odata.etag", ""))):
            raise FactsUnavailable(_NONSENSE)
        shown = self.shown_as(read.entity_set)
        columns: dict[str, Value] = {}
        for name in read.columns:
            value = body.get(shown.get(name, name))
            is_bound = name in self._links(read.entity_set) and value is not None
            columns[name] = self._link(read, name, planned, value) if is_bound else value
        return Observed(etag, columns)

    def _link(self, read: Read, name: str, planned: Mapping[str, Value], value: Value) -> str:
        wanted = str(planned.get(name) or "").strip("/").partition("(")[0]
        targets = self._links(read.entity_set)[name]
        return f"/{wanted if wanted in targets else min(targets, default='?')}({value})"

    def _links(self, entity_set: str) -> Mapping[str, frozenset[str]]:
        kept = self._tables.get(entity_set)
        return kept.facts.table.links if kept and kept.facts else {}

    def _check(self, plan: PlannedWriteback) -> Cleared | Blocked:
        kept = {name: self._tables.get(name) for name in named_sets(plan)}
        tables = {name: one.facts.table for name, one in kept.items() if one and one.facts}
        return check(plan, Snapshot(tables), {value: enabled for value, (enabled, _) in self._owners_of(plan)})

    def _owners_of(self, plan: PlannedWriteback) -> Iterable[tuple[str, tuple[bool, float]]]:
        return ((c.value, self._owners[c.value]) for c in _candidates([plan]) if c.value in self._owners)

    async def _learn(
        self, plans: Sequence[PlannedWriteback], max_age: float, owner_age: float, *, strong: bool
    ) -> None:
        if not (self._stale_sets(plans, max_age) or self._stale_owners(plans, owner_age)):
            return
        since = self._clock()
        async with self._one_at_a_time:
            if self._failed and self._failed[0] >= since:
                raise self._failed[1]  # plans that waited together fail together, with one question
            try:
                if sets := self._stale_sets(plans, max_age):
                    await self._ask_tables(sets, "Strong" if strong else None)
                if owners := self._stale_owners(plans, owner_age):
                    await self._ask_owners(owners)
            except FactsUnavailable as failure:
                self._failed = (self._clock(), failure)
                raise

    def _stale_sets(self, plans: Sequence[PlannedWriteback], max_age: float) -> list[str]:
        oldest = self._clock() - max_age
        named = {name for plan in plans for name in named_sets(plan)}
        return sorted(n for n in named if (kept := self._tables.get(n)) is None or kept.asked_at < oldest)

    def _stale_owners(self, plans: Sequence[PlannedWriteback], max_age: float) -> list[OwnerCandidate]:
        oldest = self._clock() - max_age
        return [c for c in _candidates(plans) if self._owners.get(c.value, (False, oldest - 1))[1] < oldest]

    async def _ask_tables(self, sets: Collection[str], consistency: str | None) -> None:
        asked_at = self._clock()
        [names] = await self._ask([CATALOGUE], "metadata", consistency)
        try:
            entity_sets = catalogue(names)
        except (AttributeError, KeyError, TypeError):
            raise FactsUnavailable(_NONSENSE) from None
        logical = {entity_set: name for name, entity_set in entity_sets.items() if entity_set in sets}
        asked = [question for name in logical.values() for question in questions(name)]
        answers = await self._ask(asked, "metadata", consistency) if asked else []
        found: dict[str, TableFacts] = {}
        for number, entity_set in enumerate(logical):
            start = number * QUESTIONS_PER_TABLE
            try:
                found[entity_set] = table_facts(answers[start : start + QUESTIONS_PER_TABLE], entity_sets)
            except (AttributeError, KeyError, TypeError, ValueError):
                raise FactsUnavailable(_NONSENSE) from None
        self._tables |= {name: _Kept(found.get(name), asked_at) for name in sets}

    async def _ask(self, asked: Sequence[Request], operation: str, consistency: str | None) -> list[dict[str, Any]]:
        exchange = await self._pool.exchange(asked, operation=operation, consistency=consistency)
        answers = []
        for reply in exchange.parts:
            match reply.answer:
                case Succeeded((one,)):
                    answers.append(_json(one))
                case _:
                    raise FactsUnavailable(reply.judgement)
        self.reachable = True
        return answers

    async def _ask_owners(self, owners: Sequence[OwnerCandidate]) -> None:
        for start in range(0, len(owners), _OWNERS_PER_REQUEST):
            some = owners[start : start + _OWNERS_PER_REQUEST]
            asked_at = self._clock()
            askable = [owner for owner in some if _OWNER_LINK.fullmatch(owner.value)]
            exchange = await self._pool.exchange([_owner_question(o) for o in askable], operation="owners")
            enabled = {o.value: _is_enabled(reply) for o, reply in zip(askable, exchange.parts, strict=True)}
            self._owners |= {owner.value: (enabled.get(owner.value, False), asked_at) for owner in some}


_NONSENSE = Judgement(Kind.TRANSIENT, Meaning.SUSPECT)


def _candidates(plans: Sequence[PlannedWriteback]) -> list[OwnerCandidate]:
    each = (owner for plan in plans for step in plan.steps for owner in step.owner_candidates)
    return list({owner.value: owner for owner in each}.values())


def _owner_question(owner: OwnerCandidate) -> Request:
    select = "isdisabled" if owner.kind is OwnerKind.USER else "teamid"
    return Request("GET", f"{owner.value.lstrip('/')}?$select={select}")


def _is_enabled(reply: PartReply) -> bool:
    match reply.answer:
        case Succeeded((one,)):
            return _json(one).get("isdisabled") is not True
        case _ if _is_absent(reply.judgement):
            return False
        case _:
            raise FactsUnavailable(reply.judgement)


def _is_absent(judgement: Judgement) -> bool:
    """404 for the record; a table that is gone is drift, and a 404 without a body came from something in between."""
    return judgement.status == 404 and judgement.kind is Kind.PERMANENT and judgement.code != _UNKNOWN_SET


def _json(reply: Reply) -> dict[str, Any]:
    """Raises FactsUnavailable: the service always answers a GET in JSON."""
    body = reply.json()
    if not isinstance(body, dict):
        raise FactsUnavailable(_NONSENSE)
    return body
