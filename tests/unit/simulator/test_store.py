"""The store against a plain dictionary: puts, removes, rollbacks, commits, snapshots and indexes in any order."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from simulator.ids import SequentialIds
from simulator.store import Row, Store
from simulator.store.durable import SqliteFile, from_json, to_json
from simulator.store.memory import fold

IDS = st.sampled_from("abcdef")
NAMES = st.sampled_from(["Anna", "anna", "Bert", None, 1, 2])


class StoreAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.model: dict[Any, Any] = {}
        self.marks: list[Any] = []

    @rule(record_id=IDS, name=NAMES)
    def put(self, record_id: Any, name: Any) -> None:
        self.store.put("t", record_id, Row({"name": name}, {}, self.store.next_version()))
        self.model[record_id] = name

    @rule(record_id=IDS)
    def remove(self, record_id: Any) -> None:
        if record_id in self.model:
            self.store.remove("t", record_id)
            del self.model[record_id]

    @rule()
    def mark(self) -> None:
        self.marks.append((self.store.mark(), dict(self.model)))

    @precondition(lambda self: self.marks)
    @rule()
    def rollback(self) -> None:
        mark, self.model = self.marks.pop()
        self.store.rollback(mark)

    @rule()
    def commit(self) -> None:
        self.store.commit()
        self.marks.clear()

    @rule()
    def there_and_back(self) -> None:
        snapshot = self.store.snapshot()
        self.store.put("t", "a", Row({"name": "gone"}, {}, self.store.next_version()))
        self.store.restore(snapshot)
        self.marks.clear()

    @rule(name=NAMES)
    def question(self, name: Any) -> None:
        """The first one builds the index, later ones rely on its upkeep."""
        found = set(self.store.matching("t", "name", name))
        assert found == {key for key, held in self.model.items() if fold(held) == fold(name)}

    @invariant()
    def same_rows(self) -> None:
        assert {key: row.values["name"] for key, row in self.store.table("t").items()} == self.model


TestStoreAgainstModel = StoreAgainstModel.TestCase


@given(st.dictionaries(IDS, NAMES))
def test_a_snapshot_survives_json(rows: Any) -> None:
    store = Store()
    for record_id, name in rows.items():
        store.put("t", record_id, Row({"name": name}, {"x": "y"}, store.next_version()))
    back = from_json(to_json(store.snapshot()))
    assert {key: (row.values, row.targets, row.version) for key, row in back.rows.get("t", {}).items()} == {
        key: (row.values, row.targets, row.version) for key, row in store.table("t").items()
    }


class StoreOnFile(StoreAgainstModel):
    """The same with a file that keeps one row in memory, with restarts, and with snapshots older than many changes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.snapshots: list[Any] = []
        self.open()
        self.committed: dict[Any, Any] = {}

    def open(self) -> None:
        self.file = SqliteFile(Path(self.folder.name) / "rows.sqlite", most_held=1)
        self.store = Store()
        self.store.restore(self.file.load())
        self.store.columns = self.file
        self.store.on_commit = self.save

    def save(self, changes: Any) -> None:
        for table, record_id, row in self.file.save(changes, (), {"version": self.store.version, "log": 0}, 10):
            self.store.hold(table, record_id, row)
        self.committed = dict(self.model)

    @rule()
    def there_and_back(self) -> None:
        self.commit()
        self.snapshots.append((self.store.snapshot(), dict(self.model)))

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def back(self, data: Any) -> None:
        """To any snapshot that was taken since the start, whatever was overwritten meanwhile."""
        self.commit()
        snapshot, self.model = data.draw(st.sampled_from(self.snapshots))
        self.model = dict(self.model)
        self.store.restore(snapshot)
        self.committed = dict(self.model)

    @rule()
    def start_again(self) -> None:
        """What was not committed is gone."""
        self.file.close()
        self.marks, self.snapshots, self.model = [], [], dict(self.committed)
        self.open()

    def teardown(self) -> None:
        self.file.close()
        self.folder.cleanup()


TestStoreOnFile = StoreOnFile.TestCase
# Each example opens files and waits for the disk.
TestStoreOnFile.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Any]:
    with closing(SqliteFile(tmp_path / "rows.sqlite", most_held=10)) as file:
        yield file


def filled(file: Any, count: Any) -> Any:
    store = Store()
    for number in range(count):
        values = {"name": f"N{number}", "empty": None, "yes": True, "sum": 1.5}
        store.put("t", f"id{number}", Row(values, {"name": "x"}, store.next_version()))
    store.on_commit = lambda changes: file.save(changes, (), {"version": store.version, "log": 0}, 10)
    store.commit()
    return store


def test_S1_a_start_reads_where_the_rows_are_and_not_the_rows(file: Any) -> None:
    filled(file, 500)
    rows = file.load().rows["t"]
    assert len(rows) == 500
    assert not any(holds_values(row) for row in rows.values())
    assert rows["id7"].values == {"name": "N7", "empty": None, "yes": True, "sum": 1.5}
    assert rows["id7"].targets == {"name": "x"}


def test_S2_memory_holds_no_more_rows_than_it_may_however_many_are_looked_at(file: Any) -> None:
    filled(file, 500)
    rows = file.load().rows["t"]
    assert sum(row.values["sum"] for row in rows.values()) == 750
    assert sum(holds_values(row) for row in rows.values()) == 10


def test_S2_an_index_reads_no_row(file: Any) -> None:
    filled(file, 500)
    store = Store(columns=file)
    store.restore(file.load())
    assert list(store.matching("t", "name", "n33")) == ["id33"]
    assert list(store.matching("t", "yes", True)) == list(store.table("t"))
    assert list(store.matching("t", "empty", None)) == list(store.table("t"))
    assert not any(holds_values(row) for row in store.table("t").values())


def test_S3_what_the_file_forgets_a_snapshot_still_shows(file: Any) -> None:
    filled(file, 50)
    store = Store()
    store.restore(file.load())
    before = store.snapshot()
    store.on_commit = lambda changes: file.save(changes, (), {"version": store.version, "log": 0}, 10)
    store.put("t", "id3", Row({"name": "changed"}, {}, store.next_version()))
    store.remove("t", "id4")
    store.commit()
    assert (before.rows["t"]["id3"].values["name"], before.rows["t"]["id4"].values["name"]) == ("N3", "N4")


def holds_values(row: Any) -> bool:
    """Without looking at them, which would fetch them."""
    try:
        object.__getattribute__(row, "values")
    except AttributeError:
        return False
    return True


def test_a_transaction_that_the_disk_did_not_take_leaves_no_columns_behind_that_the_file_does_not_know(
    file: Any, tmp_path: Path
) -> None:
    store = filled(file, 1)
    marks = {"version": store.version, "log": 0}
    never = Row({"name": "N", "sum": object()}, {}, store.next_version())  # SQLite takes no such value
    with pytest.raises(Exception, match=r"object|serializable|type"):
        file.save([("t", "new", None, never)], (), marks, 10)
    store.put("t", "later", Row({"name": "L", "sum": 2.5}, {}, store.next_version()))
    store.commit()
    file.close()
    with closing(SqliteFile(tmp_path / "rows.sqlite", most_held=10)) as again:
        assert again.load().rows["t"]["later"].values == {"name": "L", "sum": 2.5}


def test_rows_are_found_in_the_order_in_which_they_were_made_after_a_restart_too(file: Any) -> None:
    store = filled(file, 5)
    store.on_commit = None
    store.restore(file.load())
    store.on_commit = lambda changes: file.save(changes, (), {"version": store.version, "log": 0}, 10)
    store.put("t", "id1", Row({"name": "changed"}, {}, store.next_version()))
    store.commit()
    assert list(file.load().rows["t"]) == [f"id{number}" for number in range(5)]


def test_a_file_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as old:
        old.execute("CREATE TABLE rows (id TEXT)")
        old.commit()
    with pytest.raises(ValueError, match=r"old\.sqlite is not a file of this version"):
        SqliteFile(path)


def test_ids_are_unique_in_order_and_the_same_for_the_same_seed() -> None:
    first, second = SequentialIds(7), SequentialIds(7)
    made = [first() for _ in range(1000)]
    assert made == [second() for _ in range(1000)] == sorted(made)
    assert len(set(made)) == 1000
    assert SequentialIds(8)() != made[0]
