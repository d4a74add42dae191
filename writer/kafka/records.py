"""A record of the planned topic as a plan, and the trace that it hands on."""

from __future__ import annotations

from opentelemetry.trace import set_span_in_context

from runtime.errors import RegistryUnavailable
from runtime.tracing import span_of, traceparent_of
from schemas import headers
from schemas.codec import Codec, Undecodable, UnknownSchema
from schemas.records import PlannedWriteback
from writer.core.assignment import ConsumerRecord
from writer.core.messages import Decoded, Unreadable
from writer.core.plan_check import reasons_against
from writer.kafka.spans import PlanSpans

_NEWER = "run a writer that is at least as new as the planner, with its schema registry; nothing is skipped"


def decoded(record: ConsumerRecord, codec: Codec[PlannedWriteback], spans: PlanSpans) -> Decoded | Unreadable:
    """The plan, every reason why the record is none, or why nobody can say at present."""
    try:
        plan = codec.decode(record.value or b"")
    except UnknownSchema as error:
        return Unreadable(record, str(error), _NEWER, spans.sender_of(record))
    except RegistryUnavailable as error:
        return Unreadable(record, str(error), "nothing is skipped", spans.sender_of(record))
    except Undecodable as error:
        return Decoded(record, [headers.Reason("undecodable", None, str(error))], spans.begun(record, None))
    if reasons := reasons_against(plan, record.key):
        return Decoded(record, reasons, spans.begun(record, None))
    return Decoded(record, plan, spans.begun(record, plan))


def traceparent(trace: object) -> bytes | None:
    """What hands the trace of a plan on to its result."""
    return traceparent_of(set_span_in_context(span_of(trace)))
