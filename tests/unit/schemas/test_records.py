"""The `.avsc` files decide; the classes follow them field by field, and every record survives the wire."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import KIND_OF, Codec, known_schemas, single_object
from schemas.records import CallOutcome, PlannedWriteback, WritebackResult
from schemas.wire import SchemaId
from tests.support.factories import make_outcome, make_plan, make_result

KINDS = [CallOutcome, PlannedWriteback, WritebackResult]
PERSONAL = {
    "CallOutcome": {"summary", "captured_email", "callback_window", "phone_number"},
    "Account": {"name"},
    "Baseline": {"preserved"},
    "Utterance": {"text"},
    "Warning": {"message"},
    "ResolvedBaseline": {"columns"},
    "PrecedingPlan": {"columns"},
    "PlannedStep": {"attributes"},
}


def named_types(schema: Any, found: dict[str, Any] | None = None) -> dict[str, Any]:
    """Every record and enum inside a schema, by its short name."""
    found = {} if found is None else found
    match schema:
        case list():
            for branch in schema:
                named_types(branch, found)
        case {"type": "record", "name": name, "fields": fields}:
            found[name.rpartition(".")[2]] = schema
            for field in fields:
                named_types(field["type"], found)
        case {"type": "enum", "name": name}:
            found[name.rpartition(".")[2]] = schema
        case {"items": inner} | {"values": inner}:
            named_types(inner, found)
    return found


def classes_in(cls: Any, found: dict[str, Any] | None = None) -> dict[str, Any]:
    """Every dataclass and enum that a record class reaches through its hints, by its name."""
    found = {} if found is None else found
    if isinstance(cls, type) and (dataclasses.is_dataclass(cls) or issubclass(cls, StrEnum)):
        found[cls.__name__] = cls
        hints = get_type_hints(cls) if dataclasses.is_dataclass(cls) else {}
        for hint in hints.values():
            classes_in(hint, found)
    for inner in get_args(cls):
        classes_in(inner, found)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_classes_mirror_their_schema_field_by_field_and_symbol_by_symbol(kind: type) -> None:
    in_schema, in_code = named_types(known_schemas(KIND_OF[kind]).today), classes_in(kind)
    assert in_schema.keys() == in_code.keys()
    for name, schema in in_schema.items():
        if schema["type"] == "enum":
            assert schema["symbols"] == [symbol.value for symbol in in_code[name]]
        else:
            assert [f["name"] for f in schema["fields"]] == [f.name for f in dataclasses.fields(in_code[name])]


@pytest.mark.parametrize("kind", KINDS)
def test_B1_every_field_is_documented_and_personal_data_is_tagged(kind: type) -> None:
    for name, schema in named_types(known_schemas(KIND_OF[kind]).today).items():
        assert schema["doc"]
        if schema["type"] == "record":
            assert all(f["doc"] for f in schema["fields"]), name
            assert {f["name"] for f in schema["fields"] if "personal_data" in f} == PERSONAL.get(name, set()), name


@pytest.mark.parametrize(
    ("kind", "make"), [(CallOutcome, make_outcome), (PlannedWriteback, make_plan), (WritebackResult, make_result)]
)
def test_a_record_survives_both_framings(kind: Any, make: Any) -> None:
    record = make()
    without_registry: Any = single_object(kind)
    with_registry: Any = Codec(kind, SchemaId(7), schema_by_id={7: without_registry.schemas.today}.__getitem__)
    assert without_registry.decode(without_registry.encode(record)) == record
    assert with_registry.decode(with_registry.encode(record)) == record
    assert with_registry.decode(without_registry.encode(record)) == record


values = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20)
)
moments = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)).map(
    lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000, tzinfo=UTC)
)


@given(preserved=st.dictionaries(st.text(max_size=10), values, max_size=5), at=moments, summary=st.none() | st.text())
def test_whatever_a_column_holds_comes_back_as_it_was(
    preserved: dict[str, Any], at: datetime, summary: str | None
) -> None:
    codec = single_object(CallOutcome)
    baseline = dataclasses.replace(make_outcome().baseline, preserved=preserved)
    outcome = make_outcome(baseline=baseline, ended_at=at, summary=summary)
    back = codec.decode(codec.encode(outcome))
    assert back == outcome
    assert {k: type(v) for k, v in back.baseline.preserved.items()} == {k: type(v) for k, v in preserved.items()}
