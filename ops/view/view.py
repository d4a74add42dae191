"""The view of the topics, brought up to date: what every command that reads asks.

Order matters. Offsets are asked for first and logs are read to their ends after that, so that whatever the offsets call
settled has its result in the view (W1).
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import Message

from ops.core.rows import Place, Row, plan_row, rejected_row, result_row
from ops.errors import ViewDamaged
from ops.output import OnProgress, progress
from ops.settings import Settings
from ops.view.heads import PlanHeads
from ops.view.logs import Logs, Marks
from ops.view.store import Store, Unusable, raise_if_not_kept, remove
from runtime.connection import RegistrySettings
from runtime.errors import RegistryUnavailable
from schemas.codec import Codec, ParsedSchema, Undecodable, single_object
from schemas.headers import Headers
from schemas.records import CallOutcome, PlannedWriteback, WritebackResult
from schemas.topics import FoundTopic

T = TypeVar("T")
R = TypeVar("R", CallOutcome, PlannedWriteback, WritebackResult)


@dataclass
class View:
    """Up to date as of `at`, Unix time. `partitions` of each topic."""

    settings: Settings
    store: Store
    logs: Logs
    partitions: int
    at: float
    made_anew: str | None = None
    """Why the file was thrown away, if it was."""
    unreadable: dict[str, int] = field(default_factory=dict)
    """Topic to how many records of it could not be decoded in this reading."""

    @property
    def at_ms(self) -> int:
        return round(self.at * 1000)


@contextmanager
def opened(settings: Settings, *, on_progress: OnProgress | None = None) -> Iterator[View]:
    """Raises Misconfigured, BrokerUnavailable, RegistryUnavailable, SchemaRefused, ViewNotKept."""
    logs = Logs(settings)
    found = logs.topics()
    cluster = logs.cluster()
    path = path_of(settings)
    with _locked(path):
        view = _usable(settings, logs, path, _Facts(cluster, found))
        if on_progress is None:
            with progress("reading the topics:") as shown:
                view = _brought_up_to_date(view, _Facts(cluster, found), shown)
        else:
            view = _brought_up_to_date(view, _Facts(cluster, found), on_progress)
    with view.store:
        try:
            yield view
        except sqlite3.DatabaseError as error:
            raise_if_not_kept(path, error)
            remove(path)
            raise ViewDamaged(
                f"the local view {path} was damaged and is thrown away; call the command again, it makes a new one"
            ) from None


def reader_of(cls: type[R], settings: Settings) -> Codec[R]:
    """Decodes both framings, and registers nothing."""
    return Codec(cls, single_object(cls).written_as, _schema_by_id(settings.registry) if settings.registry else None)


def _schema_by_id(settings: RegistrySettings) -> Callable[[int], ParsedSchema]:
    from runtime.registry import Registry  # its client takes long to import, and most have no registry

    return Registry(settings).schema_by_id


def path_of(settings: Settings) -> Path:
    of = f"{settings.broker.bootstrap_servers}\n{settings.broker.topic_prefix}\n{settings.writer_group}"
    return settings.folder_of_views / f"view-{blake2b(of.encode(), digest_size=8).hexdigest()}.sqlite"


@dataclass(frozen=True, slots=True)
class _Facts:
    cluster: str
    topics: dict[str, FoundTopic]

    def as_text(self) -> dict[str, str]:
        ids = {f"topic {name}": str(each.topic_id) for name, each in sorted(self.topics.items())}
        return {"cluster": self.cluster, **ids}

    def have_lost_tombstones(self, *, since: float, now: float) -> bool:
        """Whether compaction may have taken a tombstone that a view of that Unix time has not seen: what is gone from
        the topics would stay in it."""
        configs = [each.config or {} for each in self.topics.values()]
        compacted = [each for each in configs if "compact" in each.get("cleanup.policy", "")]
        kept_ms = [int(each.get("delete.retention.ms", "-1")) for each in compacted]
        return any(0 <= each < (now - since) * 1000 for each in kept_ms)


def _usable(settings: Settings, logs: Logs, path: Path, facts: _Facts) -> View:
    """The store of this cluster and these topics; an empty one if there is none, or it cannot be used."""
    partitions = next(iter(facts.topics.values())).partitions
    why: str | None = None
    try:
        store = Store(path)
        known = store.facts()
        if changed := [name for name, value in facts.as_text().items() if known.get(name, value) != value]:
            store.close()
            why = f"it was made of another {changed[0]}"
        elif facts.have_lost_tombstones(since=float(known.get("at", time.time())), now=time.time()):
            store.close()
            why = "it was older than the topics keep tombstones"
    except Unusable:
        why = "it was damaged, or of another version"
    if why is not None:
        remove(path)
        store = Store(path)
    if "at" not in store.facts():
        store.keep_facts({"at": str(time.time())})
    return View(settings, store, logs, partitions, time.time(), made_anew=why)


def _brought_up_to_date(view: View, facts: _Facts, on_progress: OnProgress) -> View:
    """A file that turns out to be damaged, or ahead of its topics, is made anew, once."""
    try:
        _read_all(view, facts, on_progress)
    except (Unusable, sqlite3.DatabaseError) as error:
        view.store.close()
        raise_if_not_kept(view.store.path, error)
        remove(view.store.path)
        view = View(
            view.settings, Store(view.store.path), view.logs, view.partitions, time.time(),
            made_anew="it was damaged, or ahead of its topics",
        )  # fmt: skip
        _read_all(view, facts, on_progress)
    return view


def _read_all(view: View, facts: _Facts, on_progress: OnProgress) -> None:
    settings, topics, store = view.settings, view.settings.broker.topics, view.store
    every = range(view.partitions)
    group = settings.group_id(settings.writer_group)
    view.at = time.time()
    frontiers = view.logs.committed(group, topics.planned_writebacks.name, every)
    plans, results = reader_of(PlannedWriteback, settings), reader_of(WritebackResult, settings)
    readers: dict[str, Callable[[Sequence[Message]], None]] = {
        topics.planned_writebacks.name: _Records(view, PlanHeads(plans).decode, plan_row, store.forget_plan),
        topics.writeback_results.name: _Records(view, results.decode, result_row, store.forget_result),
        topics.writeback_dry_run.name: _DryRuns(view),
        topics.operator_actions.name: _Actions(view),
        **{
            topic.name: _Rejected(view, topic.name, reader_of(kind, settings))
            for topic, kind in (
                (topics.call_outcomes_rejected, CallOutcome),
                (topics.planned_writebacks_rejected, PlannedWriteback),
            )
        },
    }
    marks = {topic: view.logs.marks(topic, every) for topic in readers}
    reading = _Reading(view, on_progress, sum(_left(store.positions(topic), marks[topic]) for topic in readers))
    for topic, keep in readers.items():
        reading.read(topic, marks[topic], keep)
    with store.writing():
        for topic in (topics.call_outcomes_rejected.name, topics.planned_writebacks_rejected.name):
            store.forget_rejected(topic, {partition: low for partition, (low, _) in marks[topic].items()})
        store.keep_frontiers(frontiers)
        store.judge()
        store.keep_facts(facts.as_text() | {"at": str(view.at)})


def _left(positions: dict[int, int], marks: Marks) -> int:
    """How many offsets are to be read. Raises Unusable if the view has read what is not there."""
    if any(positions.get(partition, 0) > end for partition, (_, end) in marks.items()):
        raise Unusable
    return sum(end - max(low, positions.get(partition, 0)) for partition, (low, end) in marks.items())


class _Reading:
    """One pass over all topics."""

    def __init__(self, view: View, on_progress: OnProgress, total: int) -> None:
        self._view = view
        self._on_progress = on_progress
        self._total = total
        self._done = 0

    def read(self, topic: str, marks: Marks, keep: Callable[[Sequence[Message]], None]) -> None:
        store = self._view.store
        starts = store.positions(topic)
        at = {partition: max(low, starts.get(partition, 0)) for partition, (low, _) in marks.items()}

        def heard(messages: Sequence[Message]) -> None:
            before = sum(at.values())
            at.update({_partition(each): _offset(each) + 1 for each in messages})
            with store.writing():
                keep(messages)
                store.keep_positions(topic, at)
            self._done += sum(at.values()) - before
            self._on_progress(topic, min(self._done, self._total), self._total)

        def at_end(partition: int) -> None:
            at[partition] = max(at[partition], marks[partition][1])
            with store.writing():
                store.keep_positions(topic, at)

        self._view.logs.read(topic, starts, marks, heard, at_end)


class _Records:
    """Plans, or results."""

    def __init__(
        self,
        view: View,
        decode: Callable[[bytes], T],
        row_of: Callable[[T, Place, Headers], Row],
        forget: Callable[[str], None],
    ) -> None:
        self._view = view
        self._row: Callable[[Message, bytes], Row] = lambda message, value: row_of(
            decode(value), _place(message), headers_of(message)
        )
        self._forget = forget

    def __call__(self, messages: Sequence[Message]) -> None:
        rows: list[Row] = []
        for message in messages:
            value, key = message.value(), message.key()
            if value is None:
                self._view.store.keep_sessions(rows)
                rows = []
                self._forget((key or b"").decode("ascii", "replace"))
                continue
            try:
                rows.append(self._row(message, value))
            except Undecodable:
                topic = str(message.topic())
                self._view.unreadable[topic] = self._view.unreadable.get(topic, 0) + 1
        self._view.store.keep_sessions(rows)


class _Rejected:
    def __init__(self, view: View, topic: str, records: Codec[Any]) -> None:
        self._view = view
        self._topic = topic
        self._records = records

    def __call__(self, messages: Sequence[Message]) -> None:
        self._view.store.keep_rejected([self._row(each) for each in messages])

    def _row(self, message: Message) -> Row:
        key, value = message.key(), message.value()
        return rejected_row(self._topic, _place(message), key, value, headers_of(message), self._session(value))

    def _session(self, value: bytes | None) -> str | None:
        """None if that cannot be read, which may be why it was rejected."""
        try:
            return None if value is None else str(self._records.decode(value).session_id)
        except (Undecodable, RegistryUnavailable):
            return None


class _DryRuns:
    """Where a session's last result in a dry run is; who wants it reads it there."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __call__(self, messages: Sequence[Message]) -> None:
        self._view.store.keep_dry_runs(
            [((each.key() or b"").decode("ascii", "replace"), _partition(each), _offset(each)) for each in messages]
        )


class _Actions:
    """What operators did; a record that is none of ours is left."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __call__(self, messages: Sequence[Message]) -> None:
        rows = [
            (_partition(each), _offset(each), each.timestamp()[1], text) for each in messages if (text := _json(each))
        ]
        self._view.store.keep_actions(rows)


def _json(message: Message) -> str | None:
    try:
        content: Any = json.loads(message.value() or b"")
    except ValueError:
        return None
    return (
        json.dumps(content) if isinstance(content, dict) and {"action", "about", "details"} <= content.keys() else None
    )


def _place(message: Message) -> Place:
    return Place(_partition(message), _offset(message), message.timestamp()[1])


def _partition(message: Message) -> int:
    return int(message.partition() or 0)


def _offset(message: Message) -> int:
    return int(message.offset() or 0)


def headers_of(message: Message) -> list[tuple[str, bytes]]:
    given: Any = message.headers() or []
    return [(name, value) for name, value in given if isinstance(value, bytes)]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One reader of the logs at a time; a second command waits, and then has almost nothing left to read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
