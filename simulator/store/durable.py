"""Rows that outlive the process: snapshots as JSON, and an SQLite file that follows every transaction."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from simulator.store.memory import Change, Row, Snapshot

_TABLES = """
CREATE TABLE IF NOT EXISTS rows (
    logical_name TEXT, id TEXT, version INTEGER, body TEXT, targets TEXT, PRIMARY KEY (logical_name, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY, entry TEXT);
"""


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """Plain data: table → id → [values, targets, version]."""
    rows = {
        table: {record_id: [row.values, row.targets, row.version] for record_id, row in held.items()}
        for table, held in snapshot.rows.items()
    }
    return {"version": snapshot.version, "rows": rows}


def from_json(plain: dict[str, Any]) -> Snapshot:
    """Raises KeyError, TypeError or ValueError for data that is no snapshot."""
    if not isinstance(plain["rows"], dict):
        raise TypeError("a snapshot holds rows by table")
    rows = {
        str(table): {record_id: Row(values, targets, version) for record_id, (values, targets, version) in held.items()}
        for table, held in plain["rows"].items()
    }
    return Snapshot(rows, int(plain["version"]))


class SqliteFile:
    """One file with the rows and the operation log. Written in the transaction's own order, read once at start."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        # The answer to a client waits for the file system only at a checkpoint: this is a test double, not a bank.
        self._connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _TABLES)

    def load(self) -> Snapshot:
        """What the file holds; empty for a new one."""
        rows: dict[str, dict[str, Row]] = {}
        highest = 0
        for table, record_id, version, body, targets in self._connection.execute(
            "SELECT logical_name, id, version, body, targets FROM rows ORDER BY version"
        ):
            rows.setdefault(table, {})[record_id] = Row(json.loads(body), json.loads(targets), version)
            highest = max(highest, version)
        return Snapshot(rows, highest)

    def entries(self, limit: int) -> list[dict[str, Any]]:
        """The newest log entries, oldest first."""
        newest = self._connection.execute("SELECT entry FROM log ORDER BY seq DESC LIMIT ?", (limit,)).fetchall()
        return [json.loads(entry) for (entry,) in reversed(newest)]

    def save(self, changes: list[Change], entries: list[dict[str, Any]]) -> None:
        """One transaction's changes, and the log entries made since the last call."""
        cursor = self._connection.cursor()
        cursor.execute("BEGIN")
        for table, record_id, _, after in changes:
            if after is None:
                cursor.execute("DELETE FROM rows WHERE logical_name = ? AND id = ?", (table, record_id))
            else:
                row = (table, record_id, after.version, json.dumps(after.values), json.dumps(after.targets))
                cursor.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?)", row)
        cursor.executemany(
            "INSERT OR REPLACE INTO log VALUES (?, ?)", [(entry["seq"], json.dumps(entry)) for entry in entries]
        )
        cursor.execute("COMMIT")

    def replace(self, snapshot: Snapshot) -> None:
        """Forget all rows and hold these."""
        self._connection.execute("DELETE FROM rows")
        changes: list[Change] = [
            (table, record_id, None, row) for table, held in snapshot.rows.items() for record_id, row in held.items()
        ]
        self.save(changes, [])

    def close(self) -> None:
        self._connection.close()
