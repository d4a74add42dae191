"""Our encoder writes what fastavro writes, byte by byte, for every record; and says so if a value does not fit."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import KIND_OF, known_schemas, parse
from schemas.conversion import to_plain
from schemas.encoding import encoder
from schemas.records import CallOutcome, Value
from tests.factories import make_baseline, make_outcome, make_plan, make_result

INT64 = 2**63
VALUES: st.SearchStrategy[Value] = (
    st.none()
    | st.booleans()
    | st.integers(-INT64, INT64 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.sampled_from([0, 1, -1, 63, 64, 1023, 1024, INT64 - 1, -INT64, "", "x" * 63, "x" * 64, "ä" * 512, "x" * 9_000])
)
COLUMNS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), VALUES, max_size=6)
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=2_000)


def by_fastavro(record: Any) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, known_schemas(KIND_OF[type(record)]).today, to_plain(record))
    return body.getvalue()


def by_us(record: Any) -> bytes:
    return known_schemas(KIND_OF[type(record)]).encode(record)


@given(COLUMNS, MOMENTS, TEXTS, st.integers(-INT64, INT64 - 1))
@settings(max_examples=200, deadline=None)
def test_records_are_the_same_bytes_as_fastavros(
    columns: dict[str, Value], moment: datetime, text: str | None, number: int
) -> None:
    plan = make_plan()
    steps = tuple(replace(step, attributes=columns) for step in plan.steps)
    baseline = replace(plan.baseline, captured_at=moment, etag=text, columns=columns)
    records = (
        make_outcome(summary=text, ended_at=moment, callback_at=moment, baseline=make_baseline(preserved=columns)),
        replace(plan, steps=steps, outcome_at=moment, baseline=baseline, source=replace(plan.source, offset=number)),
        make_result(settled_at=moment, message=text),
    )
    for record in records:
        assert by_us(record) == by_fastavro(record)


@pytest.mark.parametrize(
    ("value", "error"),
    [(INT64, ValueError), (-INT64 - 1, ValueError), ("\ud800", ValueError), (b"bytes", KeyError), ([], KeyError)],
)
def test_a_value_that_no_column_holds_is_an_error(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        by_us(make_outcome(baseline=make_baseline(preserved={"medx_notes": value})))


def test_a_field_of_the_wrong_kind_is_an_error() -> None:
    with pytest.raises(KeyError):
        by_us(make_outcome(disposition="unheard of"))
    with pytest.raises(AttributeError):
        by_us(make_outcome(summary=7))
    with pytest.raises(AttributeError):
        known_schemas(KIND_OF[CallOutcome]).encode(make_plan())


def test_a_schema_with_types_that_no_record_uses_is_refused() -> None:
    fixed = (
        '{"type": "record", "name": "R", "fields": [{"name": "f", "type": {"type": "fixed", "size": 2, "name": "F"}}]}'
    )
    with pytest.raises(TypeError, match="fixed"):
        encoder(parse(fixed))
