"""P6: whoever may register a schema cannot stop the reader of a record with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.bounds import DEEPEST, Unbounded, check
from schemas.codec import KIND_OF, Codec, Undecodable, known_schemas, parse
from schemas.records import CallOutcome
from schemas.wire import SchemaId, frame


def record(*types: Any, name: str = "CallOutcome") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": f"f{n}", "type": one} for n, one in enumerate(types)]}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def nested(levels: int) -> Any:
    schema: Any = "int"
    for _ in range(levels):
        schema = array(schema)
    return schema


def doubling(levels: int) -> Any:
    """Each record holds the one before twice: 2^levels values, and not one byte."""
    schema: Any = record("null", name="R0")
    for level in range(levels):
        schema = record(schema, schema["name"], name=f"S{level}")
    return schema


@pytest.mark.parametrize("kind", KIND_OF.values())
def test_P6_our_own_schemas_may_be_read(kind: str) -> None:
    assert parse(known_schemas(kind).text)["name"]


@pytest.mark.parametrize(
    "schema",
    [
        record(array(record("int", "string", name="Item"))),
        record({"type": "map", "values": "boolean"}),
        record({"type": "enum", "name": "E", "symbols": ["A"]}, array("E")),
        record({"type": "fixed", "name": "F", "size": 4}, array("F")),
        record(["null", "string"], array(["null", "int"]), {"type": "string", "logicalType": "uuid"}),
        record(record("int", name="Used"), "Used", array("Used")),
        record(nested(DEEPEST - 3)),
        record([]),
    ],
)
def test_P6_a_schema_whose_records_end_may_be_read(schema: Any) -> None:
    assert parse(json.dumps(schema))["name"] == "CallOutcome"


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (record(["null", "CallOutcome"]), "refers to itself"),
        (record(array("CallOutcome")), "refers to itself"),
        (record(record(["null", "CallOutcome"], name="Inner")), "refers to itself"),
        (record(array("null")), "hardly any bytes"),
        (record({"type": "map", "values": record(array("null"), name="Inner")}), "hardly any bytes"),
        (record(array(record(name="Empty"))), "hardly any bytes"),
        (record(array({"type": "fixed", "name": "F", "size": 0})), "hardly any bytes"),
        (record(array(record(doubling(8), "int", name="Item"))), "hardly any bytes"),
        (record(doubling(40)), "more than 10000 values"),
        (record(nested(DEEPEST + 1)), "deep"),
    ],
)
def test_P6_a_schema_whose_records_may_never_end_is_refused(schema: Any, why: str) -> None:
    with pytest.raises(Unbounded, match=why):
        parse(json.dumps(schema))


def test_P6_a_type_of_no_known_kind_is_no_schema() -> None:
    with pytest.raises(Unbounded, match="no known kind"):
        check({"type": "record", "name": "CallOutcome", "fields": [{"name": "x", "type": 7}]})


def test_P6_a_record_of_a_schema_that_may_be_read_ends_at_its_own_length() -> None:
    schema = parse(json.dumps(record(array("int"))))
    with pytest.raises(Undecodable):
        Codec(CallOutcome, SchemaId(1), lambda _: schema).decode(frame(SchemaId(1), b"\xfe\xff\xff\xff\x0f"))
