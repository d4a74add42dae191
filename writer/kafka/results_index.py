"""What is known of sessions that settled before: the results of our partitions, read when a partition becomes ours.

- A partition's results are read committed, from the start to the end that they have when the partition is assigned. The
  group's offsets are stable by then, so no other writer of the group can add any to them.
- Nobody waits for that but a plan that may have been settled before (`look_back` of it), and a plan whose row has to be
  judged. `of` is None until the partition has been read.
- What this writer publishes itself is noted as well. What others publish later is not: that is only a person with
  `writeback`, whose plans come with a header of their own.
- B3 Each partition is a SQLite database of its own without a name: it keeps two megabytes in memory and the rest in a
  file of the system's folder for temporary files, which is gone with the process, however that ends. A session takes
  some forty bytes: its id is kept as a digest. If that folder is full, the writer ends and says so: it would not know
  any more what has settled.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property, partial
from hashlib import blake2b
from typing import cast

import structlog
from confluent_kafka import KafkaError, KafkaException, Message

from runtime.errors import RegistryUnavailable
from runtime.threads import in_thread_until_done
from schemas import headers
from schemas.codec import Codec, Undecodable
from schemas.records import WritebackResult
from writer.core.history import History, Settled, latest, settled_as
from writer.errors import MustRestart

RawHeaders = list[tuple[str, bytes | None]]
NOT_FINAL = "not-final"
"""What the header says of a result that settles nothing."""
_AGAIN_S = 1.0
_KINDS = tuple(Settled)
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}

ReadToEnd = Callable[..., None]
"""`log_reader.read_to_end` of the results topic."""
News = tuple[bytes, Settled | None, int]
"""A session's key, how it settled (None if its result was retired), and since when it has a final result, in Unix
milliseconds.
"""


@contextmanager
def _kept() -> Iterator[None]:
    """Raises MustRestart: SQLite has undone or broken off what it could not write."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise MustRestart(
            f"which sessions have settled cannot be kept in a temporary file: {error}; free space in the folder for "
            "temporary files, or name another one in SQLITE_TMPDIR. Nothing is lost: the writer goes on with the next "
            "start"
        ) from None


class PartitionIndex:
    """The sessions of one partition. One thread at a time. Raises MustRestart if it cannot be kept."""

    @_kept()
    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA cache_size = -2048")
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute(
            "CREATE TABLE settled (session BLOB PRIMARY KEY, kind INTEGER NOT NULL, first INTEGER) WITHOUT ROWID"
        )
        self._db.create_function("latest", 2, _latest, deterministic=True)

    @_kept()
    def of(self, session_id: str) -> Settled | None:
        found = self._db.execute("SELECT kind FROM settled WHERE session = ?", (_digest(session_id.encode()),))
        row = found.fetchone()
        return None if row is None else _KINDS[row[0]]

    @_kept()
    def first_settled_at(self, session_id: str) -> datetime | None:
        found = self._db.execute("SELECT first FROM settled WHERE session = ?", (_digest(session_id.encode()),))
        row = found.fetchone()
        return None if row is None else datetime.fromtimestamp(row[0] / 1000, UTC)

    @_kept()
    def note(self, news: Iterable[News]) -> None:
        """In their order."""
        self._db.execute("BEGIN")
        kept: list[tuple[bytes, int, int]] = []
        for key, settled, first_ms in news:
            if settled is not None:
                kept.append((_digest(key), _NUMBERS[settled], first_ms))
                continue
            self._keep(kept)
            kept.clear()
            self._db.execute("DELETE FROM settled WHERE session = ?", (_digest(key),))
        self._keep(kept)
        self._db.execute("COMMIT")

    def _keep(self, rows: Sequence[tuple[bytes, int, int]]) -> None:
        self._db.executemany(
            "INSERT INTO settled VALUES (?, ?, ?) ON CONFLICT (session) DO UPDATE SET "
            "kind = latest(kind, excluded.kind), first = min(first, excluded.first)",
            rows,
        )

    @_kept()
    def clear(self) -> None:
        self._db.execute("DELETE FROM settled")

    def close(self) -> None:
        self._db.close()


class _Loading:
    """A partition whose results are being read, and what this writer has published in it meanwhile."""

    def __init__(self) -> None:
        self.published: list[News] = []

    @cached_property
    def index(self) -> PartitionIndex:
        """Opened by `_load`, which closes it as well: what is never read opens nothing."""
        return PartitionIndex()

    def begin_anew(self) -> None:
        """What was read before trouble came is read again; a session that was retired in between must not stay."""
        self.index.clear()


class ResultsIndex:
    """Loop only, but for the thread that reads. `loaded` hears of each partition that has been read."""

    def __init__(self, read: ReadToEnd, codec: Codec[WritebackResult], *, loaded: Callable[[int], None]) -> None:
        self._read = read
        self._codec = codec
        self._loaded = loaded
        self._loading: dict[int, _Loading] = {}
        self._to_read: asyncio.Queue[Mapping[int, _Loading]] = asyncio.Queue()
        self._ready: dict[int, PartitionIndex] = {}
        self._log = structlog.get_logger("writer")

    def of(self, partition: int) -> History | None:
        """None as long as its results are being read, and for a partition that is not ours."""
        return self._ready.get(partition)

    def assigned(self, partitions: Collection[int]) -> None:
        """`run` reads them."""
        self.dropped(partitions)
        self._loading |= (new := {partition: _Loading() for partition in partitions})
        self._to_read.put_nowait(new)

    def dropped(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            self._loading.pop(partition, None)  # `_load` closes it, when nothing is read into it any more
            if (index := self._ready.pop(partition, None)) is not None:
                index.close()

    def first_settled_at(self, partition: int, session_id: str) -> datetime | None:
        """None as well as long as its results are being read."""
        index = self._ready.get(partition)
        return None if index is None else index.first_settled_at(session_id)

    def published(self, partition: int, session_id: str, settled: Settled | None, first_at: datetime | None) -> None:
        """A result of ours is acknowledged."""
        if settled is None or first_at is None:
            return
        news = (session_id.encode(), settled, headers.whole_milliseconds(first_at))
        if (index := self._ready.get(partition)) is not None:
            index.note([news])
        elif (loading := self._loading.get(partition)) is not None:
            loading.published.append(news)

    async def run(self) -> None:
        """Raises MustRestart, in a group, if the broker refuses. Nothing is known or open when it has ended."""
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    tasks.create_task(self._load(await self._to_read.get()))
        finally:
            self.dropped(tuple(self._ready))

    async def _load(self, mine: Mapping[int, _Loading]) -> None:
        """Returns when all were read, or are not ours any more. Waits for a broker and a registry that are away."""
        try:
            while still := {p: loading for p, loading in mine.items() if self._is_wanted(p, loading)}:
                for loading in still.values():
                    loading.begin_anew()
                if (code := await self._trouble(still)) is not None:
                    self._log.warning("results.not_read", partitions=sorted(still), code=code)
                    await asyncio.sleep(_AGAIN_S)
        finally:
            self._not_wanted(mine)
            for partition, loading in mine.items():
                if self._ready.get(partition) is not loading.index:
                    loading.index.close()

    async def _trouble(self, mine: Mapping[int, _Loading]) -> str | None:
        """Reads them; the name of what came between, if something did."""
        read = partial(self._read_all, mine, asyncio.get_running_loop())
        try:
            await in_thread_until_done(read, give_up=partial(self._not_wanted, mine))
        except KafkaException as failure:
            error: KafkaError = failure.args[0]
            if error.code() in _REFUSED:
                raise MustRestart(f"the broker refuses to let the results be read: {error.name()}") from None
            return error.name()
        except RegistryUnavailable:
            return "registry unavailable"
        return None

    def _read_all(self, mine: Mapping[int, _Loading], loop: asyncio.AbstractEventLoop) -> None:
        """In a thread of its own. What comes behind the end of a partition is left: the loop has its index by then, and
        notes there what this writer publishes."""
        ended: set[int] = set()

        def on_records(messages: Sequence[Message]) -> None:
            by_partition: dict[int, list[News]] = {}
            for message in messages:
                if (news := self._news(message)) is not None:
                    by_partition.setdefault(_partition(message), []).append(news)
            for partition, of_one in by_partition.items():
                if partition not in ended:
                    mine[partition].index.note(of_one)

        def at_end(partition: int) -> None:
            ended.add(partition)
            loop.call_soon_threadsafe(self._has_been_read, partition, mine[partition])

        self._read(mine, on_records=on_records, at_end=at_end, wanted=lambda p: self._is_wanted(p, mine[p]))

    def _is_wanted(self, partition: int, loading: _Loading) -> bool:
        return self._loading.get(partition) is loading

    def _not_wanted(self, mine: Mapping[int, _Loading]) -> None:
        for partition, loading in mine.items():
            if self._is_wanted(partition, loading):
                del self._loading[partition]

    def _has_been_read(self, partition: int, loading: _Loading) -> None:
        if self._is_wanted(partition, loading):
            del self._loading[partition]
            loading.index.note(loading.published)
            self._ready[partition] = loading.index
            self._log.info("results.read", partition=partition)
            self._loaded(partition)

    def _news(self, message: Message) -> News | None:
        """None if the session is as it was."""
        key, value = message.key(), message.value()
        if key is None:
            return None
        if value is None:
            return key, None, 0
        settled = self._settled(message, value)
        first_ms = headers.first_settled_ms(_headers(message)) or message.timestamp()[1]
        return None if settled is None else (key, settled, first_ms)

    def _settled(self, message: Message, value: bytes) -> Settled | None:
        header = headers.settled_as(_headers(message))
        if header == NOT_FINAL:
            return None
        if header in _KINDS:
            return Settled(header)
        try:
            return settled_as(self._codec.decode(value))
        except Undecodable as error:
            where = {"partition": message.partition(), "offset": message.offset()}
            self._log.error("result.undecodable", **where, why=str(error))
            return None


def _latest(known: int, on_records: int) -> int:
    return _NUMBERS[latest(_KINDS[known], _KINDS[on_records])]


def _digest(key: bytes) -> bytes:
    return blake2b(key, digest_size=16).digest()


def _partition(message: Message) -> int:
    return cast("int", message.partition())


def _headers(message: Message) -> list[tuple[str, bytes]]:
    return [(name, value) for name, value in cast("RawHeaders", message.headers() or []) if value is not None]
