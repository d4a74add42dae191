"""What to do with a plan that failed, for no fault of its own as long as nothing else is known: W6. No I/O.

| the reply        | while the like land                              | while none lands                             |
|------------------|--------------------------------------------------|----------------------------------------------|
| permanent        | block (core/refusals says what the like is)      | block a handful, then hold                   |
| transient        | 4 attempts, then it is requeued                  | 4 attempts, `resume_needed`, hold            |
| suspect          | the same; after `SUSPECT_CEILING` times: block   | the same as transient                        |
| ambiguous        | read back; if that fails, as transient           | the same                                     |
| throttled        | wait as long as it says; no attempt (core/pacing)| the same                                     |

- Four attempts are 1, 2 and 4 s apart. Then `resume_needed` is published, once. If the CRM said how long to wait, the
  plan is not tried sooner; who else must wait for that is decided in core/pacing.
- To hold is to keep the plan's place and try it again with growing pauses, without end.
- If most plans fail, that is an outage: everything waits, one plan at a time probes, and attempts are not counted.
- No reply, whatever it says, blocks more than a handful of plans while none lands.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field

from writer.core.refusals import Credits, Names, Refusal

PAUSES = (1.0, 2.0, 4.0)
"""Seconds before the second, third and fourth attempt."""
SUSPECT_CEILING = 5
"""How often a plan with suspect replies is requeued before a person is asked."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again at this time; the plan keeps its place and its lane."""

    at: float


@dataclass(frozen=True, slots=True)
class ResumeNeeded:
    """Tell `resume_needed`, then try again at this time."""

    at: float


@dataclass(frozen=True, slots=True)
class Requeue:
    """Append the plan, and its lane behind it, again to the topic, not to be tried for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class AskAPerson:
    """It is the plan's own trouble, or it has failed in a suspect way too often: blocked."""


Verdict = Retry | ResumeNeeded | Requeue | AskAPerson


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """Seconds and counts."""

    longest_pause: float = 30.0
    """Between attempts after `resume_needed`, and between probes in an outage."""
    back_of_topic: float = 30.0
    """Before a requeued plan is tried; doubles with every time, up to `longest_absence`."""
    longest_absence: float = 900.0
    late_request: float = 150.0
    """How long a request that nobody waits for any more may take to land: Dataverse ends each after two minutes."""
    outage_window: float = 30.0
    outage_plans: int = 5
    """How many different plans must have failed lately, and more than landed, for an outage."""


@dataclass(slots=True)
class _Failing:
    since: float
    attempts: int = 0
    landings_before: int = 0
    reported: bool = False


@dataclass(frozen=True, slots=True)
class Landing:
    """`named`: what the plan needed (core/refusals); `sent_at`: when its request was begun."""

    named: Names
    sent_at: float


@dataclass(slots=True)
class _Recent:
    """Who landed and who failed in the last while."""

    events: deque[tuple[float, str, bool]] = field(default_factory=deque)
    landed: int = 0

    def note(self, now: float, session_id: str, landed: bool, window: float) -> None:
        self.events.append((now, session_id, landed))
        self.landed += landed
        self.forget(now, window)

    def forget(self, now: float, window: float) -> None:
        while self.events and (self.events[0][0] <= now - window or len(self.events) > _EVENTS):
            self.landed -= self.events.popleft()[2]

    def failing(self) -> int:
        return len({session for _, session, landed in self.events if not landed})


_EVENTS = 1000


class RetryPolicy:
    """One per writer process. Plans are known by their session."""

    def __init__(self, limits: RetryLimits | None = None) -> None:
        self._limits = limits or RetryLimits()
        self._failing: dict[str, _Failing] = {}
        self._recent = _Recent()
        self._landings = 0
        self._outage = False
        self._refused = False
        """The outage is one of refusals: that the CRM answers does not end it."""
        self._next_probe_at = 0.0
        self._probes = 0
        self._credits = Credits()
        self._held: dict[str, tuple[str, float]] = {}
        """Plans that the CRM refuses and that are not blocked: why, and until when that is news."""

    @property
    def outage(self) -> bool:
        return self._outage

    def held(self, now: float) -> Counter[str]:
        """How many plans wait because the CRM refuses them and all their like, by reason."""
        self._held = {session: one for session, one in self._held.items() if one[1] > now}
        return Counter(reason for reason, _ in self._held.values())

    def attempts(self, session_id: str) -> int:
        """How many counted attempts of this plan failed."""
        failing = self._failing.get(session_id)
        return failing.attempts if failing else 0

    def probe_at(self, now: float) -> float | None:
        """None: go ahead. In an outage one plan at a time may probe: otherwise the time to ask again."""
        if not self._outage:
            return None
        if now < self._next_probe_at:
            return self._next_probe_at
        self._probes += 1
        self._next_probe_at = now + self._pause(self._probes)
        return None

    def landed(self, session_id: str, now: float, landing: Landing | None = None) -> None:
        """The CRM took this plan: whatever the trouble was, it is over for its like."""
        self.forget(session_id)
        self._landings += 1
        self._credits.landed(*((landing.named, landing.sent_at) if landing else (frozenset(), now)))
        self._close()
        self._recent.note(now, session_id, True, self._limits.outage_window)

    def answered(self, session_id: str, now: float) -> None:
        """Settled by what the rows hold: the CRM is there, which does not say that it takes anything."""
        self.forget(session_id)
        if not self._refused:
            self._close()
        self._recent.note(now, session_id, True, self._limits.outage_window)

    def blocked(self, session_id: str, now: float) -> None:
        """Refused, and blocked for it."""
        self.forget(session_id)
        if not self._refused:
            self._close()
        self._recent.note(now, session_id, False, self._limits.outage_window)

    def _close(self) -> None:
        if self._outage:
            self._outage, self._refused, self._probes, self._recent = False, False, 0, _Recent()

    def forget(self, session_id: str) -> None:
        """The plan is settled, or it left this process: its partition was revoked."""
        self._failing.pop(session_id, None)
        self._held.pop(session_id, None)

    def overdue(self, now: float) -> list[str]:
        """In an outage: sessions that have failed for as long as the retry budget lasts; each is named once."""
        late = [
            session
            for session, failing in self._failing.items()
            if self._outage and not failing.reported and now - failing.since >= sum(PAUSES)
        ]
        for session in late:
            self._failing[session].reported = True
        return late

    def refused(self, session_id: str, refusal: Refusal, now: float, *, requeues: int = 0) -> Verdict:
        """The CRM will not have it. `AskAPerson` if that is the plan's own trouble."""
        if self._credits.take(refusal.about, now):
            return AskAPerson()
        self.hold(session_id, refusal.reason, now)
        verdict = self.failed(session_id, now, requeues=requeues)
        self._refused = self._refused or self._outage
        return verdict

    def hold(self, session_id: str, reason: str, now: float) -> None:
        """Count the plan among those that wait for a person to put the installation right."""
        if session_id not in self._held and len(self._held) >= _EVENTS:
            del self._held[next(iter(self._held))]
        self._held[session_id] = (reason, now + 2 * self._limits.longest_absence)

    def held_for(self, session_id: str) -> str | None:
        """The reason under which the plan is counted among those that wait for a person."""
        return self._held[session_id][0] if session_id in self._held else None

    def failed(
        self,
        session_id: str,
        now: float,
        *,
        suspect: Collection[Names] = (),
        requeues: int = 0,
        retry_after_s: float = 0.0,
    ) -> Verdict:
        """A counted attempt failed. `suspect`: the reply may be a refusal in disguise, about one of these. `requeues`:
        how often the plan was requeued before. `retry_after_s`: how long the CRM said to wait; it is not tried sooner.
        Not for a 429.
        """
        failing = self._failing.setdefault(session_id, _Failing(now, landings_before=self._landings))
        self._recent.note(now, session_id, False, self._limits.outage_window)
        self._outage = self._outage or self._most_fail()
        if self._outage:
            return self._during_outage(now, retry_after_s)
        failing.attempts += 1
        if failing.attempts <= len(PAUSES):
            return Retry(now + max(PAUSES[failing.attempts - 1], retry_after_s))
        if self._landings > failing.landings_before:
            return self._alone(session_id, now, suspect, requeues, retry_after_s)
        pause = max(self._pause(failing.attempts - len(PAUSES)), retry_after_s)
        if failing.reported:
            return Retry(now + pause)
        failing.reported = True
        return ResumeNeeded(now + pause)

    @property
    def late_request(self) -> float:
        """See RetryLimits."""
        return self._limits.late_request

    def is_last_attempt(self, session_id: str) -> bool:
        """One more failure, and the plan is requeued, or `resume_needed` is published."""
        return self.attempts(session_id) >= len(PAUSES)

    def _during_outage(self, now: float, retry_after_s: float) -> Retry:
        self._next_probe_at = max(self._next_probe_at, now + self._pause(self._probes))
        return Retry(max(self._next_probe_at, now + retry_after_s))

    def _alone(
        self, session_id: str, now: float, suspect: Collection[Names], requeues: int, retry_after_s: float
    ) -> Requeue | AskAPerson:
        if suspect and requeues >= SUSPECT_CEILING and self._credits.take(suspect, now):
            return AskAPerson()
        del self._failing[session_id]
        absence = self._limits.back_of_topic * 2.0 ** min(requeues, 10)
        return Requeue(max(min(absence, self._limits.longest_absence), retry_after_s))

    def _most_fail(self) -> bool:
        failing = self._recent.failing()
        return failing >= self._limits.outage_plans and failing > self._recent.landed

    def _pause(self, times: int) -> float:
        return min(self._limits.longest_pause, 2.0 ** min(times, 10))
