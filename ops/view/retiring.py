"""The sessions that a run of `retire` is about, in a temporary table beside the view: any number, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

from ops.core.retiring import FATE, OLD_ITEMS, Limits, Retirement
from ops.core.rows import Row
from ops.view.store import Store

_MADE = f"""
INSERT INTO temp.retiring
SELECT session, queue_item, plan_partition, plan_offset, planned_ms, result_partition, fate, NULL FROM (
    SELECT *, {FATE} AS fate FROM sessions
    WHERE status = 'retired' OR queue_item IN ({OLD_ITEMS})
) WHERE fate IS NOT NULL
"""  # noqa: S608  our own words


class Retiring:
    """One run at a time for a connection."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        store.change("DROP TABLE IF EXISTS temp.retiring")
        store.change(
            "CREATE TEMP TABLE retiring (session TEXT UNIQUE, queue_item TEXT, plan_partition INTEGER, "
            "plan_offset INTEGER, planned_ms INTEGER, result_partition INTEGER, fate TEXT, mark BLOB, "
            "PRIMARY KEY (queue_item, session)) WITHOUT ROWID"
        )
        store.change(_MADE, limits.values())

    def counts(self) -> dict[Retirement, int]:
        found = self._store.query("SELECT fate, count(*) AS sessions FROM temp.retiring GROUP BY fate")
        return dict.fromkeys(Retirement, 0) | {Retirement(each["fate"]): each["sessions"] for each in found}

    def first_offsets(self) -> dict[int, int]:
        """Partition to the offset of its first plan that is concerned."""
        query = (
            "SELECT plan_partition AS at, min(plan_offset) AS first FROM temp.retiring "
            "WHERE plan_offset IS NOT NULL GROUP BY 1"
        )
        return {each["at"]: each["first"] for each in self._store.query(query)}

    def of(self, session: str) -> Row | None:
        return next(self._store.query("SELECT * FROM temp.retiring WHERE session = ?", [session]), None)

    def keep_mark(self, session: str, mark: bytes) -> None:
        self._store.change("UPDATE temp.retiring SET mark = ? WHERE session = ?", [mark, session])

    def drop(self, queue_item: str | None, session: str) -> None:
        """Its whole queue item is left out."""
        self._store.change("DELETE FROM temp.retiring WHERE queue_item = ? OR session = ?", [queue_item, session])

    def pieces(self, size: int) -> Iterator[list[Row]]:
        """All of them, an item's sessions together. A plan whose record could not be found is left out."""
        query = (
            "SELECT * FROM temp.retiring WHERE (fate <> 'mark' OR mark IS NOT NULL) AND (queue_item, session) > (?, ?) "
            "ORDER BY queue_item, session LIMIT ?"
        )
        last = ("", "")
        while rows := list(self._store.query(query, [*last, size])):
            yield rows
            last = (rows[-1]["queue_item"], rows[-1]["session"])
