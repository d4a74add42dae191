"""What reads bytes from outside, one target for each kind. An exception that its reader does not promise is a finding;
so is a reading that takes longer, or more memory, than the runner allows.

    Target("batch-reply", reads, seeds) : `reads(bytes)`; `seeds()` are inputs that a fuzzer starts from.

Parts of one input (a key, headers, a body) stand in one text, each behind a line `---`, so that a corpus is readable.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from planner import mapping
from planner.batch import BatchDecider
from planner.core.deciding import AlreadyPlanned, Decider, Incoming, Placement, Planned, Refused
from planner.core.planning import Policy
from planner.errors import MappingUnfit
from planner.kafka.rejections import rejection
from planner.kafka.traces import kept_headers
from planner.pins.memory import MemoryPins
from runtime.tracing import context_of
from schemas import headers as names
from schemas.codec import Codec, Undecodable, known_schemas, parse, single_object
from schemas.records import CallOutcome, PlannedWriteback, WritebackResult
from schemas.wire import SchemaId, frame
from tests.support.factories import NOON, make_outcome, make_plan, make_result
from tests.unit.planner.strategies import EXAMPLE, example_crm
from writer.core.assignment import ConsumerRecord
from writer.core.batch import ChangeSet, Reply, Request, Succeeded
from writer.core.emission import Observed, late, of_steps, reads
from writer.core.exchanges import PartReply, exchange_of
from writer.core.ledger import decode_settled, encode_settled, is_complete
from writer.core.reconcile import Late, Missing, reconcile
from writer.core.replies import Judgement, Kind, Meaning, retry_after
from writer.core.sign_in import fault_of
from writer.dataverse import metadata
from writer.dataverse.metadata_cache import MetadataCache
from writer.dataverse.pool import Pool
from writer.kafka.records import decoded
from writer.kafka.spans import PlanSpans

CUT = b"\n---\n"
OUTCOMES, PLANS, RESULTS = single_object(CallOutcome), single_object(PlannedWriteback), single_object(WritebackResult)
SPANS = PlanSpans(topic="planned-writebacks", group="writeback-writer")


@dataclass(frozen=True)
class Target:
    name: str
    reads: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]


def _parts(data: bytes, count: int) -> list[bytes]:
    """Exactly `count` of them, empty where the input has no more."""
    found = data.split(CUT, count - 1)
    return found + [b""] * (count - len(found))


def _header_list(text: bytes) -> list[tuple[str, bytes]]:
    """`name: value` lines as record headers, in order, repeated names too."""
    pairs = (line.partition(b": ") for line in text.split(b"\n") if line)
    return [(name.decode("latin-1"), value) for name, _, value in pairs]


# What call systems publish.


_crm = cache(example_crm)


def _outcome(data: bytes) -> None:
    key, headers, value = _parts(data, 3)
    decider = Decider(mapping=_crm(), policy=Policy(), pins=MemoryPins(), placement=Placement(1), encode=PLANS.encode)
    incoming = Incoming(
        topic="call-outcomes", partition=0, offset=0, key=key or None, value=value, received_at=NOON,
        headers=_header_list(headers),
    )  # fmt: skip
    (found,) = asyncio.run(BatchDecider(OUTCOMES, decider, clock=lambda: 0.0).first_decisions([incoming]))
    match found:
        case Refused():
            sent = rejection(found, topic="call-outcomes-rejected", by="planner")
            assert names.reasons(sent.headers)
            assert sent.value == value
        case _:
            assert isinstance(found, Planned | AlreadyPlanned)


def _outcome_seeds() -> list[bytes]:
    outcome = make_outcome()
    return [CUT.join([outcome.queue_item_id.encode(), b"traceparent: 00-1-2-01", OUTCOMES.encode(outcome)])]


# What a registry says, and records written with such a schema.


def _registered(data: bytes) -> None:
    text, body = _parts(data, 2)
    try:
        schema = parse(text.decode("utf-8", "replace"))
    except Exception:  # noqa: BLE001  a registry may hold any text, and its reader takes any exception for "no schema"
        return
    with suppress(Undecodable):
        Codec(CallOutcome, SchemaId(1), lambda _: schema).decode(frame(SchemaId(1), body))


def _registered_seeds() -> list[bytes]:
    text = json.dumps(json.loads(known_schemas("call_outcome").text)).encode()
    small = b'{"type":"record","name":"CallOutcome","fields":[{"name":"x","type":{"type":"array","items":"int"}}]}'
    return [CUT.join([text, OUTCOMES.encode(make_outcome())[10:]]), CUT.join([small, b"\x04\x02\x02\x00"])]


# What stands on our own topics, where others can write too.


def _plan(data: bytes) -> None:
    key, headers, value = _parts(data, 3)
    record = ConsumerRecord(
        partition=0, offset=0, epoch=1, key=key, value=value, headers=_header_list(headers), timestamp_ms=0
    )
    decoded(record, PLANS, SPANS)


def _plan_seeds() -> list[bytes]:
    plan = make_plan()
    return [CUT.join([plan.session_id.encode(), b"traceparent: 00-1-2-01", PLANS.encode(plan)])]


def _result(data: bytes) -> None:
    with suppress(Undecodable):
        RESULTS.decode(data)


def _result_seeds() -> list[bytes]:
    return [RESULTS.encode(make_result())]


def _headers(data: bytes) -> None:
    listed = _header_list(data)
    names.requeue_count(listed)
    names.not_before(listed)
    names.first_appended_ms(listed)
    names.was_read_before(listed)
    names.call_may_exist(listed)
    names.settled_as(listed)
    context_of(names.last(listed, names.TRACEPARENT))
    kept_headers(listed)
    names.reasons(listed)


def _headers_seeds() -> list[bytes]:
    again = names.requeued([], count=3, at=NOON, first_ms=1_767_225_600_000)
    listed = [*again, names.reasons_header([names.Reason("missing", "ended_at", "a time")]), ("replay", b"1")]
    return [b"\n".join(name.encode() + b": " + value for name, value in listed)]


def _committed(data: bytes) -> None:
    text = data.decode("latin-1")
    is_complete(text, 100)
    at = 100
    for start, end in decode_settled(text, 100):
        assert at <= start <= end
        at = end


def _committed_seeds() -> list[bytes]:
    return [encode_settled(100, [(102, 105), (300, 4_000)]).encode()]


# What the CRM answers, or something in front of it.

_SENT = (
    ChangeSet(
        (Request("PATCH", "phonecalls(1)", {"If-None-Match": "*"}), Request("PATCH", "items(1)", {"If-Match": "*"}))
    ),
    Request("GET", "items(1)"),
)


def _reply(data: bytes) -> None:
    status, headers, body = _parts(data, 3)
    named = {name.lower(): value.decode("latin-1") for name, value in _header_list(headers)}
    number = int(status) if status.isdigit() and len(status) == 3 else 200
    exchange = exchange_of(_SENT, number, named, body, seconds=0.1, now=NOON.timestamp())
    assert len(exchange.parts) == len(_SENT)
    for part in exchange.parts:
        assert part.judgement.kind in set(type(part.judgement.kind))
    assert exchange.for_pacing.retry_after is None or exchange.for_pacing.retry_after > 0


def _reply_seeds() -> list[bytes]:
    part = b"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
    landed = b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n" + b"".join(
        b"--c\r\n" + part + b"Content-ID: %d\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n\r\n" % number for number in (1, 2)
    )
    read = (
        b"--c--\r\n--b\r\n"
        + part
        + b'\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"a":1}\r\n--b--\r\n'
    )
    failed = (
        b"--b\r\n" + part + b"Content-ID: 2\r\n\r\nHTTP/1.1 412 Precondition Failed\r\nREQ_ID: 0123456789abcdef\r\n\r\n"
        b'{"error":{"code":"0x80060882","message":"The version of the existing record does not match."}}\r\n--b--\r\n'
    )
    mixed = b"content-type: multipart/mixed; boundary=b\nx-ms-dop-hint: 5\nretry-after: 3"
    throttled = b'{"error":{"code":"0x80072322","message":"Number of requests exceeded the limit."}}'
    missing = b"SecLib::AccessCheckEx failed. Principal user is missing prvReadTask privilege for entity 'task'."
    return [
        CUT.join([b"200", mixed, landed + read]),
        CUT.join([b"412", mixed, failed]),
        CUT.join([b"429", b"retry-after: Wed, 21 Oct 2026 07:28:00 GMT", throttled]),
        CUT.join([b"403", b"", b'{"error":{"code":"0x80040220","message":"' + missing + b'"}}']),
        CUT.join([b"500", b"content-type: text/html", b"<html>"]),
        CUT.join([b"400", b"", b'{"ErrorCode":"-2147220960","Message":"x"}']),
    ]


def _wait(data: bytes) -> None:
    found = retry_after(data.decode("latin-1"), now=NOON.timestamp())
    assert found is None or 0 < found < float("inf")


def _wait_seeds() -> list[bytes]:
    return [b"3", b"0.5", b"1e9", b"nan", b"-1", b"Wed, 21 Oct 2026 07:28:00 GMT", b"Wed, 21 Oct 2026 07:28:00 -0000"]


def _row(data: bytes) -> None:
    """What reads show of the records of a plan, and what is to be sent then."""
    plan, cache = make_plan(), MetadataCache(cast("Pool", None), metadata_ttl_s=60, owner_ttl_s=60)
    bodies = _parts(data, len(plan.steps))
    observed: dict[int, Observed | None] = {}
    for read, body in zip(reads(plan), bodies, strict=False):
        answer = PartReply(Judgement(Kind.DONE, Meaning.LANDED, 200), Succeeded((Reply(200, {}, body),)))
        planned = next(step.attributes for step in plan.steps if step.step_index == read.step_index)
        shown = cache.observed(read, planned, answer)
        observed[read.step_index] = None if isinstance(shown, Judgement) else shown
    match reconcile(plan, observed, Nothing()):
        case Missing(steps, row):
            of_steps(plan, steps, {}, row)
        case Late(steps, row, counts, sets_do_not_call):
            late(plan, steps, {}, row, counts=counts, sets_do_not_call=sets_do_not_call)
        case found:
            assert found is not None


class Nothing:
    """No session has settled before."""

    def of(self, session_id: str) -> None:
        return None


def _row_seeds() -> list[bytes]:
    plan = make_plan()
    rows = [json.dumps({"@odata.etag": 'W/"7"', **step.attributes}).encode() for step in plan.steps]
    return [CUT.join(rows), CUT.join([b"", rows[1], b"{}"])]


def _tables(data: bytes) -> None:
    """Metadata answers. What its reader promises is the tuple below; the cache takes these for "no metadata"."""
    try:
        answers = json.loads(data)
    except (ValueError, RecursionError):
        return
    with suppress(AttributeError, KeyError, TypeError, ValueError):
        metadata.table_facts(answers, {"account": "accounts", "systemuser": "systemusers"})
    with suppress(AttributeError, KeyError, TypeError):
        metadata.catalogue(answers)
        metadata.without_concurrency(answers)


def _tables_seeds() -> list[bytes]:
    column = {
        "LogicalName": "subject", "AttributeType": "String", "AttributeOf": None, "IsValidForCreate": True,
        "IsValidForUpdate": True, "IsValidForRead": True, "IsSecured": False, "SourceType": 0,
    }  # fmt: skip
    link = {
        "ReferencingEntityNavigationPropertyName": "regardingobjectid_account",
        "ReferencedEntity": "account",
        "ReferencingAttribute": "regardingobjectid",
    }
    options = {
        "LogicalName": "statecode",
        "OptionSet": {"Options": [{"Value": 1}]},
        "DateTimeBehavior": {"Value": "UserLocal"},
    }
    casts = [{"value": [options | {"MaxLength": 200, "MinValue": 0, "MaxValue": 5}]}] * 3
    names_ = {"value": [{"LogicalName": "task", "EntitySetName": "tasks", "IsOptimisticConcurrencyEnabled": True}]}
    return [json.dumps([{"value": [column]}, {"value": [link]}, *casts]).encode(), json.dumps(names_).encode()]


def _token_words(data: bytes) -> None:
    fault = fault_of(data.decode("utf-8", "replace"))
    assert str(fault)


def _token_words_seeds() -> list[bytes]:
    return [b"AADSTS7000222: The provided client secret keys are expired.", b"certificate verify failed: self-signed"]


# What an administrator hands in.


def _mapping_file(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=_scratch(), suffix=".json") as file:
        file.write(data)
        file.flush()
        try:
            mapping.load(Path(file.name))
        except MappingUnfit as unfit:
            assert str(unfit)


def _scratch() -> str | None:
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() else None


def _mapping_seeds() -> list[bytes]:
    return [EXAMPLE.read_bytes()]


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("outcome", _outcome, _outcome_seeds),
        Target("registered-schema", _registered, _registered_seeds),
        Target("plan", _plan, _plan_seeds),
        Target("result", _result, _result_seeds),
        Target("headers", _headers, _headers_seeds),
        Target("committed-offsets", _committed, _committed_seeds),
        Target("crm-reply", _reply, _reply_seeds),
        Target("retry-after", _wait, _wait_seeds),
        Target("crm-row", _row, _row_seeds),
        Target("crm-metadata", _tables, _tables_seeds),
        Target("token-service", _token_words, _token_words_seeds),
        Target("mapping-file", _mapping_file, _mapping_seeds),
    )
}
