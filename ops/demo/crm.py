"""What the CRM's own records and operation log say, in the audit's words. Column names come from the mapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from ops.demo.audit import Crm, ItemState
from planner.mapping import MappingFile
from schemas.records import QueueStatus


@dataclass
class Landings:
    """Every update of a queue item by a write-back, in the order of the operation log; grows as the log is read."""

    mapping: MappingFile
    seen: int = 0
    updates: list[tuple[str, str]] = field(default_factory=list)
    _current: dict[str, str] = field(default_factory=dict)

    def take(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """An update that changes no session id repeats the one before; claims and releases are the call system's, not
        ours."""
        claimed = self.mapping.option_sets["queue_status.in_progress"].value
        session_column = self.mapping.fields["queue.last_session_id"].logical_name
        status_column = self.mapping.fields["queue.status"].logical_name
        attempts_column = self.mapping.fields["queue.attempt_count"].logical_name
        for entry in entries:
            self.seen = entry["seq"]
            before, after = entry["changes"].get(status_column, (None, None))
            released = before == claimed and not {session_column, attempts_column} & entry["changes"].keys()
            if entry["operation"] == "create" or after == claimed or released:
                continue
            item = entry["id"]
            if session_column in entry["changes"]:
                self._current[item] = entry["changes"][session_column][1]
            self.updates.append((item, self._current.get(item, "")))


class CrmReader:
    """Reads over the simulator's control endpoint; the only part of the demo that speaks HTTP."""

    def __init__(self, url: str, mapping: MappingFile) -> None:
        self._client = httpx.Client(base_url=f"{url}/_control/", timeout=30)
        self._mapping = mapping
        self.landings = Landings(mapping)

    def close(self) -> None:
        self._client.close()

    def landed(self) -> int:
        """How many updates by write-backs the operation log holds by now."""
        table = self._mapping.entities["queue_item"].logical_name
        while True:
            where = {"after": self.landings.seen, "table": table, "outcome": "committed", "limit": 5000}
            entries = self._get("oplog", **where)["entries"]
            self.landings.take(entries)
            if len(entries) < 5000:
                return len(self.landings.updates)

    def refused_since(self, seq: int, entity: Any) -> int:
        """How many writes to a table the CRM has refused or undone since a place in its operation log."""
        where = {"after": seq, "table": self._mapping.entities[entity].logical_name, "limit": 5000}
        return sum(entry["outcome"] != "committed" for entry in self._get("oplog", **where)["entries"])

    def read(self) -> Crm:
        self.landed()
        calls, completed = self._column("phone_call.idempotency_key"), self._column("phone_call.state")
        done = self._mapping.option_sets["phone_call_state.completed"].value
        phone_calls = [(row[calls], row[completed] == done) for row in self._rows("phone_call")]
        return Crm(
            calls=[session for session, _ in phone_calls],
            open_calls=[session for session, is_completed in phone_calls if not is_completed],
            tasks=[row[self._column("task.idempotency_key")] for row in self._rows("task")],
            items=self._items(),
            updates=self.landings.updates,
        )

    def _items(self) -> dict[str, ItemState]:
        status = {self._mapping.option_sets[f"queue_status.{label}"].value: label for label in QueueStatus}
        return {
            row[self._mapping.entities["queue_item"].primary_id]: ItemState(
                status=status.get(row[self._column("queue.status")]),
                attempts=row[self._column("queue.attempt_count")] or 0,
                do_not_call=bool(row[self._column("queue.do_not_call")]),
                last_session_id=row[self._column("queue.last_session_id")],
            )
            for row in self._rows("queue_item")
        }

    def _column(self, concept: str) -> str:
        return self._mapping.fields[concept].logical_name

    def _rows(self, entity: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._get(f"rows/{self._mapping.entities[entity].entity_set_name}")["rows"]
        return rows

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        reply = self._client.get(path, params=query)
        reply.raise_for_status()
        answer: dict[str, Any] = reply.json()
        return answer
