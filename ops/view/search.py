"""Reads every record of every topic, and finds those that belong to a person or name one of their ids."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import fastavro
from confluent_kafka import Message

from ops.core.forgetting import Findings, Person, Trace, What, keeping
from ops.output import OnProgress
from ops.view.view import View, reader_of
from runtime.errors import RegistryUnavailable
from schemas.codec import Codec, Undecodable
from schemas.records import CallOutcome, PlannedWriteback, WritebackResult
from schemas.wire import unframe

Plain = Callable[[bytes], Any]
Found = Callable[[str, Message, Any], None]
"""Hears a topic, a record that may be the person's, and its content; None if that cannot be decoded."""


def search(view: View, person: Person, on_progress: OnProgress) -> Findings:
    """Everything there is of them: the proof is that all was read."""
    reading = Search(view, on_progress)
    return reading.of(reading.whole(person))


class Search:
    def __init__(self, view: View, on_progress: OnProgress) -> None:
        topics, settings = view.settings.broker.topics, view.settings
        outcomes = _plain(reader_of(CallOutcome, settings))
        plans, results = _plain(reader_of(PlannedWriteback, settings)), _plain(reader_of(WritebackResult, settings))
        self._view = view
        self._on_progress = on_progress
        self._planned = topics.planned_writebacks.name
        self._outcomes = (topics.call_outcomes.name, topics.call_outcomes_rejected.name)
        self._readers: dict[str, Plain] = {
            topics.call_outcomes.name: outcomes,
            topics.planned_writebacks.name: plans,
            topics.writeback_results.name: results,
            topics.call_outcomes_rejected.name: outcomes,
            topics.planned_writebacks_rejected.name: plans,
            topics.writeback_dry_run.name: results,
            topics.operator_actions.name: _json,
        }

    def whole(self, person: Person) -> Person:
        """With the queue items of the account, and all sessions of the queue items: tombstones have only those."""
        if person.account:
            items = self._named("queue_item_id", person, (*self._outcomes, self._planned))
            person = replace(person, queue_items=person.queue_items | {each.lower() for each in items})
        if person.queue_items:
            person = replace(person, sessions=person.sessions | self._named("session_id", person, self._readers))
        return person

    def _named(self, field: str, person: Person, topics: Iterable[str]) -> frozenset[str]:
        """What the person's records on these topics hold in that field."""
        found = set[str]()

        def heard(_: str, __: Message, plain: Any) -> None:
            if isinstance(plain, dict) and person.in_record(plain) in (What.CONTENT, What.MARK):
                found.add(str(plain.get(field)).strip())

        for topic in topics:
            self._read(topic, person, heard)
        return frozenset(found)

    def of(self, person: Person) -> Findings:
        traces: list[Trace] = []
        last: dict[tuple[str, int, bytes | None], int] = {}

        def heard(topic: str, message: Message, plain: Any) -> None:
            if (what := _what(person, message, plain)) is None:
                return
            partition, offset, key = int(message.partition() or 0), int(message.offset() or 0), message.key()
            session = plain.get("session_id") if isinstance(plain, dict) else None
            session = session.strip() if isinstance(session, str) else None
            names = person.in_bytes(_raw(message))
            traces.append(Trace(topic, partition, offset, message.timestamp()[1], what, key, session, names=names))
            last[topic, partition, key] = max(offset, last.get((topic, partition, key), -1))

        for topic in self._readers:
            self._read(topic, person, heard)
        kept = {name: keeping(found.config) for name, found in self._view.logs.topics().items()}
        return Findings(
            [replace(each, newest=last[each.topic, each.partition, each.key] == each.offset) for each in traces],
            {topic: kept[topic] for topic in self._readers},
            frozenset(self._outcomes),
        )

    def _read(self, topic: str, person: Person, found: Found) -> None:
        read = self._readers[topic]
        marks = self._view.logs.marks(topic, range(self._view.partitions))
        total, done = sum(end - low for low, end in marks.values()), 0

        def heard(messages: Sequence[Message]) -> None:
            nonlocal done
            for message in messages:
                value = message.value()
                if person.owns_key(message.key()) or person.in_bytes(_raw(message)):
                    found(topic, message, None if value is None else read(value))
            done += len(messages)
            self._on_progress(topic, min(done, total), total)

        self._view.logs.read(topic, {}, marks, heard, lambda _: None)


def _raw(message: Message) -> bytes:
    return b"\n".join((message.key() or b"", message.value() or b""))


def _what(person: Person, message: Message, plain: Any) -> What | None:
    if message.value() is None:
        return What.TOMBSTONE if person.owns_key(message.key()) else None
    if plain is None:
        return What.CONTENT
    if isinstance(plain, dict) and "action" in plain:
        return What.NAMED
    found = person.in_record(plain)
    return What.CONTENT if found is None and person.owns_key(message.key()) else found


def _json(value: bytes) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return None


def _plain(codec: Codec[Any]) -> Plain:
    """Decodes to plain values; None for what is not such a record."""

    def decoded(framed: bytes) -> Any:
        try:
            ref, body = unframe(framed)
            return fastavro.schemaless_reader(io.BytesIO(body), codec.schema_of(ref), codec.schemas.today)
        except RegistryUnavailable:
            raise
        except (Undecodable, Exception):  # noqa: BLE001  hostile bytes raise anything
            return None

    return decoded
