import asyncio
import io
import json
import threading
import zlib
from dataclasses import replace
from datetime import timedelta

import fastavro
import pytest

from ops.demo.waiting import HANGS_AFTER_S
from planner.batch import BatchDecider
from planner.core import planning
from planner.core.deciding import AlreadyPlanned, Decider, Decision, Incoming, Placement, Planned, Tombstone
from planner.core.pin import pin_of
from planner.core.planning import Policy
from planner.core.retirement import mark_of
from planner.errors import PinsUnusable
from planner.kafka.rejections import rejection
from planner.pins.memory import MemoryPins
from runtime.errors import RegistryUnavailable
from schemas.codec import Codec, parse, single_object
from schemas.conversion import to_plain
from schemas.headers import OPT_OUT, REJECTED_BY, REJECTED_FROM, TRACEPARENT, last, reasons
from schemas.placement import partition_of
from schemas.records import CallOutcome, Disposition, EligibilityRule, PlannedWriteback
from schemas.wire import SchemaId
from tests.support.factories import NOON, an_id, make_baseline, make_outcome
from tests.unit.planner.strategies import example_crm

CODEC = single_object(CallOutcome)


def a_decider(
    pins=None,
    *,
    mapping=None,
    outcomes=CODEC,
    placement=Placement(1),  # noqa: B008  frozen
    policy=Policy(),  # noqa: B008  frozen
    clock=lambda: 0.0,
) -> BatchDecider:
    decider = Decider(
        mapping=mapping or example_crm(),
        policy=policy,
        pins=MemoryPins() if pins is None else pins,
        placement=placement,
        encode=single_object(PlannedWriteback).encode,
    )
    return BatchDecider(outcomes, decider, clock=clock)


def decided(decider: BatchDecider, batch: list[Incoming]) -> list[Decision]:
    found = asyncio.run(decider.first_decisions(batch))
    assert len(found) == len(batch)
    return found


def incoming(outcome: CallOutcome, offset: int = 0, **overrides) -> Incoming:
    given = {
        "topic": "call-outcomes",
        "partition": 0,
        "offset": offset,
        "key": outcome.queue_item_id.encode(),
        "value": CODEC.encode(outcome),
        "received_at": NOON + timedelta(hours=1),
    }
    return Incoming(**given | overrides)


def kinds(decisions):
    return [type(each) for each in decisions]


def test_P1_the_same_outcome_again_in_one_batch_changes_nothing():
    once = make_outcome()
    assert kinds(decided(a_decider(), [incoming(once), incoming(once, 1)])) == [Planned, AlreadyPlanned]


def test_P1_the_same_outcome_again_later_changes_nothing_even_if_the_mapping_has_changed():
    pins, outcome = MemoryPins(), make_outcome()
    (first,) = decided(a_decider(pins), [incoming(outcome)])
    pins.pin(0, [first.pin])
    changed = replace(example_crm(), fingerprint="another")
    assert kinds(decided(a_decider(pins, mapping=changed), [incoming(outcome, 1)])) == [AlreadyPlanned]


def test_P1_a_different_outcome_of_the_same_session_is_rejected_as_a_mismatch():
    one, other = make_outcome(), make_outcome(voicemail_left=True)
    planned, refused = decided(a_decider(), [incoming(one), incoming(other, 1)])
    assert [each.code for each in refused.reasons] == ["mismatch"]
    pins = MemoryPins()
    pins.pin(0, [planned.pin])
    (refused,) = decided(a_decider(pins), [incoming(other, 2)])
    assert [each.code for each in refused.reasons] == ["mismatch"]


def test_P1_W2_a_retired_session_changes_nothing_any_more_whatever_comes_of_it():
    """The mark that is left of it is a pin like any other."""
    once, other = make_outcome(), make_outcome(ended_at=NOON + timedelta(minutes=4))
    (first,) = decided(a_decider(), [incoming(once)])
    mark = pin_of(mark_of(first.plan, NOON + timedelta(days=90)))
    pins = MemoryPins()
    pins.recover(0, [(mark.plan.session_id, mark)], 0)
    same, changed = decided(a_decider(pins), [incoming(once, 1), incoming(other, 2)])
    assert isinstance(same, AlreadyPlanned)
    assert [each.code for each in changed.reasons] == ["mismatch"]
    (later,) = decided(a_decider(pins), [incoming(make_outcome(session_id="later"), 3)])
    assert later.plan.preceding == ()


def test_P6_a_mismatch_that_is_invalid_too_names_both():
    one, other = make_outcome(), make_outcome(summary="x" * 20_001)
    _, refused = decided(a_decider(), [incoming(one), incoming(other, 1)])
    assert [each.code for each in refused.reasons] == ["mismatch", "text_too_long"]


def test_P1_a_known_outcome_under_a_wrong_key_is_not_known():
    once = make_outcome()
    _, refused = decided(a_decider(), [incoming(once), incoming(once, 1, key=b"elsewhere")])
    assert "key_disagrees" in [each.code for each in refused.reasons]


def test_the_framing_does_not_make_another_outcome():
    registered = Codec(CallOutcome, SchemaId(3), schema_by_id=lambda _: CODEC.schemas.today)
    once = make_outcome()
    decisions = decided(
        a_decider(outcomes=registered), [incoming(once), incoming(once, 1, value=registered.encode(once))]
    )
    assert kinds(decisions) == [Planned, AlreadyPlanned]


def test_plans_of_one_queue_item_in_one_batch_precede_each_other():
    outcomes = [make_outcome(session_id=name, baseline=make_baseline(attempt_count=0)) for name in "abc"]
    plans = [each.plan for each in decided(a_decider(), [incoming(o, n) for n, o in enumerate(outcomes)])]
    assert [[each.session_id for each in plan.preceding] for plan in plans] == [[], ["a"], ["a", "b"]]


def test_plans_of_an_earlier_batch_precede_too():
    pins = MemoryPins()
    (first,) = decided(a_decider(pins), [incoming(make_outcome(session_id="a"), 3)])
    pins.pin(0, [first.pin])
    (second,) = decided(a_decider(pins), [incoming(make_outcome(session_id="b"), 4)])
    assert [each.session_id for each in second.plan.preceding] == ["a"]


def test_other_partitions_and_queue_items_are_none_of_its_business():
    other = make_outcome(session_id="b", queue_item_id=an_id("queue item 2"))
    decider = a_decider(placement=Placement(1, strict=False))
    decisions = decided(
        decider,
        [incoming(make_outcome(session_id="a")), incoming(other), incoming(make_outcome(session_id="c"), partition=1)],
    )
    assert [each.plan.preceding for each in decisions] == [(), (), ()]


def placed_by_librdkafka(key: bytes, partitions: int) -> int:
    """Its default: CRC32 of the key."""
    return zlib.crc32(key) % partitions


def items_that_are_placed_differently(partitions: int):
    for number in range(1000):
        item = an_id(f"queue item {number}")
        if placed_by_librdkafka(item.encode(), partitions) != partition_of(item.encode(), partitions):
            yield item


def test_P1_a_session_that_two_producers_place_differently_is_planned_once_and_the_other_is_misplaced():
    item = next(items_that_are_placed_differently(24))
    once, again = make_outcome(queue_item_id=item), make_outcome(queue_item_id=item, opt_out=True)
    right, wrong = partition_of(item.encode(), 24), placed_by_librdkafka(item.encode(), 24)
    decider = a_decider(placement=Placement(24))
    planned, refused = decided(decider, [incoming(once, partition=right), incoming(again, partition=wrong)])
    assert isinstance(planned, Planned)
    assert [each.code for each in refused.reasons] == ["misplaced"]
    assert "partitioner=murmur2_random" in refused.reasons[0].expected
    assert refused.opt_out


def test_an_outcome_of_a_producer_that_always_places_otherwise_is_planned_if_that_is_allowed():
    item = next(items_that_are_placed_differently(24))
    outcome, wrong = make_outcome(queue_item_id=item), placed_by_librdkafka(item.encode(), 24)
    decider = a_decider(placement=Placement(24, strict=False))
    first, again = decided(decider, [incoming(outcome, partition=wrong), incoming(outcome, 1, partition=wrong)])
    assert (isinstance(first, Planned), first.misplaced) == (True, True)
    assert isinstance(again, AlreadyPlanned)
    (right,) = decided(decider, [incoming(outcome, partition=partition_of(item.encode(), 24))])
    assert not right.misplaced


@pytest.mark.parametrize("key", [None, b""])
def test_P6_an_outcome_without_a_key_has_no_partition_that_it_belongs_to(key):
    (refused,) = decided(a_decider(placement=Placement(24)), [incoming(make_outcome(), partition=5, key=key)])
    assert [each.code for each in refused.reasons] == ["empty_key"]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"", "undecodable"),
        (b"{}", "undecodable"),
        (b"\0\0\0\0\1", "unknown_schema"),
        (b"\xc3\x01" + b"\7" * 8, "unknown_schema"),
        (CODEC.encode(make_outcome())[:-4], "undecodable"),
        (CODEC.encode(make_outcome()) + b"more", "undecodable"),
        (
            single_object(PlannedWriteback).encode(decided(a_decider(), [incoming(make_outcome())])[0].plan),
            "undecodable",
        ),
    ],
)
def test_P6_what_is_no_outcome_is_refused_and_the_rest_of_the_batch_planned(value, code):
    bad = incoming(make_outcome(), value=value)
    refused, planned = decided(a_decider(), [bad, incoming(make_outcome(), 1)])
    assert [each.code for each in refused.reasons] == [code]
    assert isinstance(planned, Planned)


def test_P6_a_tombstone_is_skipped_and_leaves_no_copy_of_what_it_erases():
    erased, planned = decided(a_decider(), [incoming(make_outcome(), value=None), incoming(make_outcome(), 1)])
    assert kinds([erased, planned]) == [Tombstone, Planned]


def test_P6_an_enum_symbol_that_only_a_newer_schema_knows_is_refused():
    newer = json.loads(CODEC.schemas.text)
    dispositions = next(each for each in newer["fields"] if each["name"] == "disposition")
    dispositions["type"]["symbols"].append("furious")
    schema = parse(json.dumps(newer))
    plain = to_plain(make_outcome()) | {"disposition": "furious"}
    fastavro.schemaless_writer(body := io.BytesIO(), schema, plain)
    decider = a_decider(outcomes=Codec(CallOutcome, SchemaId(3), schema_by_id=lambda _: schema))
    (refused,) = decided(decider, [incoming(make_outcome(), value=b"\0\0\0\0\4" + body.getvalue())])
    assert [each.code for each in refused.reasons] == ["undecodable"]


def test_P6_an_error_that_nobody_foresaw_refuses_one_record_and_tells_its_kind_only(monkeypatch, capsys):
    def broken(outcome, *_):
        if outcome.session_id == "bad":
            raise ZeroDivisionError("kim@example.com")
        return planning.plan(outcome, *_)

    monkeypatch.setattr("planner.core.deciding.plan", broken)
    refused, planned = decided(
        a_decider(), [incoming(make_outcome(session_id="bad")), incoming(make_outcome(session_id="good"), 1)]
    )
    assert [each.code for each in refused.reasons] == ["cannot_be_planned"]
    assert isinstance(planned, Planned)
    assert "example.com" not in str(refused.reasons) + capsys.readouterr().out


def test_P6_a_codec_that_breaks_refuses_one_record_too():
    def broken(schema_id: int):
        raise KeyError(schema_id)

    (refused,) = decided(
        a_decider(outcomes=Codec(CallOutcome, SchemaId(3), schema_by_id=broken)),
        [incoming(make_outcome(), value=b"\0\0\0\0\3body")],
    )
    assert [each.code for each in refused.reasons] == ["cannot_be_planned"]


def test_P6_pins_that_cannot_be_read_are_no_outcomes_fault():
    class Broken(MemoryPins):
        def digest(self, partition, session_id):
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        decided(a_decider(Broken()), [incoming(make_outcome())])


def test_P6_a_disk_that_fails_while_an_outcome_is_decided_about_is_not_its_fault_either():
    class Broken(MemoryPins):
        def earlier(self, partition, queue_item_id, read):
            raise PinsUnusable("no space")

    with pytest.raises(PinsUnusable, match="no space"):
        decided(a_decider(Broken()), [incoming(make_outcome())])


@pytest.mark.parametrize("value", [b"\xc3\x01" + bytes(8), b"\0\0\0\0\3body"], ids=["fingerprint", "schema id"])
def test_P6_an_outcome_whose_schema_nobody_knows_is_rejected_with_a_reason_of_its_own(value):
    """Anybody may write such bytes to the outcomes topic, so they cannot hold up the others; but the outcome may be a
    good one of a newer call system, so it can be told from junk and published again."""
    (refused,) = decided(a_decider(), [incoming(make_outcome(), value=value)])
    ((code, expected),) = [(each.code, each.expected) for each in refused.reasons]
    assert code == "unknown_schema"
    assert "publish the outcome again" in expected


def test_the_registry_is_asked_beside_the_loop():
    asked = []

    def schema(schema_id: int):
        asked.append(threading.current_thread() is threading.main_thread())
        return single_object(CallOutcome).schemas.today

    codec = Codec(CallOutcome, SchemaId(3), schema_by_id=schema)
    batch = [incoming(make_outcome(), value=codec.encode(make_outcome()))]
    (planned,) = decided(a_decider(outcomes=codec), batch)
    assert isinstance(planned, Planned)
    assert asked == [False]


def test_a_registry_that_does_not_answer_is_no_outcomes_fault():
    def unavailable(schema_id: int):
        raise RegistryUnavailable("gone")

    decider = a_decider(outcomes=Codec(CallOutcome, SchemaId(3), schema_by_id=unavailable))
    with pytest.raises(RegistryUnavailable):
        decided(decider, [incoming(make_outcome(), value=b"\0\0\0\0\3body")])


def test_P6_a_rejection_keeps_key_and_bytes_and_says_why_and_where_from():
    trace = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
    bad = incoming(
        make_outcome(),
        17,
        key=b"\xff key",
        value=b"\x00\xffjunk",
        headers=((TRACEPARENT, trace), ("x", b"kim@example.com")),
    )
    (refused,) = decided(a_decider(), [bad])
    record = rejection(refused, topic="call-outcomes-rejected", by="0.1.0")
    assert (record.key, record.value, record.partition) == (bad.key, bad.value, 0)
    assert reasons(record.headers) == list(refused.reasons)
    assert last(record.headers, REJECTED_FROM) == b"call-outcomes/0/17"
    assert last(record.headers, REJECTED_BY) == b"0.1.0"
    assert last(record.headers, TRACEPARENT) == trace


INVALID = {"ended_at": NOON - timedelta(hours=1)}


@pytest.mark.parametrize("opting_out", [{"opt_out": True}, {"disposition": Disposition.DO_NOT_CALL}])
def test_an_opt_out_in_a_rejection_is_said_in_a_header(opting_out):
    lost, other = make_outcome(**INVALID, **opting_out), make_outcome(**INVALID, session_id="other")
    refused = decided(a_decider(), [incoming(lost), incoming(other, 1), incoming(other, 2, value=b"junk")])
    sent = [rejection(each, topic="t", by="v") for each in refused]
    assert [last(each.headers, OPT_OUT) for each in sent] == [b"true", None, None]
    assert last(sent[0].smaller().headers, OPT_OUT) == b"true"


def test_an_opt_out_that_is_added_to_a_planned_session_is_rejected_saying_how_it_is_published():
    _, refused = decided(a_decider(), [incoming(make_outcome()), incoming(make_outcome(opt_out=True), 1)])
    (reason,) = refused.reasons
    assert (reason.code, refused.opt_out) == ("mismatch", True)
    assert "a session of its own: disposition blocked, failing rule d, opt_out" in reason.expected


def test_an_opt_out_published_late_as_the_docs_say_sets_do_not_call_and_counts_no_attempt():
    late = make_outcome(
        session_id="late",
        disposition=Disposition.BLOCKED,
        failing_rules=(EligibilityRule.NOT_DO_NOT_CALL,),
        opt_out=True,
        started_at=NOON,
        ended_at=NOON,
    )
    _, planned = decided(a_decider(), [incoming(make_outcome()), incoming(late, 1)])
    (update,) = planned.plan.steps
    assert (update.attributes["medx_donotcall"], update.attributes["medx_callstatus"]) == (True, 4)
    assert update.increments == {}


def test_P6_an_opt_out_that_nobody_could_plan_says_so_too(monkeypatch):
    monkeypatch.setattr("planner.core.deciding.plan", lambda *_: 1 / 0)
    (refused,) = decided(a_decider(), [incoming(make_outcome(opt_out=True))])
    assert refused.opt_out


def test_P1_a_session_is_known_again_in_whatever_form_its_id_comes():
    once = make_outcome(session_id="sess-1")
    odd = incoming(make_outcome(session_id=" sess-1\n"), 1)
    assert [each.code for each in decided(a_decider(), [incoming(once), odd])[1].reasons] == ["mismatch"]


def test_B1_headers_of_the_original_are_not_passed_on():
    headers = (("contact", b"kim@example.com"), (TRACEPARENT, b"call +15305550123"))
    (refused,) = decided(a_decider(), [incoming(make_outcome(), value=b"", headers=headers)])
    sent = rejection(refused, topic="t", by="v")
    assert b"example.com" not in b"".join(value for _, value in sent.headers)
    assert last(sent.headers, TRACEPARENT) is None


def test_P6_what_is_too_large_to_copy_is_rejected_by_where_it_stands():
    (refused,) = decided(a_decider(), [incoming(make_outcome(), value=b"x" * 1000)])
    smaller = rejection(refused, topic="t", by="v").smaller()
    assert (smaller.key, smaller.value, smaller.smaller) == (None, None, None)
    assert [each.code for each in reasons(smaller.headers)] == ["undecodable", "too_large_to_copy"]


def test_P6_the_loop_turns_while_a_long_text_is_decided_about():
    class PinsThatWaitForTheLoop(MemoryPins):
        turned = threading.Event()

        def digest(self, partition, session_id):
            assert self.turned.wait(HANGS_AFTER_S), "the loop stands still"
            return super().digest(partition, session_id)

    async def decide():
        pins = PinsThatWaitForTheLoop()
        asyncio.get_running_loop().call_soon(pins.turned.set)
        return await a_decider(pins).first_decisions([incoming(make_outcome(summary="5 " * 2_500))])

    assert kinds(asyncio.run(decide())) == [Planned]
