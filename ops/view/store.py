"""The local view as a SQLite file: one row for each session, from its newest plan and its last result.

- Rows and the offsets that they come from are kept in one transaction: a reading that is cut short goes on from there.
- A file that is damaged, of another layout, cluster or topic is thrown away and made anew: it holds nothing of its own.
- It holds ids, states and messages, and no value that is written to the CRM (B1); only its owner may read it.
- What a newer record of a session replaces is kept in `earlier`, in short: that is the session's story. A session that
  is retired or forgotten has none.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

from ops.core.redriving import REDRIVE, REDRIVE_SENT
from ops.core.replaying import REPLAY, Replayed, ReplayProgress, ReplaySelection
from ops.core.rows import Row
from ops.core.selectors import ORDER, Selectors, Sort
from ops.core.sessions import Committed, Frontier, PlanSeen, ResultSeen, state_of, urgency
from ops.errors import ViewNotKept
from schemas.records import ResultStatus
from writer.core.history import Settled

LAYOUT = "9"
"""Raise it with every change of the tables: older files are made anew."""

_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE positions (topic TEXT, partition INTEGER, next INTEGER NOT NULL, PRIMARY KEY (topic, partition))
    WITHOUT ROWID;
CREATE TABLE frontiers (partition INTEGER PRIMARY KEY, offset INTEGER, complete INTEGER NOT NULL);
CREATE TABLE beyond (partition INTEGER, first INTEGER, behind INTEGER NOT NULL, PRIMARY KEY (partition, first))
    WITHOUT ROWID;
CREATE TABLE sessions (
    session TEXT PRIMARY KEY, queue_item TEXT, campaign TEXT, disposition TEXT, opt_out INTEGER, mapping TEXT,
    started_ms INTEGER, ended_ms INTEGER,
    plan_partition INTEGER, plan_offset INTEGER, plan_ms INTEGER, planned_ms INTEGER, requeues INTEGER,
    not_before_ms INTEGER, asked TEXT, job TEXT, digest TEXT, source TEXT, retired_ms INTEGER,
    result_partition INTEGER, result_offset INTEGER, result_ms INTEGER, result_status TEXT, reason TEXT, message TEXT,
    conflicts TEXT, gaps TEXT, attempts INTEGER, settled_ms INTEGER, first_settled_ms INTEGER,
    settled_as TEXT, opt_out_decided INTEGER, about_partition INTEGER, about_offset INTEGER, written_by TEXT,
    state TEXT, dirty INTEGER,
    status TEXT AS (substr(state, 4)), unsettled INTEGER AS (CAST(substr(state, 1, 1) AS INTEGER)),
    opt_out_open INTEGER AS (CAST(substr(state, 2, 1) AS INTEGER)),
    urgency INTEGER AS (CAST(substr(state, 3, 1) AS INTEGER))
);
CREATE TABLE earlier (
    session TEXT, kind TEXT, partition INTEGER, offset INTEGER, at_ms INTEGER, what TEXT,
    PRIMARY KEY (session, kind, partition, offset)
) WITHOUT ROWID;
CREATE TRIGGER plan_replaced AFTER UPDATE OF plan_offset ON sessions
    WHEN old.plan_offset IS NOT NULL AND old.plan_offset <> new.plan_offset AND new.retired_ms IS NULL BEGIN
    INSERT OR REPLACE INTO earlier VALUES (
        old.session, 'plan', old.plan_partition, old.plan_offset, old.plan_ms,
        CASE WHEN old.requeues > 0 THEN 'requeued ' || old.requeues || '×' ELSE coalesce(old.asked, 'planned') END);
END;
CREATE TRIGGER result_replaced AFTER UPDATE OF result_offset ON sessions
    WHEN old.result_offset IS NOT NULL AND old.result_offset <> new.result_offset BEGIN
    INSERT OR REPLACE INTO earlier VALUES (
        old.session, 'result', old.result_partition, old.result_offset, old.settled_ms,
        old.result_status || coalesce(' ' || old.reason, '') || coalesce(': ' || old.message, ''));
END;
CREATE TRIGGER retired AFTER UPDATE OF retired_ms ON sessions WHEN new.retired_ms IS NOT NULL BEGIN
    DELETE FROM earlier WHERE session = new.session;
    DELETE FROM dry_runs WHERE session = new.session;
END;
CREATE TRIGGER forgotten AFTER DELETE ON sessions BEGIN
    DELETE FROM earlier WHERE session = old.session;
    DELETE FROM dry_runs WHERE session = old.session;
END;
CREATE TABLE rejected (
    topic TEXT, partition INTEGER, offset INTEGER, at_ms INTEGER, key TEXT, session TEXT, codes TEXT, reasons TEXT,
    rejected_by TEXT, source TEXT, opt_out INTEGER, sender TEXT, redrives INTEGER, redriven_from TEXT, size INTEGER,
    PRIMARY KEY (topic, partition, offset)
) WITHOUT ROWID;
CREATE INDEX rejected_sessions ON rejected (session);
CREATE INDEX rejected_again ON rejected (redriven_from);
CREATE TABLE actions (partition INTEGER, offset INTEGER, at_ms INTEGER, content TEXT, PRIMARY KEY (partition, offset))
    WITHOUT ROWID;
CREATE INDEX by_job ON actions (
    json_extract(content, '$.about'), json_extract(content, '$.action'), json_extract(content, '$.details.part'));
CREATE TABLE dry_runs (session TEXT PRIMARY KEY, partition INTEGER, offset INTEGER) WITHOUT ROWID;
"""
_INDEXES = """
CREATE INDEX IF NOT EXISTS by_place ON sessions (plan_partition, plan_offset);
CREATE INDEX IF NOT EXISTS by_item ON sessions (queue_item);
CREATE INDEX IF NOT EXISTS by_status ON sessions (status, reason, opt_out_open, unsettled, planned_ms);
CREATE INDEX IF NOT EXISTS by_urgency ON sessions (urgency, planned_ms, session);
CREATE INDEX IF NOT EXISTS unsettled_ones ON sessions (planned_ms) WHERE unsettled = 1;
CREATE INDEX IF NOT EXISTS open_opt_outs ON sessions (planned_ms) WHERE opt_out_open = 1;
CREATE INDEX IF NOT EXISTS dirty_ones ON sessions (dirty) WHERE dirty = 1;
"""
"""Made at the end of the first reading: a million rows in no order of theirs would write every page again and again."""
_AT_ONCE = 5_000
PARTS = (REPLAY.listing, REDRIVE.listing)
"""Actions that only list what a job is about."""

Values = Sequence[Any] | Mapping[str, Any]


class Unusable(Exception):
    """The file is damaged, or of something else."""


_NOT_WRITTEN = {"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_SHMSIZE"}


def raise_if_not_kept(path: Path, error: Exception) -> None:
    """Raises ViewNotKept for a full disk: it is not damaged, and making the view anew would not help."""
    if getattr(error, "sqlite_errorname", "") in _NOT_WRITTEN:
        raise ViewNotKept(
            f"the local view {path} cannot be written: {error}; free space there, or set WRITEBACK_VIEW_FOLDER to "
            "another folder, and call the command again"
        ) from None


class Store:
    """One process at a time may write; `ops.view.view` holds the lock."""

    def __init__(self, path: Path) -> None:
        """Raises Unusable, and ViewNotKept if there is no space."""
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=60)
        self._db.row_factory = sqlite3.Row
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = OFF")  # a torn file is noticed and made anew
            self._db.execute("PRAGMA cache_size = -65536")
            self._made()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise_if_not_kept(path, error)
            raise Unusable from None

    def _made(self) -> None:
        if not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._db.executescript(_TABLES)
            self._db.execute("INSERT INTO facts VALUES ('layout', ?)", (LAYOUT,))
        if self.facts().get("layout") != LAYOUT:
            raise sqlite3.DatabaseError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All of it, or nothing. Raises Unusable, and ViewNotKept if there is no space."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:  # without space SQLite may have rolled back by itself
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise_if_not_kept(self.path, error)
            raise Unusable from None

    def facts(self) -> dict[str, str]:
        return dict(self._db.execute("SELECT name, value FROM facts").fetchall())

    def keep_facts(self, facts: Mapping[str, str]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())

    def positions(self, topic: str) -> dict[int, int]:
        """Partition to the next offset to read."""
        found = self._db.execute("SELECT partition, next FROM positions WHERE topic = ?", (topic,))
        return dict(found.fetchall())

    def keep_positions(self, topic: str, positions: Mapping[int, int]) -> None:
        rows = [(topic, partition, offset) for partition, offset in positions.items()]
        self._db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", rows)

    def keep_sessions(self, rows: Sequence[Row]) -> None:
        """Rows of one kind, in their order."""
        if rows:
            names = list(rows[0])
            changed = ", ".join(f"{name} = excluded.{name}" for name in names if name != "session")
            self._db.executemany(
                f"INSERT INTO sessions ({', '.join(names)}, dirty) VALUES ({', '.join('?' * len(names))}, 1) "  # noqa: S608  our own names
                f"ON CONFLICT (session) DO UPDATE SET {changed}, dirty = 1",
                [tuple(row.values()) for row in rows],
            )

    def forget_plan(self, session: str) -> None:
        """Its plan was tombstoned."""
        self._forget(session, "plan")

    def forget_result(self, session: str) -> None:
        self._forget(session, "result")

    def _forget(self, session: str, kind: str) -> None:
        other = "result" if kind == "plan" else "plan"
        gone = f"DELETE FROM sessions WHERE session = ? AND {other}_offset IS NULL"  # noqa: S608  our own names
        self._db.execute(gone, (session,))
        emptied = ", ".join(f"{name} = NULL" for name in _COLUMNS_OF[kind])
        self._db.execute(f"UPDATE sessions SET {emptied}, dirty = 1 WHERE session = ?", (session,))  # noqa: S608

    def erase(self, sessions: Sequence[str], queue_items: Sequence[str]) -> None:
        """Also from the file's free space and its log. A topic that still holds something is read again if the view is
        made anew."""
        self._db.execute("PRAGMA secure_delete = ON")
        with self.writing():
            for session in sessions:
                self._db.execute("DELETE FROM sessions WHERE session = ?", (session,))
                for name in ("earlier", "dry_runs"):
                    self._db.execute(f"DELETE FROM {name} WHERE session = ?", (session,))  # noqa: S608  our own names
                self._db.execute("UPDATE rejected SET session = NULL, key = NULL WHERE session = ?", (session,))
            for item in queue_items:
                self._db.execute("DELETE FROM sessions WHERE queue_item = ?", (item,))
                self._db.execute("UPDATE rejected SET session = NULL, key = NULL WHERE key = ?", (item,))
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def keep_rejected(self, rows: Sequence[Row]) -> None:
        if rows:
            names = ", ".join(rows[0])
            marks = ", ".join("?" * len(rows[0]))
            self._db.executemany(
                f"INSERT OR REPLACE INTO rejected ({names}) VALUES ({marks})",  # noqa: S608  our own names
                [tuple(row.values()) for row in rows],
            )

    def forget_rejected(self, topic: str, first: Mapping[int, int]) -> None:
        """What the topic no longer holds. `first`: partition to the offset of its oldest record."""
        rows = [(topic, partition, offset) for partition, offset in first.items()]
        self._db.executemany("DELETE FROM rejected WHERE topic = ? AND partition = ? AND offset < ?", rows)

    def keep_dry_runs(self, places: Sequence[tuple[str, int, int]]) -> None:
        """Session, partition and offset of its last result in a dry run."""
        self._db.executemany("INSERT OR REPLACE INTO dry_runs VALUES (?, ?, ?)", places)

    def dry_run(self, session: str) -> tuple[int, int] | None:
        """Partition and offset."""
        found = self._db.execute("SELECT partition, offset FROM dry_runs WHERE session = ?", (session,)).fetchone()
        return None if found is None else (found[0], found[1])

    def keep_actions(self, rows: Sequence[tuple[int, int, int, str]]) -> None:
        """Partition, offset, time and JSON of what operators did."""
        self._db.executemany("INSERT OR REPLACE INTO actions VALUES (?, ?, ?, ?)", rows)

    def actions(self) -> list[Row]:
        """In the order in which they were recorded, each with its place; without lists of sessions of jobs."""
        found = self._db.execute(
            "SELECT * FROM actions WHERE json_extract(content, '$.action') NOT IN (?, ?) "
            "ORDER BY at_ms, partition, offset",
            PARTS,
        )
        return [
            {**json.loads(each["content"]), "place": f"{each['partition']}/{each['offset']}", "at_ms": each["at_ms"]}
            for each in found
        ]

    def actions_on(self, session: str) -> list[Row]:
        """What operators did about it, alone or with others."""
        found = self._db.execute(
            "SELECT * FROM actions WHERE json_extract(content, '$.about') = ? "
            "OR (json_extract(content, '$.action') = ? "
            "AND EXISTS (SELECT 1 FROM json_each(content, '$.details.items') WHERE value = ?)) "
            "ORDER BY at_ms, offset",
            (session, REPLAY.listing, session),
        )
        return [
            {**json.loads(each["content"]), "place": f"{each['partition']}/{each['offset']}", "at_ms": each["at_ms"]}
            for each in found
        ]

    def job_parts(self, job: str) -> Iterator[list[str]]:
        """The sessions of a replay, or the places of a redrive, part by part, in their order."""
        found = self._db.execute(
            "SELECT json_extract(content, '$.details.items') FROM actions "
            "WHERE json_extract(content, '$.action') IN (?, ?) AND json_extract(content, '$.about') = ? "
            "ORDER BY json_extract(content, '$.details.part')",
            (*PARTS, job),
        )
        yield from (json.loads(row[0]) for row in found)

    def job_part(self, job: str, number: int) -> list[str] | None:
        """None behind the last one."""
        found = self._db.execute(
            "SELECT json_extract(content, '$.details.items') FROM actions "
            "WHERE json_extract(content, '$.about') = ? AND json_extract(content, '$.action') IN (?, ?) "
            "AND json_extract(content, '$.details.part') = ?",
            (job, *PARTS, number),
        ).fetchone()
        return None if found is None else list(json.loads(found[0]))

    def redriven(self) -> set[str]:
        """Places of rejected records that a redrive has taken on."""
        found = self._db.execute(
            "SELECT item.value FROM actions, json_each(content, '$.details.items') AS item "
            "WHERE json_extract(content, '$.action') = ?",
            (REDRIVE.listing,),
        )
        return {row[0] for row in found}

    def redriven_parts_done(self, job: str) -> set[int]:
        found = self._db.execute(
            "SELECT json_extract(content, '$.details.part') FROM actions "
            "WHERE json_extract(content, '$.action') = ? AND json_extract(content, '$.about') = ?",
            (REDRIVE_SENT, job),
        )
        return {int(row[0]) for row in found}

    def rejected_at(self, places: Sequence[str]) -> list[Row]:
        """Rejected records at these places, in the given order, as far as they are still there."""
        parsed = [place.rsplit("/", 2) for place in places]
        found = [self.rejected("topic = ? AND partition = ? AND offset = ?", [*each]) for each in parsed]
        return [row for rows in found for row in rows]

    def rejected_again(self, place: str) -> Row | None:
        """The newest rejection of what was sent again from this place."""
        rows = self._rows("SELECT * FROM rejected WHERE redriven_from = ? ORDER BY at_ms DESC LIMIT 1", [place])
        return rows[0] if rows else None

    def select_replay(self, selectors: Selectors) -> ReplaySelection:
        """Keeps what is to be appended for `selected_for_replay`, as long as the store is open."""
        where, values = selectors.where()
        self._db.execute("DROP TABLE IF EXISTS temp.chosen")
        self._db.execute(f"CREATE TEMP TABLE chosen AS {_CHOSEN.format(where=where)}", values)
        self._db.execute(_BEHIND)
        found = self._db.execute("SELECT settled_as, count(*) FROM temp.chosen WHERE role = 0 GROUP BY settled_as")
        [behind] = self._db.execute("SELECT count(*) FROM temp.chosen WHERE role = 1").fetchone()
        rest = f"SELECT count(*) FROM sessions WHERE {where} AND "  # noqa: S608  our own words
        [unsettled] = self._db.execute(f"{rest} unsettled = 1", values).fetchone()
        [without] = self._db.execute(f"{rest} (plan_offset IS NULL OR retired_ms IS NOT NULL)", values).fetchone()
        chosen = {row[0]: int(row[1]) for row in found}
        return ReplaySelection(
            chosen=chosen, behind=int(behind), unsettled=int(unsettled), without_plan=int(without),
            unknown=self.unknown(selectors),
        )  # fmt: skip

    def unknown(self, selectors: Selectors) -> int:
        """How many of the sessions that are named were never planned, or are left out by the other selectors."""
        where, values = selectors.where()
        [known] = self._db.execute(f"SELECT count(*) FROM sessions WHERE {where}", values).fetchone()  # noqa: S608  our own words
        return len(set(selectors.session)) - int(known) if selectors.session else 0

    def selected_for_replay(self) -> Iterator[str]:
        """Sessions in the order of their plans on the topic."""
        yield from (row[0] for row in self._db.execute("SELECT session FROM temp.chosen ORDER BY partition, offset"))

    def plans_of(self, sessions: Sequence[str]) -> list[Row]:
        """Of those that have a plan, in the given order: what an operator needs to append it again."""
        found = self._db.execute(
            f"SELECT * FROM sessions WHERE session IN ({', '.join('?' * len(sessions))}) "  # noqa: S608  only marks
            "AND plan_offset IS NOT NULL AND retired_ms IS NULL",
            list(sessions),
        )
        rows = {row["session"]: dict(row) for row in found}
        return [rows[each] for each in sessions if each in rows]

    def came_of(self, job: str) -> ReplayProgress:
        """What came of a job's sessions so far."""
        found: Counter[Replayed] = Counter()
        for sessions in self.job_parts(job):
            marks = ", ".join("(?)" for _ in sessions)
            rows = self._db.execute(_CAME.format(marks=marks), [*sessions, job])
            for count, sent, gone, unsettled, status, reason, new_result, settled in rows:
                alike = Replayed(0, bool(sent), bool(gone), bool(unsettled), status, reason, bool(new_result), settled)
                found[alike] += count
        return ReplayProgress(tuple(replace(each, sessions=count) for each, count in found.items()))

    def counts_between(self, partition: int, first: int, behind: int) -> dict[str, int]:
        """Status to how many sessions have their newest plan among these offsets."""
        found = self._db.execute(
            "SELECT status, count(*) FROM sessions WHERE plan_partition = ? AND plan_offset >= ? AND plan_offset < ? "
            "GROUP BY status",
            (partition, first, behind),
        )
        return {row[0]: row[1] for row in found}

    def keep_frontiers(self, frontiers: Mapping[int, Frontier]) -> None:
        """Marks every session whose state may follow from it to be judged anew."""
        before = dict(self._db.execute("SELECT partition, offset FROM frontiers").fetchall())
        self._db.execute("UPDATE sessions SET dirty = 1 WHERE unsettled = 1")
        for partition, frontier in frontiers.items():
            lower = min(frontier.offset or 0, before.get(partition) or 0)
            self._db.execute(
                "UPDATE sessions SET dirty = 1 WHERE plan_partition = ? AND plan_offset >= ?", (partition, lower)
            )
        self._db.execute("DELETE FROM frontiers")
        self._db.execute("DELETE FROM beyond")
        self._db.executemany(
            "INSERT INTO frontiers VALUES (?, ?, ?)",
            [(partition, each.offset, int(each.complete)) for partition, each in frontiers.items()],
        )
        self._db.executemany(
            "INSERT INTO beyond VALUES (?, ?, ?)",
            [(partition, *each) for partition, frontier in frontiers.items() for each in frontier.settled_beyond],
        )

    def judge(self) -> None:
        """States of all sessions that were touched. In bounded memory, however many."""
        self._db.create_function("judged", 12, _judged, deterministic=True)
        self._db.execute(_JUDGE)
        for index in filter(str.strip, _INDEXES.split(";")):
            self._db.execute(index)

    def count(self, selectors: Selectors) -> int:
        where, values = selectors.where()
        return int(self._db.execute(f"SELECT count(*) FROM sessions WHERE {where}", values).fetchone()[0])  # noqa: S608

    def counts(self, selectors: Selectors) -> list[Row]:
        """By status and reason."""
        where, values = selectors.where()
        return self._rows(
            "SELECT status, reason, count(*) AS sessions, sum(opt_out_open) AS opt_outs_open, "  # noqa: S608
            "sum(unsettled) AS unsettled, min(planned_ms) AS oldest_ms FROM sessions "
            f"WHERE {where} GROUP BY status, reason ORDER BY status, reason",
            values,
        )

    def oldest_unsettled_ms(self, selectors: Selectors) -> int | None:
        where, values = selectors.where()
        query = f"SELECT min(planned_ms) FROM sessions WHERE unsettled = 1 AND {where}"  # noqa: S608  our own words
        found = self._db.execute(query, values).fetchone()[0]
        return None if found is None else int(found)

    def sessions(self, selectors: Selectors, *, sort: Sort = Sort.URGENT, limit: int | None = None) -> Iterator[Row]:
        where, values = selectors.where()
        query = f"SELECT * FROM sessions WHERE {where} ORDER BY {ORDER[sort]} LIMIT ?"  # noqa: S608  our own words
        yield from map(dict, self._db.execute(query, [*values, -1 if limit is None else limit]))

    def session(self, session: str) -> Row | None:
        found = self._rows("SELECT * FROM sessions WHERE session = ?", [session])
        return found[0] if found else None

    def earlier(self, session: str) -> list[Row]:
        return self._rows("SELECT * FROM earlier WHERE session = ? ORDER BY at_ms, offset", [session])

    def rejected(self, where: str = "1", values: Sequence[Any] = (), *, limit: int | None = None) -> list[Row]:
        query = f"SELECT rejected.*, {_SINCE} FROM rejected WHERE {where} "  # noqa: S608  our own words
        query += "ORDER BY opt_out DESC, at_ms, topic, partition, offset LIMIT ?"
        return self._rows(query, [*values, -1 if limit is None else limit])

    def rejected_counts(self) -> list[Row]:
        """`opt_outs`: those that nobody has taken up. One that was sent again counts where it was rejected again; one
        whose session has a plan that opts out is that session's.
        """
        return self._rows(
            "SELECT topic, codes, rejected_by, count(*) AS records, min(at_ms) AS first_ms, "
            "sum(opt_out AND NOT EXISTS (SELECT 1 FROM rejected AS again WHERE again.redriven_from ="
            " rejected.topic || '/' || rejected.partition || '/' || rejected.offset) AND NOT EXISTS"
            " (SELECT 1 FROM sessions WHERE sessions.session = rejected.session AND sessions.opt_out)) AS opt_outs, "
            "max(at_ms) AS last_ms FROM rejected GROUP BY topic, codes, rejected_by "
            "ORDER BY opt_outs > 0 DESC, records DESC, codes",
            [],
        )

    def query(self, query: str, values: Values = ()) -> Iterator[Row]:
        """Rows of a question that one command alone has."""
        yield from map(dict, self._db.execute(query, values))

    def change(self, statement: str, values: Values = ()) -> None:
        """Of a table that one command alone has."""
        self._db.execute(statement, values)

    def _rows(self, query: str, values: Sequence[Any]) -> list[Row]:
        return [dict(each) for each in self._db.execute(query, values)]


def remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).unlink()


def in_pieces(rows: Iterable[Row], size: int = _AT_ONCE) -> Iterator[list[Row]]:
    left = iter(rows)
    while piece := list(islice(left, size)):
        yield piece


_COLUMNS_OF = {
    "plan": (
        "plan_partition", "plan_offset", "plan_ms", "requeues", "not_before_ms", "asked", "job", "digest", "retired_ms",
    ),
    "result": (
        "result_partition", "result_offset", "result_ms", "result_status", "reason", "message", "conflicts", "gaps",
        "attempts", "settled_ms", "first_settled_ms", "settled_as", "opt_out_decided",
        "about_partition", "about_offset", "written_by",
    ),
}  # fmt: skip

_SINCE = """
(SELECT coalesce(s.status, 'queued') FROM sessions AS s
 WHERE s.session = rejected.session AND s.plan_offset IS NOT NULL) AS since_status,
(SELECT s.opt_out FROM sessions AS s WHERE s.session = rejected.session) AS since_opt_out,
EXISTS (SELECT 1 FROM rejected AS again
        WHERE again.redriven_from = rejected.topic || '/' || rejected.partition || '/' || rejected.offset)
    AS rejected_again
"""
"""What became of a rejected record's session, and of the record where it was sent again."""

_CHOSEN = (
    "SELECT session, queue_item, plan_partition AS partition, plan_offset AS offset, settled_as, 0 AS role "
    "FROM sessions WHERE {where} AND plan_offset IS NOT NULL AND retired_ms IS NULL AND unsettled = 0"
)
_BEHIND = """
INSERT INTO temp.chosen
    SELECT s.session, s.queue_item, s.plan_partition, s.plan_offset, s.settled_as, 1
    FROM (SELECT queue_item, min(offset) AS first FROM temp.chosen GROUP BY queue_item) AS item
    JOIN sessions AS s ON s.queue_item = item.queue_item
    WHERE s.unsettled = 1 AND s.retired_ms IS NULL AND s.plan_offset > item.first
"""
_CAME = """
WITH wanted(session) AS (VALUES {marks})
SELECT count(*), coalesce(s.job, '') = ?, s.plan_offset IS NULL OR s.retired_ms IS NOT NULL, coalesce(s.unsettled, 0),
    s.status, s.reason, (s.about_partition, s.about_offset) IS (s.plan_partition, s.plan_offset), s.settled_as
FROM wanted LEFT JOIN sessions AS s ON s.session = wanted.session
GROUP BY 2, 3, 4, 5, 6, 7, 8
"""

_COMMITTED = """
CASE
    WHEN (SELECT offset FROM frontiers WHERE partition = s.plan_partition) > s.plan_offset THEN 'settled'
    WHEN (SELECT behind FROM beyond WHERE partition = s.plan_partition AND first <= s.plan_offset
          ORDER BY first DESC LIMIT 1) > s.plan_offset THEN 'settled'
    WHEN (SELECT complete FROM frontiers WHERE partition = s.plan_partition) = 0 THEN 'not said'
    ELSE 'unsettled'
END
"""
_JUDGE = f"""
UPDATE sessions AS s SET dirty = 0, state = judged(
    s.plan_partition, s.plan_offset, s.retired_ms IS NOT NULL, s.result_status, s.settled_as, s.about_partition,
    s.about_offset, s.opt_out, {_COMMITTED}, s.plan_offset IS NOT NULL, s.result_offset IS NOT NULL, s.opt_out_decided)
WHERE s.dirty = 1
"""  # noqa: S608  our own words


def _judged(
    partition: int, offset: int, retired: int, result_status: str | None, settled_as: str | None,
    about_partition: int, about_offset: int, opt_out: int, committed: str, planned: int, has_result: int,
    opt_out_decided: int | None,
) -> str:  # fmt: skip
    """`core.sessions.state_of` for SQL."""
    plan = PlanSeen(partition, offset, bool(retired)) if planned else None
    settled = None if settled_as is None else Settled(settled_as)
    result = (
        ResultSeen(ResultStatus(str(result_status)), settled, about_partition, about_offset, bool(opt_out_decided))
        if has_result
        else None
    )
    state = state_of(plan, result, Committed(committed), opt_out=bool(opt_out))
    return f"{int(state.unsettled)}{int(state.opt_out_open)}{urgency(state)}{state.status}"
