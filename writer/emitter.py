"""One request's worth of plans made true: send, read back where needed, and say what became of each.

Every plan goes through asks, a question or a change set at a time, until there is a verdict; the asks of all plans of
one round share a `$batch`. Each round is told of when it has ended, so that no verdict waits for what other plans still
have to ask (W5). A change set brings the reads of the plan behind it in its lane along, so that in a backlog
later plans of a queue item cost no more than first ones. What was answered is decided in core; here is only who asks
what next:

    write ──done──> landed                     read ──> landed
      │ precondition failed, or no answer        │──> these steps are missing ──> write
      └─────────────> read                       │──> conflict ──> write the call alone
                                                 └──> somebody else's record
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, assert_never

from schemas.records import OwnerCandidate, PlannedStep, WritebackResult
from writer.core import results
from writer.core.batch import Failed
from writer.core.emission import (
    NO_LIMITS,
    Emission,
    Limits,
    Read,
    at_limit,
    baseline_row,
    call_activity,
    full,
    get,
    late,
    of_steps,
    reads,
    update_step,
)
from writer.core.gate import Blocked
from writer.core.history import History
from writer.core.reconcile import (
    Conflict,
    Finding,
    ForeignRecord,
    Landed,
    Late,
    Missing,
    NoQueueItem,
    Observations,
    reconcile,
)
from writer.core.replies import Judgement, Kind, Meaning, never_sent
from writer.core.results import Telling
from writer.dataverse.metadata_cache import Facts, FactsUnavailable
from writer.dataverse.pool import Exchange, Part, PartReply, Pool, Slot
from writer.work import Seen, Work

_FRESH_S = 5.0
"""How long a look ahead is believed; after that it is hardly ever still true, though its etag would tell."""
_MOST_ROUNDS = 8
"""A plan that is still undecided then fights with somebody for the row: it tries again later."""


@dataclass(frozen=True, slots=True)
class Done:
    """Settled once this result is acknowledged."""

    result: WritebackResult


@dataclass(frozen=True, slots=True)
class Later:
    """No verdict. `counted`: this was an attempt of the plan; otherwise nothing is wrong with it."""

    judgement: Judgement
    counted: bool = True


@dataclass(frozen=True, slots=True)
class AlreadySettled:
    """An earlier result of this session says that nothing is left to do: nothing is sent, and nothing published."""


def unanswered(failure: FactsUnavailable) -> Later:
    """Metadata could not be asked for. Being told to wait is no attempt of the plan."""
    return Later(failure.judgement, counted=failure.judgement.kind is not Kind.THROTTLED)


Verdict = Done | AlreadySettled | Later


@dataclass(frozen=True, slots=True)
class _Reading:
    reads: tuple[Read, ...]


@dataclass(frozen=True, slots=True)
class _Writing:
    emission: Emission
    found: Finding | None = None
    """What it was decided on; None for the first attempt, under the baseline's etag."""
    at_limit: tuple[str, ...] = ()
    """Counters that stay at their maximum."""
    ahead: Work | None = None
    """The plan behind in the lane: its records are read in the same request, as they stand once this has landed."""

    @property
    def row_was_read(self) -> bool:
        """The queue item is there, as a read just before has shown."""
        return self.found is not None


@dataclass(frozen=True, slots=True)
class _Doubting:
    """Verify anew what the gate had cleared, then begin again; nobody else waits for that."""


_Ask = _Reading | _Writing
_Said = Verdict | _Ask | _Doubting


@dataclass(frozen=True, slots=True)
class Round:
    """The verdicts of one request; `exchange` is None for what needed none. `asking`: plans that have to ask again."""

    verdicts: Mapping[Work, Verdict]
    exchange: Exchange | None
    asking: int = 0


Told = Callable[[Round], None]


class Emitter:
    """`write` off is a dry run: it reads, decides, and stops where it would write (W8). `following` is the plan that
    is next in a plan's lane. What has to be asked after the first request is a task of its own (`spawn`).
    """

    def __init__(
        self,
        pool: Pool,
        facts: Facts,
        telling: Callable[[Work], Telling],
        *,
        write: bool,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        history: Callable[[Work], History | None],
        following: Callable[[Work], Work | None] = lambda _: None,
    ) -> None:
        self._pool = pool
        self._facts = facts
        self._telling = telling
        self._spawn = spawn
        self._write = write
        self._history = history
        self._following = following

    async def emit(self, works: Sequence[Work], slot: Slot, told: Told) -> Exchange | None:
        """How the first request went; None if none was needed. `told` hears a verdict for each work, in one round or
        several, and soon or later. Every work has been cleared by the gate.
        """
        said = {work: self._first(work) for work in works}
        asks = self._tell(said, None, told, _MOST_ROUNDS)
        if not asks:
            self._pool.give_back(slot)
            return None
        exchange, asks = await self._round(asks, slot, told, _MOST_ROUNDS)
        if asks:
            self._spawn(self._go_on(asks, told, _MOST_ROUNDS))
        return exchange

    async def _go_on(self, asks: Mapping[Work, _Ask], told: Told, rounds: int) -> None:
        """A slot may take hours, under a Retry-After: what was so before is looked at again once it is there."""
        while asks and rounds:
            rounds -= 1
            slot = await self._pool.slot()
            if not (asks := self._still_to_ask(asks, told)):
                self._pool.give_back(slot)
                return
            _, asks = await self._round(asks, slot, told, rounds)
        if asks:
            told(Round({work: Later(_FIGHT) for work in asks}, None))

    def _still_to_ask(self, asks: Mapping[Work, _Ask], told: Told) -> dict[Work, _Ask]:
        """Leaves out what was revoked meanwhile (W2), and what the gate does not clear any more (W9)."""
        left_out = {work: Later(why, counted=False) for work, ask in asks.items() if (why := self._over(work, ask))}
        if left_out:
            told(Round(left_out, None))
        return {work: ask for work, ask in asks.items() if work not in left_out}

    def _over(self, work: Work, ask: _Ask) -> Judgement | None:
        """Why this is not to be asked any more. What was put together for another owner is over, too."""
        if work.dropped:
            return never_sent()
        before = _owners(work)
        work.clear(self._facts.cached_verdict(work.plan))
        if work.cleared is None or (isinstance(ask, _Writing) and _owners(work) != before):
            return _NOT_CLEARED
        return None

    def _tell(self, said: Mapping[Work, _Said], exchange: Exchange | None, told: Told, rounds: int) -> dict[Work, _Ask]:
        """Tells the verdicts, begins to doubt, and returns what has to be asked next."""
        verdicts = {work: one for work, one in said.items() if isinstance(one, (Done, AlreadySettled, Later))}
        asks = {work: one for work, one in said.items() if isinstance(one, (_Reading, _Writing))}
        if verdicts or exchange:
            told(Round(verdicts, exchange, len(said) - len(verdicts)))
        for work, one in said.items():
            if isinstance(one, _Doubting):
                self._spawn(self._doubt(work, told, rounds))
        return asks

    def _first(self, work: Work) -> Verdict | _Ask:
        """Sent straight away under the baseline's etag, unless that is known to be over: an earlier plan of ours has
        changed the row since, so the etag would only be refused.
        """
        seen, work.seen = work.seen, None
        if seen and time.monotonic() - seen.at < _FRESH_S and not work.read_first:
            return self._decided(work, seen.observed)
        row = baseline_row(work.plan)
        if work.read_first or row is None or work.plan.preceding or not self._write:
            return _Reading(reads(work.plan))
        emission = full(work.plan, _owners(work), row, _limits(work))
        return self._writing(work, emission, None, at_limit(update_step(work.plan), row, _limits(work)))

    def _writing(
        self, work: Work, emission: Emission, found: Finding | None, full_up: tuple[str, ...] = ()
    ) -> _Writing:
        """Landed whole, it lets the plan behind it in its lane go on without another read."""
        whole = found is None or isinstance(found, Missing)
        return _Writing(emission, found, full_up, ahead=self._ahead_of(work) if whole and not work.alone else None)

    def _ahead_of(self, work: Work) -> Work | None:
        """Nothing is asked for a plan that the gate does not clear: it may hold what no request can."""
        ahead = self._following(work)
        if ahead is None or ahead.not_before is not None or ahead.alone:
            return None
        return ahead if self._facts.cached_verdict(ahead.plan) else None

    async def _round(
        self, asks: Mapping[Work, _Ask], slot: Slot, told: Told, rounds: int
    ) -> tuple[Exchange, dict[Work, _Ask]]:
        """One `$batch` for all asks; returns what has to be asked next."""
        parts = {work: self._parts(ask) for work, ask in asks.items()}
        writing = any(isinstance(ask, _Writing) for ask in asks.values())
        exchange = await self._pool.exchange(
            [part for of_work in parts.values() for part in of_work],
            operation="write" if writing else "read",
            slot=slot,
            traceparent=next(iter(asks)).traceparent,
        )
        replies = iter(exchange.parts)
        heard = {work: [next(replies) for _ in parts[work]] for work in asks}
        said = {
            work: self._heard(work, ask, heard[work], company=len(asks) > 1 or _looks_ahead(ask))
            for work, ask in asks.items()
        }
        return exchange, self._tell(said, exchange, told, rounds)

    def _parts(self, ask: _Ask) -> list[Part]:
        match ask:
            case _Reading(wanted):
                return self._gets(wanted)
            case _Writing(emission=emission, ahead=ahead):
                return [emission.change_set, *(self._gets(reads(ahead.plan)) if ahead else ())]
        assert_never(ask)

    def _gets(self, wanted: Sequence[Read]) -> list[Part]:
        return [get(read, self._facts.shown_as(read.entity_set)) for read in wanted]

    def _heard(self, work: Work, ask: _Ask, heard: list[PartReply], *, company: bool) -> _Said:
        own = heard if isinstance(ask, _Reading) else heard[:1]
        if any(reply.not_tried for reply in own):
            return ask
        if company and (fault := next(filter(_may_be_the_company, own), None)):
            work.alone = True
            return Later(fault.judgement, counted=False)
        match ask:
            case _Reading(wanted):
                return self._read(work, wanted, heard)
            case _Writing():
                self._look_ahead(ask, heard)
                return self._written(work, ask, heard[0])
        assert_never(ask)

    def _read(self, work: Work, wanted: tuple[Read, ...], heard: list[PartReply]) -> _Said:
        try:
            observed = self._observed(work, wanted, heard)
        except FactsUnavailable as failure:
            return self._not_done(work, failure.judgement)
        return self._decided(work, observed)

    def _observed(self, work: Work, wanted: Sequence[Read], heard: Sequence[PartReply]) -> Observations:
        """Raises FactsUnavailable."""
        return {
            read.step_index: self._facts.observed(read, _step(work, read.step_index).attributes, reply)
            for read, reply in zip(wanted, heard, strict=True)
        }

    def _look_ahead(self, ask: _Writing, heard: Sequence[PartReply]) -> None:
        """Only what was read behind a landing is worth keeping."""
        if ask.ahead and heard[0].judgement.kind is Kind.DONE:
            with suppress(FactsUnavailable):
                ask.ahead.seen = Seen(self._observed(ask.ahead, reads(ask.ahead.plan), heard[1:]), time.monotonic())

    def _decided(self, work: Work, observed: Observations) -> Verdict | _Ask:
        if (history := self._history(work)) is None:
            work.look_back = True
            return Later(_RESULTS_UNREAD, counted=False)
        if (settled := history.of(work.session_id)) is not None and settled.needs_nothing:
            return AlreadySettled() if self._write else Done(results.dry_run_settled(self._telling(work), settled))
        found = reconcile(work.plan, observed, history, work.unanswered)
        if not self._write:
            return Done(_dry_run(self._telling(work), found))
        return self._next(work, found)

    def _next(self, work: Work, found: Finding) -> Verdict | _Ask:
        """What to send for this finding; its result if nothing is left to send."""
        plan, owners, limits = work.plan, _owners(work), _limits(work)
        match found:
            case Missing(steps, row):
                full_up = at_limit(update_step(plan), row, limits)
                return self._writing(work, of_steps(plan, steps, owners, row, limits), found, full_up)
            case Late(steps, row, counts, sets_do_not_call) if steps or found.touches_row:
                emission = late(plan, steps, owners, row, limits, counts=counts, sets_do_not_call=sets_do_not_call)
                return self._writing(work, emission, found, at_limit(update_step(plan), row, limits) if counts else ())
            case Conflict(_, steps, row) if steps or row:
                return self._writing(work, call_activity(plan, steps, row), found)
            case NoQueueItem(steps) if steps:
                return self._writing(work, call_activity(plan, steps), found)
            case _:
                return Done(_result(self._telling(work), found, ()))

    def _written(self, work: Work, ask: _Writing, reply: PartReply) -> _Said:
        judgement = reply.judgement
        sent = [step.step_index for step in ask.emission.steps]
        if judgement.kind is Kind.DONE:
            telling = self._telling(work)
            full_up = tuple(results.at_maximum(column) for column in ask.at_limit)
            telling = replace(telling, warnings=(*telling.warnings, *full_up))
            return Done(_result(telling, ask.found, sent, judgement))
        if judgement.meaning not in _NOTHING_LANDED:
            work.unanswered = ask.found or work.unanswered
        failing = reply.answer.index if isinstance(reply.answer, Failed) else None
        if judgement.meaning is Meaning.GONE and failing is None and ask.row_was_read:
            judgement = replace(judgement, kind=Kind.PERMANENT, meaning=Meaning.DRIFT)  # then a linked record is
        if judgement.kind is Kind.AMBIGUOUS:
            work.read_first = True
            return _Reading(reads(work.plan))
        return self._not_done(work, judgement, None if failing is None else sent[failing])

    def _not_done(self, work: Work, judgement: Judgement, failing: int | None = None) -> Verdict | _Doubting:
        """Trouble waits, a refusal blocks; but what could come from drifted metadata is verified anew, once."""
        match judgement.kind:
            case Kind.THROTTLED:
                return Later(judgement, counted=False)
            case Kind.PERMANENT if judgement.meaning is Meaning.DRIFT and not work.doubted:
                return _Doubting()
            case Kind.PERMANENT:
                return Done(results.refused(self._telling(work), judgement, failing))
            case _ if judgement.meaning is Meaning.TOO_LARGE:
                return Done(results.refused(self._telling(work), judgement, failing))
            case _:
                work.read_first = work.read_first or judgement.kind is Kind.AMBIGUOUS
                return Later(judgement)

    async def _doubt(self, work: Work, told: Told, rounds: int) -> None:
        work.doubted = True
        asks = self._tell({work: await self._verified_anew(work)}, None, told, rounds)
        await self._go_on(asks, told, rounds)

    async def _verified_anew(self, work: Work) -> Verdict | _Ask:
        try:
            verdict = await self._facts.verdict(work.plan, suspect=True)
        except FactsUnavailable as failure:
            return unanswered(failure)
        if isinstance(verdict, Blocked):
            return Done(results.metadata(self._telling(work), verdict.gaps))
        work.clear(verdict)
        return self._first(work)


_FIGHT = Judgement(
    Kind.TRANSIENT,
    Meaning.SUSPECT,
    412,
    by_the_crm=True,
    advice="The queue item changes each time between the writer's read and its write. Find the plug-in, flow or import "
    "that keeps writing it, and stop that.",
)
"""Nobody fights for ever: after some rounds at the back of the topic a person is asked."""
_NOTHING_LANDED = frozenset({Meaning.EXISTS, Meaning.CHANGED, Meaning.GONE})
"""A precondition failed."""
_RESULTS_UNREAD = Judgement(Kind.TRANSIENT, Meaning.SUSPECT)
"""The results of this partition are still being read: what was asked is asked again then."""
_NOT_CLEARED = Judgement(Kind.TRANSIENT, Meaning.DRIFT)
"""The gate has to be asked again, and the plan begins anew."""


def _may_be_the_company(reply: PartReply) -> bool:
    """Refused as a whole, or too large, of one part too: only what goes alone is known to be at fault itself (W5)."""
    whole = reply.answer is None and reply.judgement.kind is Kind.PERMANENT
    return whole or reply.judgement.meaning is Meaning.TOO_LARGE


def _looks_ahead(ask: _Ask) -> bool:
    """Then it has company: what is read for the plan behind may be at fault, and is left out next time (W5)."""
    return isinstance(ask, _Writing) and ask.ahead is not None


def _owners(work: Work) -> Mapping[int, OwnerCandidate]:
    return work.cleared.owners if work.cleared else {}


def _step(work: Work, step_index: int) -> PlannedStep:
    return next(step for step in work.plan.steps if step.step_index == step_index)


def _limits(work: Work) -> Limits:
    return work.cleared.limits if work.cleared else NO_LIMITS


def _result(
    telling: Telling, found: Finding | None, sent: Collection[int], reply: Judgement | None = None
) -> WritebackResult:
    """What is told once everything that this finding asks for has landed; None is the first attempt."""
    match found:
        case None | Landed() | Missing():
            return results.landed(telling, sent, reply)
        case Late():
            return results.late(telling, found, sent, reply)
        case Conflict():
            return results.conflict(telling, found, sent, reply)
        case NoQueueItem():
            return results.no_queue_item(telling, found, sent, reply)
        case ForeignRecord(step_index):
            return results.foreign_record(telling, step_index)
    assert_never(found)


def _dry_run(telling: Telling, found: Finding) -> WritebackResult:
    """W8: what would have become of it, and nothing sent."""
    match found:
        case Missing(steps):
            return results.dry_run(telling, steps)
        case Late():
            return results.dry_run_late(telling, found)
        case Landed():
            return results.dry_run(telling, ())
        case Conflict(_, steps, row):
            update = () if row is None else (update_step(telling.plan).step_index,)
            return results.would_be_blocked(_result(telling, found, (*steps, *update)))
        case NoQueueItem(steps):
            return results.would_be_blocked(_result(telling, found, steps))
        case ForeignRecord():
            return results.would_be_blocked(_result(telling, found, ()))
    assert_never(found)
