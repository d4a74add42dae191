"""The store against a plain dictionary: puts, removes, rollbacks, commits, snapshots and indexes in any order."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from simulator.ids import SequentialIds
from simulator.store import Row, Store
from simulator.store.durable import SqliteFile, from_json, to_json
from simulator.store.memory import fold

IDS = st.sampled_from("abcdef")
NAMES = st.sampled_from(["Anna", "anna", "Bert", None, 1, 2])


class StoreAgainstModel(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.store = Store()
        self.model = {}
        self.marks = []

    @rule(record_id=IDS, name=NAMES)
    def put(self, record_id, name):
        self.store.put("t", record_id, Row({"name": name}, {}, self.store.next_version()))
        self.model[record_id] = name

    @rule(record_id=IDS)
    def remove(self, record_id):
        if record_id in self.model:
            self.store.remove("t", record_id)
            del self.model[record_id]

    @rule()
    def mark(self):
        self.marks.append((self.store.mark(), dict(self.model)))

    @precondition(lambda self: self.marks)
    @rule()
    def rollback(self):
        mark, self.model = self.marks.pop()
        self.store.rollback(mark)

    @rule()
    def commit(self):
        self.store.commit()
        self.marks.clear()

    @rule()
    def there_and_back(self):
        snapshot = self.store.snapshot()
        self.store.put("t", "a", Row({"name": "gone"}, {}, self.store.next_version()))
        self.store.restore(snapshot)
        self.marks.clear()

    @rule(name=NAMES)
    def question(self, name):
        """The first one builds the index, later ones rely on its upkeep."""
        found = set(self.store.matching("t", "name", name))
        assert found == {key for key, held in self.model.items() if fold(held) == fold(name)}

    @invariant()
    def same_rows(self):
        assert {key: row.values["name"] for key, row in self.store.table("t").items()} == self.model


TestStoreAgainstModel = StoreAgainstModel.TestCase


@given(st.dictionaries(IDS, NAMES))
def test_a_snapshot_survives_json(rows):
    store = Store()
    for record_id, name in rows.items():
        store.put("t", record_id, Row({"name": name}, {"x": "y"}, store.next_version()))
    back = from_json(to_json(store.snapshot()))
    assert {key: (row.values, row.targets, row.version) for key, row in back.rows.get("t", {}).items()} == {
        key: (row.values, row.targets, row.version) for key, row in store.table("t").items()
    }


def test_the_sqlite_file_follows_every_commit(tmp_path):
    file = SqliteFile(tmp_path / "rows.sqlite")
    store = Store(on_commit=lambda changes: file.save(changes, [{"seq": 1}]))
    store.put("t", "a", Row({"name": "A"}, {}, store.next_version()))
    store.put("t", "b", Row({"name": "B"}, {}, store.next_version()))
    store.commit()
    store.remove("t", "a")
    store.commit()
    file.close()
    again = SqliteFile(tmp_path / "rows.sqlite")
    assert set(again.load().rows["t"]) == {"b"}
    assert [entry["seq"] for entry in again.entries(10)] == [1]
    again.close()


def test_ids_are_unique_in_order_and_the_same_for_the_same_seed():
    first, second = SequentialIds(7), SequentialIds(7)
    made = [first() for _ in range(1000)]
    assert made == [second() for _ in range(1000)] == sorted(made)
    assert len(set(made)) == 1000
    assert SequentialIds(8)() != made[0]
