"""Where an earlier run of the same seed ended, from what it published. Pure.

C3 A call system that was killed and is started again publishes what is left, and lists all of it in the ledger: a
session's id follows from seed, item and number, so the topic says which sessions were published.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from schemas.codec import Undecodable
from schemas.records import CallOutcome
from simulator.callsystem.history import Event
from simulator.callsystem.ledger import Kind, Line, line_of
from simulator.callsystem.outcome import session_id
from simulator.callsystem.story import Session
from simulator.callsystem.trouble import Shares, fate

Stories = Mapping[str, tuple[Session, ...]]


@dataclass
class Past:
    """`published`: sessions, by item. `lines`: the ledger of them. `owed`: duplicates that were not sent yet."""

    published: dict[str, int] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    owed: list[tuple[Session, str, bytes]] = field(default_factory=list)


def past(
    events: Iterable[Event], decode: Callable[[bytes], CallOutcome], stories: Stories, seed: int, shares: Shares
) -> Past:
    """What of these stories is on the topic. Events of others are skipped."""
    known = {session_id(seed, session): session for story in stories.values() for session in story}
    found = Past()
    times: Counter[str] = Counter()
    first: dict[str, bytes] = {}
    for event in events:
        session, identity = _session_of(event, decode, stories, known, found.published)
        if session is None:
            continue
        kind: Kind = "malformed"
        if identity:
            kind = "duplicate" if times[identity] else "outcome"
            times[identity] += 1
            first.setdefault(identity, event.value)
            found.published[event.key] = max(found.published.get(event.key, 0), session.sequence)
        trouble = fate(session, seed, shares)
        found.lines.append(line_of(session, session_id(seed, session), kind, trouble, event.place))
    found.owed = [
        (known[identity], identity, first[identity])
        for identity, count in times.items()
        if count == 1 and fate(known[identity], seed, shares).again_after is not None
    ]
    return found


def _session_of(
    event: Event,
    decode: Callable[[bytes], CallOutcome],
    stories: Stories,
    known: Mapping[str, Session],
    published: Mapping[str, int],
) -> tuple[Session | None, str]:
    """The session of an event, and its id; bytes that are no event belong to the session that was next."""
    story = stories.get(event.key)
    if story is None:
        return None, ""
    try:
        identity = decode(event.value).session_id
    except Undecodable:
        upcoming = published.get(event.key, 0)
        return (story[upcoming] if upcoming < len(story) else None), ""
    return known.get(identity), identity
