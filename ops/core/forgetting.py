"""A person's data on the topics: whose records they are, what is left of them, and until when. No I/O.

- What belongs to a person is a record of one of their sessions or queue items, or one that holds their account. One
  of something else that only names an id (a later plan lists earlier sessions) is reported, and stays.
- A compacted topic forgets what a newer record of its key replaces. Another topic keeps every record for its retention,
  counted from the record's own time, and at most one segment longer.
- Of a topic whose settings the broker does not report nobody can say what it forgets: then nothing is changed, and no
  verdict is given.
- A plan is replaced by a mark, which holds ids alone, while an outcome of its session can still be read: otherwise it
  could be planned anew. After that a tombstone takes the mark away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ops.core.verdicts import needs_a_person


class What(StrEnum):
    """What a record holds of a person, from the most to the least."""

    CONTENT = "content"
    MARK = "mark"
    """Of a session that was retired or forgotten: ids, times and the disposition."""
    TOMBSTONE = "tombstone"
    """Its key alone."""
    NAMED = "named"
    """A record of something else that names one of the ids."""


@dataclass(frozen=True)
class Person:
    """Whose data. Queue items and accounts in lower case; two session ids that differ in case are two sessions."""

    sessions: frozenset[str] = frozenset()
    queue_items: frozenset[str] = frozenset()
    account: str | None = None

    @property
    def _of_the_crm(self) -> frozenset[str]:
        return self.queue_items | ({self.account} if self.account else frozenset())

    @property
    def ids(self) -> frozenset[str]:
        return self.sessions | self._of_the_crm

    def owns_key(self, key: bytes | None) -> bool:
        text = _read(key or b"")
        return text in self.sessions or text.lower() in self.queue_items

    def in_record(self, plain: Any) -> What | None:
        """What a decoded record is to the person; None if it is nothing of theirs."""
        session, item = (str(plain.get(name) or "").strip() for name in ("session_id", "queue_item_id"))
        if session in self.sessions or item.lower() in self.queue_items:
            return What.MARK if plain.get("retired_at") is not None and not plain.get("steps") else What.CONTENT
        held = list(texts(plain))
        if self.account and any(self.account in text.lower() for text in held):
            return What.CONTENT
        return What.NAMED if any(any(self._named_in(text)) for text in held) else None

    def in_bytes(self, raw: bytes) -> frozenset[str]:
        """The ids that are somewhere in it: quick, and more than `in_record` finds."""
        return frozenset(self._named_in(_read(raw)))

    def _named_in(self, text: str) -> Iterator[str]:
        yield from (each for each in self.sessions if each in text)
        yield from (each for each in self._of_the_crm if each in text.lower())


def _read(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").strip()


def person(*, sessions: Iterable[str] = (), queue_items: Iterable[str] = (), account: str | None = None) -> Person:
    items = frozenset(each.strip().lower() for each in queue_items)
    return Person(frozenset(map(str.strip, sessions)), items, account and account.strip().lower())


def texts(plain: Any) -> Iterator[str]:
    """Every text in a decoded record, names of columns included."""
    if isinstance(plain, str):
        yield plain
    elif isinstance(plain, Mapping):
        for name, value in plain.items():
            yield name
            yield from texts(value)
    elif isinstance(plain, list | tuple):
        for each in plain:
            yield from texts(each)


@dataclass(frozen=True, slots=True)
class Trace:
    """One record in which something of the person was found."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    what: What
    key: bytes | None
    session: str | None = None
    """Whose outcome it is, as far as that can be read."""
    newest: bool = True
    """Of its key and partition; on a compacted topic the others are about to go."""
    names: frozenset[str] = frozenset()
    """Which of the person's ids are in it, those that were not asked for among them."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long a topic keeps what. Milliseconds; None: not known, or without a limit."""

    known: bool
    """The broker reports the topic's settings."""
    compacted: bool
    retention_ms: int | None
    segment_ms: int
    compaction_lag_ms: int | None
    tombstones_ms: int | None

    def until_ms(self, trace: Trace) -> int | None:
        """When the record is gone at the latest, as far as settings say that. None: they do not."""
        if not self.compacted:
            return None if self.retention_ms is None else trace.at_ms + self.retention_ms + self.segment_ms
        if trace.newest and trace.what is not What.TOMBSTONE:
            return None
        if self.compaction_lag_ms is None or (trace.what is What.TOMBSTONE and self.tombstones_ms is None):
            return None
        more = (self.tombstones_ms or 0) if trace.what is What.TOMBSTONE else 0
        return trace.at_ms + self.compaction_lag_ms + more

    def why_not_known(self, topic: str) -> str:
        """For a person: why `until_ms` is None, and what makes it known."""
        if not self.known:
            return "not known: the broker does not report the topic's settings"
        if self.compacted:
            limit = "--add-config max.compaction.lag.ms=604800000"
            how = f"kafka-configs --alter --entity-type topics --entity-name {topic} {limit}"
            return f"compaction takes it, at no known time; to set a limit: {how}"
        return f"without limit: {topic} has retention.ms=-1"


def keeping(config: Mapping[str, str] | None) -> Keeping:
    given = config or {}

    def limit(name: str, *, most: int = 10 * 365 * 86_400_000) -> int | None:
        value = int(given.get(name, "-1"))
        return value if 0 <= value <= most else None

    return Keeping(
        known=config is not None,
        compacted="compact" in given.get("cleanup.policy", "delete"),
        retention_ms=limit("retention.ms"),
        segment_ms=limit("segment.ms") or 0,
        compaction_lag_ms=limit("max.compaction.lag.ms"),
        tombstones_ms=limit("delete.retention.ms"),
    )


@dataclass(frozen=True, slots=True)
class Line:
    """Of one topic, what of one kind is in one partition."""

    topic: str
    what: What
    partition: int
    first: int
    last: int
    records: int
    fate: str
    """What becomes of it."""
    until_ms: int | None

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class Remains(StrEnum):
    NOTHING = "nothing is left"
    GOING = "what is left goes by itself"
    NOT_FORGOTTEN = "not forgotten yet"
    NOT_KNOWN = "not known: the broker does not report what its topics forget"


@dataclass(frozen=True)
class Findings:
    """Everything that was found. `kept`: topic to how long it keeps, in the order in which they are shown.
    `outcomes`: the topics from which an outcome can be planned, or sent again."""

    traces: Sequence[Trace]
    kept: Mapping[str, Keeping]
    outcomes: frozenset[str]

    def in_place(self, what: What) -> list[Trace]:
        """The newest record of a key of a compacted topic: it stays until something newer replaces it."""
        return [each for each in self.traces if each.what is what and self._is_in_place(each)]

    def _is_in_place(self, trace: Trace) -> bool:
        return self.kept[trace.topic].compacted and trace.newest and trace.what in (What.CONTENT, What.MARK)

    def may_be_planned(self, trace: Trace) -> bool:
        """Whether an outcome of its session can still be read; one that cannot be decoded may be of any session."""
        found = {each.session for each in self.traces if each.topic in self.outcomes and each.what is What.CONTENT}
        return None in found or trace.session in found

    def to_erase(self) -> list[Trace]:
        """What a newer record has to replace: contents, and marks that nothing needs any more."""
        marks = [each for each in self.in_place(What.MARK) if not self.may_be_planned(each)]
        return [*self.in_place(What.CONTENT), *marks]

    def verdict(self) -> Remains:
        if self.unknown():
            return Remains.NOT_KNOWN
        if self.to_erase():
            return Remains.NOT_FORGOTTEN
        return Remains.GOING if self._own() else Remains.NOTHING

    def unknown(self) -> list[str]:
        """Topics that hold something of the person, and whose settings the broker does not report."""
        return sorted({each.topic for each in self._own() if not self.kept[each.topic].known})

    def unknown_ids(self, given: Person) -> list[str]:
        """Of the ids that were given, those of which no topic holds anything, not even a tombstone."""
        return sorted(given.ids.difference(*(each.names for each in self.traces)))

    def _own(self) -> list[Trace]:
        """Records of others that only name an id do not count."""
        return [each for each in self.traces if each.what is not What.NAMED]

    def gone_by_ms(self) -> int | None:
        """When the last of it goes by itself at the latest; None: not known. Marks wait for outcomes, not for that."""
        untils = [self.kept[each.topic].until_ms(each) for each in self._own() if not self._is_in_place(each)]
        return None if None in untils else max((each for each in untils if each is not None), default=None)

    def lines(self) -> list[Line]:
        """From topic to topic, and within one from the most to the least."""
        grouped: dict[tuple[str, What, int, bool], list[Trace]] = {}
        for each in self.traces:
            grouped.setdefault((each.topic, each.what, each.partition, self._is_in_place(each)), []).append(each)
        order, whats = list(self.kept), list(What)
        made = [self._line(*key, found) for key, found in grouped.items()]
        return sorted(made, key=lambda each: (order.index(each.topic), whats.index(each.what), each.partition))

    def _line(self, topic: str, what: What, partition: int, in_place: bool, found: Sequence[Trace]) -> Line:
        kept = self.kept[topic]
        untils = [kept.until_ms(each) for each in found]
        until = None if in_place or None in untils else max(each for each in untils if each is not None)
        if in_place:
            fate = "to be forgotten"
            if what is What.MARK and all(map(self.may_be_planned, found)):
                fate = "kept while an outcome of it can be read; then forget it again"
        elif until is None:
            fate = kept.why_not_known(topic)
        else:
            fate = "compaction takes it" if kept.compacted else "retention takes it"
        offsets = [each.offset for each in found]
        return Line(topic, what, partition, min(offsets), max(offsets), len(found), fate, until)


STAYS_BECAUSE = {
    "unsettled": "a writer has it before it: wait until it is settled (writeback status)",
    "opt-out": "its opt-out is not on the row: apply it (writeback resolve SESSION --apply), or set do-not-call in the "
    "CRM and close the session (writeback resolve SESSION --leave), or nobody will know of it",
    "blocked": "it waits for a person: decide it with writeback resolve, or give up what it wanted to write: --give-up",
}


def stays_because(row: Mapping[str, Any], *, give_up: bool) -> str | None:
    """Why a session of the view may not be forgotten; None if it may."""
    if row["opt_out_open"]:
        return STAYS_BECAUSE["opt-out"]
    if row["unsettled"]:
        return STAYS_BECAUSE["unsettled"]
    return STAYS_BECAUSE["blocked"] if needs_a_person(row["status"], row["reason"]) and not give_up else None
