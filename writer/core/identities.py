"""Several application users as one way to Dataverse: which of them may send now. No I/O; times in monotonic seconds.

Each identity has its own pacing: a Retry-After holds up the identity that got it, and no other. A plan is not tied to
an identity, since preconditions and record ids carry the safety.

Questions about metadata and owners take their places first, in their order: plans wait for the answers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from writer.core.exchanges import Exchange
from writer.core.pacing import Pacer
from writer.core.replies import Judgement, Kind, Meaning, never_sent
from writer.core.reports import Count, Log, Observe, Report, Show
from writer.core.sign_in import SignInFault, SignInTrouble

_REST_S = 15.0
_LONG_S = 10.0
"""A wait from which on it is worth a line."""


@dataclass(eq=False, slots=True)
class Identity:
    """`resting_until`: its sign-in failed, and others may do its work."""

    name: str
    pacer: Pacer
    resting_until: float = -math.inf
    signed_in: bool = False
    fault: SignInFault | None = None
    """What is wrong with its sign-in at present."""


@dataclass(frozen=True, slots=True)
class Place:
    """The right to send one request now. It must be used, or given back."""

    identity: Identity
    started: float


class Identities:
    def __init__(self, identities: Sequence[Identity]) -> None:
        self.all = tuple(identities)
        self._questions: deque[object] = deque()
        """Those that wait for a place."""

    def room(self, now: float) -> int:
        """How many requests could go out now."""
        return sum(identity.pacer.room(now) for identity in self.all)

    def ask(self, question: object) -> None:
        """It waits for a place from now on."""
        self._questions.append(question)

    def withdraw(self, question: object) -> None:
        """It does not wait any more."""
        if question in self._questions:
            self._questions.remove(question)

    @property
    def questions(self) -> int:
        """How many wait for a place."""
        return len(self._questions)

    def place(self, now: float, question: object | None = None) -> Place | None:
        """Of several identities that may send, the one with most room; None if it is not the asker's turn, or no
        identity may send.
        """
        if self._questions and self._questions[0] is not question:
            return None
        awake = [identity for identity in self.all if identity.resting_until <= now] or self.all
        free = [identity for identity in awake if identity.pacer.ask(now) is None]
        if not free:
            return None
        best = max(free, key=lambda identity: identity.pacer.room(now))
        best.pacer.sent(now)
        if question is not None:
            self._questions.popleft()
        return Place(best, now)

    def free_at(self, now: float) -> float:
        """When to ask for a place again, if there was none; infinity if only a reply can make room."""
        awake = [identity for identity in self.all if identity.resting_until <= now]
        asked = [identity.pacer.ask(now) for identity in awake or self.all]
        rested = [identity.resting_until for identity in self.all if identity not in awake]
        return min((*rested, *(at for at in asked if at is not None)), default=math.inf)

    def give_back(self, place: Place) -> None:
        """Nothing was sent with it after all."""
        place.identity.pacer.replied(never_sent(), started=place.started, now=place.started, plans=0)

    def replied(self, place: Place, exchange: Exchange, operation: str, now: float) -> list[Report]:
        """A request ended, with a reply or without."""
        identity, judgement = place.identity, exchange.for_pacing
        before = identity.pacer.held_until
        identity.pacer.replied(judgement, started=place.started, now=now, plans=exchange.landed, hint=exchange.hint)
        waits = identity.pacer.held_until - now
        reports: list[Report] = []
        if identity.pacer.held_until - max(before, now) >= _LONG_S:
            fields = {
                "identity": identity.name,
                "status": judgement.status,
                "request_id": judgement.request_id,
                "asked_seconds": judgement.retry_after,
                "waits_seconds": round(waits),
            }
            reports.append(Log("warning", "identity.waits", fields))
        if judgement.kind is Kind.THROTTLED:
            reports.append(Count("throttle_wait", (identity.name,), max(0.0, waits)))
        reports += self._signed_in(identity, judgement, now)
        reports.append(Count("requests", (operation, judgement.kind)))
        reports.append(Observe("request_seconds", exchange.seconds, (operation,)))
        return reports

    def _signed_in(self, identity: Identity, judgement: Judgement, now: float) -> list[Report]:
        reports: list[Report] = []
        refused = judgement.meaning is Meaning.SIGN_IN
        if refused:
            identity.resting_until = now + _REST_S
            reports += _fault(identity, judgement)
        identity.signed_in = not refused and (identity.signed_in or judgement.kind is Kind.DONE)
        if judgement.kind is Kind.DONE:
            identity.fault = None
        reports.append(Show("signed_in", identity.signed_in, (identity.name,)))
        return reports


def _fault(identity: Identity, judgement: Judgement) -> list[Report]:
    """Reported in the log when the cause changes, and counted each time."""
    fault = judgement.sign_in or SignInFault(SignInTrouble.NOT_ACCEPTED, judgement.code)
    reports: list[Report] = [Count("sign_in_failures", (identity.name, fault.trouble, fault.code))]
    if identity.fault != fault:
        identity.fault = fault
        fields = {"identity": identity.name, "cause": fault.trouble, "what_to_do": str(fault)}
        reports.append(Log("error", "identity.not_signed_in", fields))
    return reports
