"""Whatever bytes arrive, decoding gives a record or says Undecodable, and never quotes what it read."""

from __future__ import annotations

import io
import json
import random
import struct

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Codec, NoSchemaRegistry, Undecodable, UnknownSchema, parse, single_object
from schemas.conversion import to_plain
from schemas.records import CallOutcome, Disposition, PlannedWriteback
from schemas.wire import Fingerprint, NotFramed, SchemaId, frame, unframe
from tests.support.factories import make_outcome, make_plan

CODEC = single_object(CallOutcome)
GOOD = CODEC.encode(make_outcome(summary="canary-text"))


@given(st.binary(max_size=300))
def test_P6_arbitrary_bytes_are_undecodable_not_a_crash(noise: bytes) -> None:
    for framed in (noise, GOOD[:10] + noise):
        try:
            assert isinstance(CODEC.decode(framed), CallOutcome)
        except Undecodable:
            continue


def test_P6_every_single_byte_mutation_and_every_cut_is_survived() -> None:
    dice = random.Random(20261121)
    for at in range(len(GOOD)):
        mutated = GOOD[:at] + bytes([dice.randrange(256)]) + GOOD[at + 1 :]
        for framed in (mutated, GOOD[:at]):
            try:
                CODEC.decode(framed)
            except Undecodable as error:
                assert "canary" not in str(error)


def test_a_huge_claimed_length_is_undecodable() -> None:
    claimed = b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"
    with pytest.raises(Undecodable):
        CODEC.decode(GOOD[:10] + claimed + b"abc")


def test_bytes_after_the_record_are_undecodable() -> None:
    with pytest.raises(Undecodable, match="3 bytes after the end"):
        CODEC.decode(GOOD + b"abc")


def test_another_kind_of_record_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="is a planned_writeback") as raised:
        CODEC.decode(single_object(PlannedWriteback).encode(make_plan()))
    assert not isinstance(raised.value, UnknownSchema)


def test_a_record_of_a_schema_that_nobody_here_knows_says_what_may_be_the_reason() -> None:
    with pytest.raises(UnknownSchema, match=r"unknown schema, fingerprint 0{15}7; is its writer newer\?"):
        CODEC.decode(frame(Fingerprint(7), b""))


@pytest.mark.parametrize("schema", ['"string"', '["null", "string"]'])
def test_a_schema_without_a_name_is_not_ours(schema: str) -> None:
    codec = Codec(CallOutcome, SchemaId(1), schema_by_id=lambda _: parse(schema))
    with pytest.raises(UnknownSchema, match="another kind of record"):
        codec.decode(frame(SchemaId(1), b""))


def test_no_framing_is_undecodable_and_names_the_first_bytes() -> None:
    for framed, named in ((b"", "nothing"), (b"{}", "7b7d"), (b"\x00\x00", "0000"), (b"\xc3\x01\x00", "c301")):
        with pytest.raises(Undecodable, match=named):
            CODEC.decode(framed)


def test_confluent_framing_without_a_registry_says_what_to_configure() -> None:
    with pytest.raises(NoSchemaRegistry, match="schema id 5, but no schema registry is configured"):
        CODEC.decode(frame(SchemaId(5), b""))


def test_a_record_written_with_an_older_registered_schema_is_read_with_todays() -> None:
    older = parse(
        '{"type": "record", "name": "CallOutcome", "namespace": "writeback", "fields": ['
        '{"name": "session_id", "type": "string"}, {"name": "gone_since", "type": "string"}]}'
    )
    codec = Codec(CallOutcome, SchemaId(1), schema_by_id={1: older}.__getitem__)
    with pytest.raises(Undecodable, match="is not a CallOutcome"):
        codec.decode(frame(SchemaId(1), b"\x02s\x02x"))


@pytest.mark.parametrize("time", ['"long"', '{"type": "long", "logicalType": "local-timestamp-millis"}'])
def test_P6_a_time_that_is_no_moment_is_undecodable(time: str) -> None:
    known = json.loads(CODEC.schemas.text)
    next(each for each in known["fields"] if each["name"] == "started_at")["type"] = json.loads(time)
    theirs = parse(json.dumps(known))
    plain = to_plain(make_outcome())
    plain["started_at"] = plain["started_at"].replace(tzinfo=None) if "local" in time else 1_795_176_000_000
    body = io.BytesIO()
    fastavro.schemaless_writer(body, theirs, plain)
    codec = Codec(CallOutcome, SchemaId(1), schema_by_id={1: theirs}.__getitem__)
    with pytest.raises(Undecodable, match="is not a CallOutcome: TypeError"):
        codec.decode(frame(SchemaId(1), body.getvalue()))


def test_the_framings_are_the_published_ones() -> None:
    assert frame(SchemaId(258), b"x") == b"\x00\x00\x00\x01\x02x"
    assert frame(Fingerprint(0x8F014872634503C7), b"x") == b"\xc3\x01" + struct.pack("<Q", 0x8F014872634503C7) + b"x"
    assert unframe(b"\x00\x00\x00\x01\x02x") == (SchemaId(258), b"x")
    with pytest.raises(NotFramed):
        unframe(b"\xc3\x02" + bytes(20))


def test_the_fingerprint_of_a_schema_is_the_one_that_the_specification_publishes() -> None:
    from schemas.codec import fingerprint_of

    assert fingerprint_of('"string"') == 0x8F014872634503C7  # Avro's own share/test/data/schema-tests.txt
    assert fingerprint_of('"null"') == 0x63DD24E7CC258F8A


def test_enum_symbols_decode_to_the_enum() -> None:
    assert CODEC.decode(GOOD).disposition is Disposition.NO_ANSWER
