import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from structlog.testing import CapturingLogger

from planner.core.pin import Pin, pin_of
from planner.core.retirement import mark_of
from planner.errors import PinsUnusable
from planner.metrics import Metrics
from planner.pins.disk import DiskPins
from planner.pins.index import PinIndex
from planner.pins.memory import MemoryPins
from planner.pins.recovery import PinRecovery
from planner.settings import read_settings
from planner.wiring import _pins
from runtime.errors import RegistryUnavailable, Unavailable
from schemas.codec import Codec, NoSchemaRegistry, UnknownSchema, single_object
from schemas.headers import REPLAN
from schemas.records import CallOutcome, Disposition, PlannedWriteback, Source
from schemas.wire import SchemaId
from tests.support.factories import NOON, make_outcome, make_plan
from tests.unit.planner.strategies import an_earlier


class Message:
    def __init__(self, key, value, *, partition=0, offset=0, headers=()):
        self.key, self.value, self.partition, self.offset, self.headers = key, value, partition, offset, headers


def a_pin(session: str, item: str = "item", offset: int = 0, *, time: int = -1, digest: bytes = b"", **columns) -> Pin:
    plan = an_earlier(session, offset, time=time, **{"last": session, "count": 1} | columns)
    return Pin(item, digest or session.encode().ljust(16, b"\0")[:16], plan)


def a_planned_pin(session: str, offset: int, *, plan_digest: bytes = b"", replaces: bytes | None = None) -> Pin:
    pin = a_pin(session, offset=offset)
    return replace(pin, plan=replace(pin.plan, digest=plan_digest or bytes(16)), replaces=replaces)


def a_mark(session: str, item: str = "item", offset: int = 0) -> Pin:
    pin = a_pin(session, item, offset)
    return replace(pin, plan=replace(pin.plan, retired=True, columns={}))


def earlier(pins: PinIndex, partition: int = 0, item: str = "item"):
    """Oldest first."""
    return pins.earlier(partition, item, lambda plans: list(plans)[::-1])


def sessions(pins: PinIndex, partition: int = 0, item: str = "item"):
    return [each.session_id for each in earlier(pins, partition, item)]


@pytest.fixture(params=["memory", "disk"])
def pins(request, tmp_path: Path):
    if request.param == "memory":
        yield MemoryPins()
    else:
        held = DiskPins(tmp_path / "pins")
        yield held
        held.close()


def test_P1_a_session_is_known_again_after_it_was_pinned(pins: PinIndex):
    assert pins.digest(0, "a") is None
    pins.pin(0, [a_pin("a")])
    assert pins.digest(0, "a") == a_pin("a").digest
    assert len(pins) == 1


def test_P1_the_first_plan_of_a_session_stays(pins: PinIndex):
    pins.pin(0, [a_pin("a", offset=1, note="first")])
    pins.pin(0, [a_pin("a", offset=9, digest=b"x" * 16, note="second")])
    assert pins.digest(0, "a") == a_pin("a").digest
    assert [each.columns["note"] for each in earlier(pins)] == ["first"]


def test_partitions_are_apart(pins: PinIndex):
    pins.pin(0, [a_pin("a")])
    assert pins.digest(1, "a") is None
    assert earlier(pins, 1) == []


def test_the_plans_of_a_queue_item_come_newest_first_all_of_them_whatever_order_they_were_read_in(pins: PinIndex):
    offsets = [5, 1, 9, 3, 7, 11, 2, 4, 6, 8, *range(12, 100)]
    pins.pin(0, [a_pin(f"s{offset}", offset=offset) for offset in offsets])
    newest_first = pins.earlier(0, "item", list)
    assert [each.order[1] for each in newest_first] == sorted(offsets, reverse=True)
    assert newest_first[0] == a_pin("s99", offset=99).plan


def test_plans_are_ordered_by_time_and_offset_together(pins: PinIndex):
    """A topic that was created anew counts from 0 again."""
    pins.pin(0, [a_pin("new", offset=0, time=2_000), a_pin("old", offset=900, time=1_000), a_pin("none", offset=950)])
    pins.pin(0, [a_pin("newer", offset=1, time=2_000)])
    assert sessions(pins) == ["none", "old", "new", "newer"]


def test_a_reader_takes_no_more_than_it_needs(pins: PinIndex):
    pins.pin(0, [a_pin(f"s{offset}", offset=offset) for offset in range(5)])
    assert pins.earlier(0, "item", lambda plans: next(iter(plans)).session_id) == "s4"
    assert pins.earlier(0, "another", list) == []


def test_the_mark_of_a_retired_session_takes_the_place_of_its_plan_and_lists_no_columns(pins: PinIndex):
    pins.pin(0, [a_pin("a"), a_pin("b", offset=1)])
    pins.recover(0, [("a", a_mark("a")), ("a", a_mark("a")), ("a", a_pin("a"))], 12)
    assert [(each.session_id, each.retired, dict(each.columns)) for each in earlier(pins)] == [
        ("a", True, {}),
        ("b", False, {"last": "b", "count": 1}),
    ]
    assert pins.digest(0, "a") == a_pin("a").digest
    assert len(pins) == 2
    pins.recover(0, [("a", None)], 13)
    assert (pins.digest(0, "a"), sessions(pins), len(pins)) == (None, ["b"], 1)


def test_P1_a_plan_takes_the_place_of_exactly_the_one_that_it_replaces(pins: PinIndex):
    old = a_planned_pin("a", 1, plan_digest=b"1" * 16)
    new = a_planned_pin("a", 1, plan_digest=b"2" * 16, replaces=b"1" * 16)
    pins.pin(0, [old, a_planned_pin("b", 2)])
    pins.pin(0, [replace(new, replaces=b"3" * 16)])
    assert earlier(pins)[0] == old.plan, "another plan is pinned than the one to replace"
    pins.pin(0, [new])
    assert (earlier(pins)[0], sessions(pins), len(pins)) == (new.plan, ["a", "b"], 2)
    pins.pin(0, [new])
    pins.recover(0, [("a", old)], 5)
    assert earlier(pins)[0] == new.plan, "neither again, nor back"
    pins.recover(0, [("a", a_mark("a", offset=1))], 6)
    pins.recover(0, [("a", replace(new, replaces=a_mark("a").plan.digest))], 7)
    assert earlier(pins)[0].retired, "a retired session is never planned anew"


def test_a_tombstone_forgets_the_session(pins: PinIndex):
    pins.pin(0, [a_pin("a"), a_pin("b", offset=1)])
    pins.recover(0, [("a", None), ("never", None)], 12)
    assert pins.digest(0, "a") is None
    assert [each.session_id for each in earlier(pins)] == ["b"]
    pins.recover(0, [("b", None)], 13)
    assert earlier(pins) == []
    assert len(pins) == 0


def test_partitions_that_went_elsewhere_are_let_go(pins: PinIndex):
    pins.pin(0, [a_pin("a")])
    pins.pin(1, [a_pin("b")])
    pins.assigned({1})
    pins.batch_done({1})
    pins.batch_done({1})
    assert len(pins) == 1
    pins.batch_done({1})
    assert pins.digest(1, "b")


def test_P1_outcomes_still_in_hand_when_their_partition_went_are_planned_with_its_pins(pins: PinIndex):
    pins.pin(0, [a_pin("a")])
    pins.assigned({1})
    for partitions in ({0, 1}, {1}, {0}, {1}):
        pins.batch_done(partitions)
        assert pins.digest(0, "a") == a_pin("a").digest
    pins.batch_done(set())
    assert len(pins) == 0


def test_P1_a_partition_that_comes_back_keeps_its_pins_and_gets_the_others_plans_once(pins: PinIndex):
    pins.pin(0, [a_pin("a")])
    pins.assigned(set())
    pins.batch_done(set())
    pins.assigned({0})
    pins.recover(0, [("a", a_pin("a")), ("b", a_pin("b", offset=1))], 1)
    for _ in range(3):
        pins.batch_done(set())
    assert len(pins) == 2
    assert [each.session_id for each in earlier(pins)] == ["a", "b"]


def test_on_disk_pins_outlive_the_process_and_know_how_far_they_are(tmp_path: Path):
    before = DiskPins(tmp_path)
    before.recover(3, [("a", a_pin("a"))], 17)
    before.pin(3, [a_pin("b", offset=1)])
    before.close()
    after = DiskPins(tmp_path)
    assert after.read_up_to(3) == 17
    assert after.read_up_to(4) is None
    assert (after.digest(3, "a"), after.digest(3, "b")) == (a_pin("a").digest, a_pin("b").digest)
    assert len(after) == 2
    after.close()


def test_memory_remembers_no_offset():
    pins = MemoryPins()
    pins.recover(0, [("a", a_pin("a"))], 17)
    assert pins.read_up_to(0) is None


_ACTIONS = st.lists(
    st.tuples(st.sampled_from(["pin", "forget"]), st.integers(0, 30), st.integers(0, 3), st.integers(0, 60)),
    max_size=120,
)


@settings(max_examples=60)
@given(_ACTIONS)
def test_P1_memory_agrees_with_a_plain_dictionary(actions):
    pins, model = MemoryPins(), {}
    for action, session, item, offset in actions:
        name = f"s{session}"
        if action == "forget":
            pins.recover(0, [(name, None)], 0)
            model.pop(name, None)
        else:
            pins.pin(0, [a_pin(name, f"i{item}", offset)])
            model.setdefault(name, (f"i{item}", offset))
    assert {name for name in (f"s{n}" for n in range(31)) if pins.digest(0, name)} == model.keys()
    assert len(pins) == len(model)
    for item in range(4):
        offsets = sorted(offset for of_item, offset in model.values() if of_item == f"i{item}")
        assert [each.order[1] for each in earlier(pins, 0, f"i{item}")] == offsets


def test_of_a_plan_its_digest_and_the_queue_items_columns_are_kept():
    pin = pin_of(make_plan(outcome_digest="ab" * 32))
    assert pin.digest == b"\xab" * 16
    assert pin.plan.columns["medx_callstatus"] == 0


@pytest.mark.parametrize("overrides", [{}, {"disposition": Disposition.DO_NOT_CALL}, {"retired_at": NOON}])
@pytest.mark.parametrize("timestamp", [None, NOON])
def test_P1_a_pin_that_was_read_back_from_the_topic_is_the_one_that_was_set(overrides, timestamp):
    made = make_plan(**overrides, source=Source(topic="t", partition=0, offset=3, timestamp=timestamp))
    made = mark_of(made, NOON) if made.retired_at else made
    held = []
    pins = MemoryPins()
    pins.recover = lambda partition, changes, read_up_to: held.extend(changes)
    codec = single_object(PlannedWriteback)
    PinRecovery(pins, codec, Metrics(CollectorRegistry())).apply([Message(b"k", codec.encode(made))])
    assert held == [(made.session_id, pin_of(made))]


def recovered(*messages, codec: Codec | None = None):
    """The pins, and the places that were reported since they hold no plan."""
    pins, registry, told = MemoryPins(), CollectorRegistry(), CapturingLogger()
    store = PinRecovery(pins, codec or single_object(PlannedWriteback), Metrics(registry))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("planner.pins.recovery.log", told)
        store.apply(messages)
    unreadable = [(call.kwargs["partition"], call.kwargs["offset"]) for call in told.calls]
    assert registry.get_sample_value("planner_unreadable_plans_total") == len(unreadable)
    return pins, unreadable


def test_P1_recovery_reads_plans_and_tombstones_in_order():
    encode = single_object(PlannedWriteback).encode
    pins, unreadable = recovered(
        Message(b"a", encode(make_plan(session_id="a"))),
        Message(b"b", encode(make_plan(session_id="b")), offset=1),
        Message(b"a", None, offset=2),
    )
    assert (pins.digest(0, "a"), pins.digest(0, "b") is not None) == (None, True)
    assert unreadable == []


def test_a_plan_that_was_appended_again_is_the_same_plan():
    encode = single_object(PlannedWriteback).encode
    first = make_plan(session_id="a", source=Source(topic="t", partition=0, offset=1))
    second = make_plan(session_id="b", source=Source(topic="t", partition=0, offset=2))
    pins, _ = recovered(Message(b"b", encode(second), offset=1), Message(b"a", encode(first), offset=2))
    assert [each.session_id for each in earlier(pins, 0, first.queue_item_id)] == ["a", "b"]


NEW = make_plan(session_id="a", digest="2" * 64, mapping_fingerprint="9" * 64)
OLD = make_plan(session_id="a", digest="1" * 64)
IN_ITS_PLACE = [(REPLAN, b"1" * 64)]


@pytest.mark.parametrize("headers", [IN_ITS_PLACE, dict(IN_ITS_PLACE)], ids=["pairs", "mapping"])
@pytest.mark.parametrize(
    "order",
    [["old", "new"], ["new"], ["old", "new", "old"], ["old", "new", "new"], ["new", "old"]],
    ids=lambda order: " ".join(order),
)
def test_P1_recovery_follows_a_plan_that_replaced_another_whatever_compaction_left(order, headers):
    encode = single_object(PlannedWriteback).encode
    records = {"old": (encode(OLD), ()), "new": (encode(NEW), headers)}
    pins, _ = recovered(
        *(Message(b"a", records[name][0], offset=n, headers=records[name][1]) for n, name in enumerate(order))
    )
    assert [each.digest for each in earlier(pins, 0, OLD.queue_item_id)] == [bytes.fromhex("2" * 32)]


def test_P1_on_disk_a_plan_that_replaced_another_outlives_the_process(tmp_path: Path):
    before = DiskPins(tmp_path)
    before.pin(0, [pin_of(OLD)])
    before.pin(0, [pin_of(NEW, bytes.fromhex("1" * 32))])
    before.close()
    after = DiskPins(tmp_path)
    after.recover(0, [("a", pin_of(OLD))], 3)
    assert [each.digest for each in earlier(after, 0, OLD.queue_item_id)] == [bytes.fromhex("2" * 32)]
    after.close()


OUTCOME = single_object(CallOutcome).encode(make_outcome())


@pytest.mark.parametrize("value", [b"", b"junk", b"\xc3\x01", OUTCOME])
def test_P6_a_record_that_is_no_plan_is_counted_and_recovery_goes_on(value):
    good = single_object(PlannedWriteback).encode(make_plan(session_id="a"))
    pins, unreadable = recovered(Message(b"x", value, offset=4), Message(None, good), Message(b"a", good, offset=6))
    assert unreadable == [(0, 4), (0, 0)]
    assert pins.digest(0, "a") is not None


def test_P1_a_plan_that_a_newer_planner_wrote_is_not_passed_over():
    good = single_object(PlannedWriteback).encode(make_plan(session_id="a"))
    store = PinRecovery(pins := MemoryPins(), single_object(PlannedWriteback), Metrics(CollectorRegistry()))
    with pytest.raises(UnknownSchema, match="is its writer newer"):
        store.apply([Message(b"a", good), Message(b"x", b"\xc3\x01" + b"\0" * 8, offset=1)])
    assert (len(pins), store.records_read) == (0, 0), "all of a batch, or nothing"


def test_P1_recovery_does_not_go_on_without_a_registry_that_it_needs():
    with pytest.raises(NoSchemaRegistry):
        recovered(Message(b"a", b"\0\0\0\0\7body"))

    def unavailable(schema_id: int):
        raise RegistryUnavailable("gone")

    with pytest.raises(RegistryUnavailable):
        recovered(
            Message(b"a", b"\0\0\0\0\7body"), codec=Codec(PlannedWriteback, SchemaId(7), schema_by_id=unavailable)
        )


def test_a_plan_with_an_impossible_place_does_not_end_the_recovery():
    codec = single_object(PlannedWriteback)
    bad = codec.encode(make_plan(source=Source(topic="call-outcomes", partition=0, offset=-1)))
    good = codec.encode(make_plan(session_id="b"))
    pins, unreadable = recovered(Message(b"a", bad, offset=4), Message(b"b", good, offset=5))
    assert (unreadable, len(pins)) == ([(0, 4)], 1)


def test_recovery_asks_the_store_how_far_it_is_and_tells_it_what_to_keep():
    pins = MemoryPins()
    store = PinRecovery(pins, single_object(PlannedWriteback), Metrics(CollectorRegistry()))
    pins.pin(1, [a_pin("a")])
    assert store.read_up_to(1) is None
    store.assigned(set())
    pins.batch_done(set())
    pins.batch_done(set())
    assert len(pins) == 0


def test_pins_that_cannot_be_kept_say_where_and_why_and_what_helps(tmp_path: Path):
    (file := tmp_path / "a file").touch()
    with pytest.raises(PinsUnusable, match=f"cannot be kept in {file}/pins: Not a directory; let the planner's user"):
        DiskPins(file / "pins")


def test_a_planner_whose_pins_cannot_be_kept_does_not_start(tmp_path: Path):
    (file := tmp_path / "a file").touch()
    settings = read_settings({}, mapping_file="mapping.json", pin_store=f"rocksdb://{file}")
    with pytest.raises(Unavailable, match="let the planner's user write there"):
        _pins(settings)


def test_B1_pins_on_a_damaged_disk_quote_nothing_and_say_what_to_delete(tmp_path: Path):
    before = DiskPins(tmp_path)
    before.pin(0, [a_pin("+15305550123")])
    before.close()
    for file in (tmp_path / "0").glob("MANIFEST-*"):
        file.write_bytes(b"+15305550123" * 100)
    after = DiskPins(tmp_path)
    with pytest.raises(PinsUnusable, match=f"{tmp_path}/0 cannot be used: .* delete it") as raised:
        after.digest(0, "+15305550123")
    assert "555" not in str(raised.value).removeprefix(str(tmp_path))
    shutil.rmtree(tmp_path / "0")
    assert after.digest(0, "+15305550123") is None
    after.close()


def test_a_fault_that_is_not_of_the_disk_is_not_called_damage(tmp_path: Path):
    """Or an operator deletes sound files for it."""

    def changes():
        yield from ()
        raise KeyError("a record that cannot be read")

    pins = DiskPins(tmp_path)
    with pytest.raises(KeyError):
        pins.recover(0, changes(), 1)
    pins.close()
