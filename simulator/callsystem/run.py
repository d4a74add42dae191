"""The call system at work.

Waiting mode: claim a ready item, publish what happened, and take the item again only when the write-back
has made it ready.
Quick mode: publish an item's sessions one after the other without waiting for any write-back.

C1 Sessions of one item are published in order, each acknowledged before the next.
C2 What the ledger lists was published, and what was published is listed, unless the process was killed in between.
C3 (resume.py) Started again after a kill, it publishes what is left and lists everything.
"""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from simulator.callsystem import outcome as outcomes
from simulator.callsystem.claims import Claims
from simulator.callsystem.ledger import Kind, Ledger, Line, line_of
from simulator.callsystem.publish import Publisher
from simulator.callsystem.queue import Crm, Item
from simulator.callsystem.resume import Past
from simulator.callsystem.story import Session
from simulator.callsystem.trouble import Shares, Trouble, fate, malformed, persons_edit


class Stalled(Exception):
    """Nothing became ready for too long; the text says how many sessions are left."""


@dataclass(frozen=True)
class Pace:
    """Events per second (0: as fast as it goes), calls at the same time, and how long to wait for the next one."""

    per_second: float = 0.0
    at_once: int = 16
    poll_seconds: float = 0.1
    patience_seconds: float = 180.0


@dataclass
class CallSystem:
    """One run over the stories of some items. `progress` hears of every published session."""

    crm: Crm
    publisher: Publisher
    ledger: Ledger
    stories: dict[str, tuple[Session, ...]]
    campaign: str
    seed: int
    shares: Shares
    pace: Pace
    progress: Callable[[Line], None]
    claims: Claims | None = None
    """Takes items through a command; over the Web API if there is none."""
    _next: dict[str, int] = field(default_factory=dict)
    _busy: set[str] = field(default_factory=set)
    _again: list[tuple[float, int, Session, str, bytes]] = field(default_factory=list)
    _accounts: dict[str, str] = field(default_factory=dict)
    _owed: int = 0
    _slot: float = 0.0
    _kept: list[Item] = field(default_factory=list)
    _open_blocked: int = 0
    _lines: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._lines = asyncio.Semaphore(self.pace.at_once)

    @property
    def left(self) -> int:
        """Sessions that were not published yet."""
        return sum(len(story) - self._next.get(item, 0) for item, story in self.stories.items())

    def resume(self, past: Past) -> None:
        """Go on where an earlier run was ended."""
        for line in past.lines:
            self._list(line)
            if line.conflict and line.kind == "outcome":
                self._end_story(line.queue_item_id, line.sequence)
        self._next |= past.published
        now = asyncio.get_running_loop().time()
        for session, session_id, value in past.owed:
            self._owe(now, session, session_id, value)

    async def _finish_taken_calls(self) -> None:
        """Items that a call was begun for and nothing was published of: the run that took them is gone."""
        for item_id in list(self.stories):
            session = self._upcoming(item_id)
            if session is None:
                continue
            item = await self.crm.read(item_id)
            before = (
                outcomes.session_id(self.seed, self.stories[item_id][session.sequence - 2])
                if session.sequence > 1
                else None
            )
            if item is not None and item.taken and item.baseline.last_session_id == before:
                await self._publish(session, item)
                self._next[item_id] = session.sequence

    async def wait_for_write_backs(self) -> None:
        """Until every session was published. Raises Stalled when nothing happens for too long."""
        await self.crm.check_campaign(self.campaign)
        await self._finish_taken_calls()
        loop = asyncio.get_running_loop()
        last_progress, left = loop.time(), self.left
        async with asyncio.TaskGroup() as calls:
            while self.left:
                started = await self._start_calls(calls)
                await self._publish_again()
                if self.left < left or started:
                    last_progress, left = loop.time(), self.left
                elif loop.time() - last_progress > self.pace.patience_seconds:
                    raise Stalled(f"{self.left} sessions are left and nothing became ready")
                if not started:
                    await asyncio.sleep(self.pace.poll_seconds)
        await self._publish_again(everything=True)
        for item in self._kept:
            await self._give_back(item)

    async def _start_calls(self, calls: asyncio.TaskGroup) -> int:
        """Take what is ready, waiting for a free line for each. Returns how many were taken."""
        if self.claims is not None:
            return 0 if self._open_blocked else await self._start_claimed(await self.claims.take(self.left), calls)
        started = 0
        async for item in self.crm.ready(self.campaign):
            if item.id in self._busy or self._upcoming(item.id) is None:
                continue
            await self._lines.acquire()
            self._busy.add(item.id)
            calls.create_task(self._call(item))
            started += 1
        return started

    async def _start_claimed(self, items: list[Item], calls: asyncio.TaskGroup) -> int:
        """Calls what was claimed. An item without a further session is kept until the end, or it would be claimed
        again at once. One that turns out to be blocked is given back first, since its outcome leaves the status as it
        is, and nothing is claimed until that outcome has landed: a claim in between would conflict with it."""
        started = 0
        for item in items:
            session = self._upcoming(item.id)
            if session is None:
                self._kept.append(item)
                continue
            await self._lines.acquire()
            self._busy.add(item.id)
            blocked = session.disposition == "blocked"
            self._open_blocked += blocked
            calls.create_task(self._say_blocked(session, item) if blocked else self._call_claimed(session, item))
            started += 1
        return started

    async def _call_claimed(self, session: Session, item: Item) -> None:
        try:
            await self._publish(session, item)
            self._next[item.id] = session.sequence
        finally:
            self._busy.discard(item.id)
            self._lines.release()

    async def _say_blocked(self, session: Session, item: Item) -> None:
        await self._give_back(item)
        given_back = await self.crm.read(item.id)
        if given_back is not None:
            await self._call_claimed(session, given_back)
            await self._until_landed(session)
        self._open_blocked -= 1

    async def _until_landed(self, session: Session) -> None:
        """Or for as long as something is waited for at all; after a person's edit it never lands."""
        wanted, loop = outcomes.session_id(self.seed, session), asyncio.get_running_loop()
        until = loop.time() + self.pace.patience_seconds
        while loop.time() < until and not fate(session, self.seed, self.shares).conflict:
            item = await self.crm.read(session.item_id)
            if item is None or item.baseline.last_session_id == wanted:
                return
            await asyncio.sleep(self.pace.poll_seconds)

    async def _give_back(self, item: Item) -> None:
        if self.claims is not None:
            await self.claims.give_back(item)

    def _upcoming(self, item_id: str) -> Session | None:
        story, position = self.stories.get(item_id, ()), self._next.get(item_id, 0)
        return story[position] if position < len(story) else None

    async def _call(self, item: Item) -> None:
        session = self._upcoming(item.id)
        try:
            if session is None:
                return
            taken = item if session.disposition == "blocked" else await self.crm.claim(item)
            if taken is not None:
                await self._publish(session, taken)
                self._next[item.id] = session.sequence
        finally:
            self._busy.discard(item.id)
            self._lines.release()

    async def in_quick_succession(self) -> None:
        """All sessions of all items, several items at the same time."""
        await self.crm.check_campaign(self.campaign)
        waiting = iter(list(self.stories))

        async def worker() -> None:
            for item_id in waiting:
                await self._whole_story(item_id)

        async with asyncio.TaskGroup() as workers:
            for _ in range(self.pace.at_once):
                workers.create_task(worker())
        await self._publish_again(everything=True)

    async def _whole_story(self, item_id: str) -> None:
        while (session := self._upcoming(item_id)) is not None:
            item = await self.crm.read(item_id)
            if item is None:
                del self.stories[item_id]
                return
            if session.sequence == 1 and session.disposition != "blocked":
                item = await self.crm.claim(item) or item
            await self._publish(session, item)
            self._next[item_id] = session.sequence
            await self._publish_again()

    async def _publish(self, session: Session, item: Item) -> None:
        trouble = fate(session, self.seed, self.shares)
        event = outcomes.outcome(session, item, await self._account_name(item), self.seed, datetime.now(UTC))
        if trouble.conflict:
            await self.crm.edit(item.id, persons_edit(session, self.seed))
        if trouble.late_seconds is not None:
            await asyncio.sleep(trouble.late_seconds)
        value = self.publisher.encode(event)
        if trouble.malformed is not None:
            await self._send(session, event.session_id, malformed(value, trouble.malformed), "malformed", trouble)
        await self._send(session, event.session_id, value, "outcome", trouble)
        if trouble.again_after is not None:
            self._owe(asyncio.get_running_loop().time() + trouble.again_after, session, event.session_id, value)
        if trouble.conflict:
            self._end_story(item.id, session.sequence)

    def _owe(self, due: float, session: Session, session_id: str, value: bytes) -> None:
        self._owed += 1
        heapq.heappush(self._again, (due, self._owed, session, session_id, value))

    def _end_story(self, item_id: str, sequence: int) -> None:
        """After a conflict: a person has to reconcile the row first."""
        self.stories[item_id] = self.stories[item_id][:sequence]

    async def _publish_again(self, *, everything: bool = False) -> None:
        """Duplicates whose time has come."""
        now = asyncio.get_running_loop().time()
        while self._again and (everything or self._again[0][0] <= now):
            _, _, session, session_id, value = heapq.heappop(self._again)
            await self._send(session, session_id, value, "duplicate", fate(session, self.seed, self.shares))

    async def _send(self, session: Session, session_id: str, value: bytes, kind: Kind, trouble: Trouble) -> None:
        await self._take_slot()
        place = await self.publisher.publish(session.item_id, value)
        self._list(line_of(session, session_id, kind, trouble, place))

    def _list(self, line: Line) -> None:
        self.ledger.write(line)
        self.progress(line)

    async def _take_slot(self) -> None:
        """Keeps the chosen rate."""
        if self.pace.per_second <= 0:
            return
        now = asyncio.get_running_loop().time()
        self._slot = max(now, self._slot + 1 / self.pace.per_second)
        await asyncio.sleep(self._slot - now)

    async def _account_name(self, item: Item) -> str:
        account = item.row["_medx_accountid_value"]
        if not account:
            return ""
        if account not in self._accounts:
            self._accounts[account] = await self.crm.account_name(account)
        return self._accounts[account]
