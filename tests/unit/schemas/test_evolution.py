"""Old records stay for ever on compacted topics: every schema reads every other, and golden bytes prove it.

A release adds a folder under schemas/released/ and one under tests/golden/schemas/; neither is ever changed again.
`python -m tests.unit.schemas.test_evolution RELEASE` writes the golden bytes of a new one.
"""

import copy
import io
import itertools
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import avro.schema
import fastavro
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from schemas.codec import KIND_OF, known_schemas, parse, single_object
from schemas.conversion import to_plain
from schemas.records import (
    Account,
    CallOutcome,
    Disposition,
    HumanReviewReason,
    OwnerCandidate,
    OwnerKind,
    PlannedWriteback,
    PrecedingPlan,
    QueueStatus,
    Utterance,
    WritebackResult,
)
from schemas.records import Warning as Notice
from tests.support.factories import NOON, an_id, make_baseline, make_outcome, make_plan, make_result, make_step

ROOT = Path(__file__).parents[3]
RELEASED = ROOT / "schemas" / "released"
GOLDEN = ROOT / "tests" / "golden" / "schemas"
RELEASES = sorted((folder.name for folder in RELEASED.iterdir()), key=int)
KINDS = {kind: cls for cls, kind in KIND_OF.items()}
TODAY = "today"


def text_of(kind: str, version: str) -> str:
    return known_schemas(kind).text if version == TODAY else (RELEASED / version / f"{kind}.avsc").read_text()


def pairs() -> list[tuple[str, str, str]]:
    versions = [*RELEASES, TODAY]
    return list(itertools.product(KINDS, versions, versions))


@pytest.mark.parametrize(("kind", "reader", "writer"), pairs())
def test_every_schema_reads_what_every_other_wrote(kind: Any, reader: Any, writer: Any) -> None:
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    verdict = checker.get_compatibility(
        avro.schema.parse(text_of(kind, reader)), avro.schema.parse(text_of(kind, writer))
    )
    assert verdict.compatibility is SchemaCompatibilityType.compatible, verdict.messages


@pytest.mark.parametrize(("kind", "reader", "writer"), pairs())
def test_logical_types_never_change_which_the_checker_would_not_notice(kind: Any, reader: Any, writer: Any) -> None:
    assert changed_logical_types(json.loads(text_of(kind, reader)), json.loads(text_of(kind, writer))) == []


def logical_types(schema: Any, path: str = "") -> dict[str, tuple[Any, ...]]:
    """Path of every primitive to what it means: its logical type, precision and scale, or that it has none."""
    if isinstance(schema, list):
        return {key: value for each in schema for key, value in logical_types(each, path).items()}
    if isinstance(schema, str):
        return {f"{path}:{schema}": (None, None, None)}
    match schema["type"]:
        case "record":
            fields = (logical_types(each["type"], f"{path}.{each['name']}") for each in schema["fields"])
            return {key: value for each in fields for key, value in each.items()}
        case "array":
            return logical_types(schema["items"], f"{path}[]")
        case "map":
            return logical_types(schema["values"], f"{path}{{}}")
        case dict() | list() as inner:
            return logical_types(inner, path)
        case kind:
            return {f"{path}:{kind}": tuple(schema.get(name) for name in ("logicalType", "precision", "scale"))}


def changed_logical_types(one: Any, other: Any) -> list[str]:
    ours, theirs = logical_types(one), logical_types(other)
    return sorted(path for path in ours.keys() & theirs.keys() if ours[path] != theirs[path])


def test_a_changed_logical_type_would_be_noticed() -> None:
    old = json.loads(text_of("call_outcome", TODAY))
    new = copy.deepcopy(old)
    next(each for each in new["fields"] if each["name"] == "started_at")["type"]["logicalType"] = "timestamp-micros"
    assert changed_logical_types(old, new) == [".started_at:long"]
    decimal = {"type": "record", "name": "R", "fields": [{"name": "f", "type": {"type": "bytes", "scale": 1}}]}
    scaled = {"type": "record", "name": "R", "fields": [{"name": "f", "type": {"type": "bytes", "scale": 2}}]}
    assert changed_logical_types(decimal, scaled) == [".f:bytes"]


def test_an_incompatible_schema_would_be_noticed() -> None:
    new = json.loads(text_of("call_outcome", TODAY))
    new["fields"].append({"name": "added", "type": "string"})
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    verdict = checker.get_compatibility(
        avro.schema.parse(json.dumps(new)), avro.schema.parse(text_of("call_outcome", TODAY))
    )
    assert verdict.compatibility is SchemaCompatibilityType.incompatible


@pytest.mark.parametrize(("release", "kind"), list(itertools.product(RELEASES, KINDS)))
def test_golden_bytes_of_every_release_are_decoded_by_todays_code(release: Any, kind: Any) -> None:
    golden = json.loads((GOLDEN / release / f"{kind}.json").read_text())
    for example in golden:
        record = single_object(KINDS[kind]).decode(bytes.fromhex(example["framed"]))
        assert told(record, example["record"]) == example["record"]


@pytest.mark.parametrize("kind", KINDS)
def test_todays_bytes_are_decoded_by_the_last_releases_schema(kind: Any) -> None:
    last = parse(text_of(kind, RELEASES[-1]))
    for record in examples(KINDS[kind]):
        framed = single_object(KINDS[kind]).encode(record)
        plain = fastavro.schemaless_reader(io.BytesIO(framed[10:]), known_schemas(kind).today, last)
        assert as_json(plain) == told(record, as_json(plain))
        assert as_json(plain).keys() == {field["name"] for field in last["fields"]}


def told(record: Any, golden: Any) -> Any:
    """The record as JSON, as far as the golden file tells it: fields that came later are not in it, at any depth."""
    return _told(as_json(record), golden)


def _told(value: Any, golden: Any) -> Any:
    if isinstance(value, dict) and isinstance(golden, dict):
        return {name: _told(held, golden[name]) for name, held in value.items() if name in golden}
    if isinstance(value, list) and isinstance(golden, list) and len(value) == len(golden):
        return [_told(one, other) for one, other in zip(value, golden, strict=True)]
    return value


def as_json(record: Any) -> Any:
    plain = record if isinstance(record, dict) else to_plain(record)
    return json.loads(json.dumps(plain, default=datetime.isoformat))


def examples(cls: type[Any]) -> list[Any]:
    """Two records of a kind: one with as little as allowed, one with everything in it."""
    if cls is CallOutcome:
        full = make_outcome(
            campaign_id=an_id("campaign"),
            provider_call_id="call-17",
            persona_version="v2",
            disposition=Disposition.NEEDS_HUMAN_REVIEW,
            human_review_reason=HumanReviewReason.AMBIGUOUS_DNC,
            opt_out=True,
            summary="Zusammenfassung – 要約",
            captured_email="kim@example.com",
            captured_email_verified=True,
            callback_window="after 3 pm",
            callback_at=NOON + timedelta(days=1, milliseconds=1),
            voicemail_left=True,
            account=Account(id=an_id("a"), name="Clinic"),
            owner_override=an_id("o"),
            baseline=make_baseline(
                status=QueueStatus.READY,
                last_session_id="s",
                do_not_call=None,
                preserved={"a": None, "b": True, "c": -(2**62), "d": 0.5, "e": "text"},
            ),
            transcript=(Utterance(role="agent", text="Hello"),),
            warnings=(Notice(code="c", field="f", message="m"),),
        )
        return [make_outcome(account=None, phone_number=None, ended_at=datetime(2026, 11, 20, 12, 1, tzinfo=UTC)), full]
    if cls is PlannedWriteback:
        owner = OwnerCandidate(kind=OwnerKind.TEAM, record_id=an_id("t"), column="c", value="/teams(x)", override=True)
        full_plan = make_plan(
            preceding=(PrecedingPlan(session_id="p", columns={"a": 1, "b": None}),),
            steps=(*make_plan().steps, make_step(step_index=3, owner_candidates=(owner,))),
            warnings=(Notice(code="c", message="m"),),
        )
        return [make_plan(), full_plan]
    return [make_result(), make_result(conflicts=("a", "b"), message="m", warnings=(Notice(code="c", message="m"),))]


def write_golden(release: str) -> None:
    kinds: tuple[type[Any], ...] = (CallOutcome, PlannedWriteback, WritebackResult)
    for cls in kinds:
        content = [{"framed": single_object(cls).encode(each).hex(), "record": as_json(each)} for each in examples(cls)]
        file = GOLDEN / release / f"{KIND_OF[cls]}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write_golden(sys.argv[1])
