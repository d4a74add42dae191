"""The CRM in the simulation: it carries out requests, keeps its operation log, and fails in every way it is known to.

The log's entries have the form of the simulator's own, so that one checker judges both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from functools import cache
from typing import Any

from schemas.records import PlannedWriteback, Value
from tests.proof.broker import Clock
from tests.proof.faults import CrmFault
from tests.support.rows import Refusal, Rows, etag
from writer.core.batch import ChangeSet, Failed, Reply, Request, Succeeded
from writer.core.emission import Observed, Read
from writer.core.exchanges import Exchange, Part, PartReply, exchange_of, same_for_all
from writer.core.gate import Cleared
from writer.core.replies import Judgement, Kind, Meaning, Sent, judge, lost, never_sent, not_signed_in, sent_with
from writer.core.sign_in import SignInFault, SignInTrouble

TABLES = {"medx_callqueueitems": "medx_callqueueitem", "phonecalls": "phonecall", "tasks": "task"}
_DONE = Judgement(Kind.DONE, Meaning.LANDED, 204)
_WHOLE = Judgement(Kind.DONE, Meaning.LANDED, 200)
_LANDED = PartReply(_DONE, Succeeded(()))
_READ = Judgement(Kind.DONE, Meaning.LANDED, 200)


@dataclass(frozen=True, slots=True)
class Shown(PartReply):
    """The reply to a read."""

    row: Observed | None = None


@cache
def words(status: int, code: str, sent: Sent = Sent.NOTHING) -> Judgement:
    """What the CRM says, in its own words."""
    return judge(status, {}, json.dumps({"error": {"code": code, "message": ""}}).encode(), sent=sent)


_EXISTS, _CHANGED, _GONE = "0x80040237", "0x80060882", "0x80040217"
_NOT_THERE = Shown(words(404, _GONE), Failed(Reply(404), None))
_SHOWN = Succeeded((Reply(200),))


def _failed(part: Part, index: int, status: int, code: str) -> PartReply:
    operation = part if isinstance(part, Request) else part.requests[index]
    judgement = words(status, code, sent_with(operation))
    return PartReply(judgement, Failed(Reply(status), None if isinstance(part, Request) else index))


class Crm(Rows):
    """`log` has every committed change, people's included."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.log: list[dict[str, Any]] = []
        self._before: dict[str, tuple[int, dict[str, Value]]] = {}
        self._request = 0
        self.troubled: str | None = None
        """Whatever names this queue item fails: a plug-in that only it meets."""
        self.asked_silence_s: float | None = None
        """How long the last refused request was asked to be silent, in seconds."""

    # What is asked of it.

    def carried_out(
        self,
        parts: Sequence[Part],
        *,
        refused: Mapping[int, tuple[int, str]] | None = None,
        draw: Callable[[int], int] = lambda _: 0,
        stale: bool = False,
    ) -> Exchange:
        """Each part by itself, as with `odata.continue-on-error`. `refused`: parts that fail, with status and code.
        `stale`: reads show each row as it was before its last change.
        """
        self._request += 1
        replies = []
        for number, part in enumerate(parts):
            if self.troubled is not None and self.troubled in repr(part):
                replies.append(_failed(part, 0, 500, "0x80040216"))
            elif refused and number in refused:
                index = draw(len(part.requests)) if isinstance(part, ChangeSet) else 0
                replies.append(_failed(part, index, *refused[number]))
            else:
                replies.append(self._part(part, stale=stale))
        return Exchange(tuple(replies), _WHOLE, 0.1)

    def _part(self, part: Part, *, stale: bool) -> PartReply:
        if isinstance(part, Request):
            path = part.path.partition("?")[0]
            row = self._before.get(path) if stale else self.rows.get(path)
            if row is None:
                return _NOT_THERE
            return Shown(_READ, _SHOWN, row=Observed(etag(row[0]), dict(row[1])))
        done = self.carry_out(part.requests)
        if isinstance(done, Refusal):
            exists = sent_with(part.requests[done.index]) is Sent.MUST_NOT_EXIST
            code = _GONE if done.status == 404 else _EXISTS if exists else _CHANGED
            return _failed(part, done.index, done.status, code)
        for change in done:
            if change.before is not None:
                self._before[change.path] = (change.version_before, dict(change.before))
            self._note("application", change.path, change.before, change.after)
        return _LANDED

    def _note(
        self, actor: str, path: str, before: Mapping[str, Value] | None, after: Mapping[str, Value] | None
    ) -> None:
        old, new = before or {}, after or {}
        kind = "create" if before is None else "delete" if after is None else "update"
        entity_set, _, rest = path.partition("(")
        self.log.append(
            {
                "seq": self._clock.next(), "at": self._clock.s, "request": self._request, "actor": actor,
                "outcome": "committed", "operation": kind, "table": TABLES[entity_set], "id": rest.rstrip(")"),
                "changes": {c: [old.get(c), new.get(c)] for c in {**old, **new} if old.get(c) != new.get(c)},
            }
        )  # fmt: skip

    # What people do.

    def edit(self, path: str, columns: Mapping[str, Value]) -> None:
        if path in self.rows:
            before = self.rows[path][1]
            self.put(path, columns)
            self._note("person", path, before, self.rows[path][1])

    def seed(self, path: str, columns: Mapping[str, Value]) -> None:
        self.put(path, columns)
        self._note("person", path, None, self.rows[path][1])

    def delete(self, path: str) -> None:
        if path in self.rows:
            before = self.rows.pop(path)[1]
            self._note("person", path, before, None)


class Metadata:
    """What the gate needs, of a CRM whose columns have the plan's own names. Asked for once by each process."""

    def __init__(self) -> None:
        self.known = False

    def cached_verdict(self, plan: PlannedWriteback) -> Cleared | None:
        return self.verdict(plan) if self.known else None

    @staticmethod
    def verdict(plan: PlannedWriteback) -> Cleared:
        chosen = {step.step_index: step.owner_candidates[0] for step in plan.steps if step.owner_candidates}
        return Cleared(chosen)

    def asked(self, plan: PlannedWriteback, *, answered: bool) -> Cleared | Judgement:
        if not answered:
            return lost()
        self.known = True
        return self.verdict(plan)

    def read_property_of(self, entity_set: str) -> Mapping[str, str]:
        return {}

    def observed(self, read: Read, planned: Mapping[str, Value], reply: PartReply) -> Observed | Judgement | None:
        if isinstance(reply, Shown):
            return reply.row
        return reply.judgement


# Faults: what becomes of a request.

Draw = Callable[[int], int]
_PROTECTION = {
    CrmFault.PROTECTION_REQUESTS: "0x80072322",
    CrmFault.PROTECTION_TIME: "0x80072321",
    CrmFault.PROTECTION_CONCURRENCY: "0x80072326",
}
_REFUSED = {
    CrmFault.CHANGED: (412, "0x80060882"),
    CrmFault.GONE: (404, "0x80040217"),
    CrmFault.BAD_REQUEST: (400, "0x80048d19"),
    CrmFault.FORBIDDEN: (403, "0x80040220"),
    CrmFault.DUPLICATE_KEY: (412, "0x80060892"),
}


def faulty(  # noqa: C901  one case for each
    crm: Crm, parts: Sequence[Part], fault: CrmFault, draw: Draw, utc_s: float
) -> Exchange:
    """How the request ends under this fault, for the CRM and for who sent it."""

    def whole(status: int, headers: dict[str, str], body: bytes) -> Exchange:
        return exchange_of(parts, status, headers, body, seconds=0.1, now=utc_s)

    def maybe_carried_out() -> None:
        if draw(2):
            crm.carried_out(parts)

    match fault:
        case CrmFault.THROTTLED:
            seconds = (5, 30, 240)[draw(3)]
            crm.asked_silence_s = seconds
            return whole(429, {"retry-after": str(seconds)}, b"")
        case CrmFault.THROTTLED_ODDLY:
            odd = (None, formatdate(utc_s + 20, usegmt=True), "0", "-1", "NaN", "1e9")[draw(6)]
            crm.asked_silence_s = 18.0 if odd and "GMT" in odd else None
            return whole(429, {} if odd is None else {"retry-after": odd}, b"")
        case CrmFault.PROTECTION_REQUESTS | CrmFault.PROTECTION_TIME | CrmFault.PROTECTION_CONCURRENCY:
            crm.asked_silence_s = 7.0
            return whole(429, {"retry-after": "7"}, _body(_PROTECTION[fault]))
        case CrmFault.STATUS_5XX:
            by_the_crm = draw(2)
            if not by_the_crm:  # a gateway's words, and the service behind it may have done it all the same
                maybe_carried_out()
            return whole((500, 502, 503, 504)[draw(4)], {}, _body("0x80044150") if by_the_crm else b"")
        case CrmFault.TIMEOUT_BEFORE:
            return same_for_all(parts, lost(), 30.0)
        case CrmFault.TIMEOUT_AFTER:
            crm.carried_out(parts)
            return same_for_all(parts, lost(), 30.0)
        case CrmFault.STALE_READ:
            return crm.carried_out(parts, stale=True)
        case CrmFault.SILENCE:
            maybe_carried_out()
            return same_for_all(parts, lost(), 120.0)
        case CrmFault.UNAUTHORIZED:
            return whole(401, {}, b"")
        case CrmFault.NO_TOKEN:
            return same_for_all(parts, not_signed_in(SignInFault(SignInTrouble.NOT_ACCEPTED, "")))
        case CrmFault.HTML:
            maybe_carried_out()
            return whole((200, 302)[draw(2)], {"content-type": "text/html"}, b"<html>")
        case CrmFault.TWICE:
            crm.carried_out(parts)
            return crm.carried_out(parts)
        case CrmFault.MAINTENANCE:
            return whole(503, {"retry-after": "60"}, b"<html>")
        case _:
            if draw(3) == 2:  # the same status, in the words of something before the CRM
                return whole(_REFUSED[fault][0], {}, b"<html>")
            return crm.carried_out(parts, refused={draw(len(parts)): _REFUSED[fault]}, draw=draw)


def _body(code: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": ""}}).encode()


NEVER_SENT = never_sent()
