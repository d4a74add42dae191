"""What is asked of Dataverse, as spans: one for each request of the engine, with a link to each plan that shares it,
and below it one for each time that it went over the wire. Free if tracing is off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from opentelemetry.trace import Link, Span, SpanKind, Tracer, get_tracer, set_span_in_context

from runtime.tracing import failed, inside, span_of
from writer.core.exchanges import Exchange
from writer.core.replies import Kind, request_id_of

_FAILED = 400


class RequestSpans:
    def __init__(self, tracer: Tracer | None = None) -> None:
        self._tracer = tracer or get_tracer("writer")

    @contextmanager
    def request(self, operation: str, traces: Sequence[object], *, identity: str) -> Iterator[Span]:
        """A child of the first plan's span. If others share it, each is linked with it, in both directions: who looks
        at one of them finds the request, and the request names them all."""
        plans = [span_of(each) for each in traces]
        shared = plans if len(plans) > 1 else []
        links = [Link(plan.get_span_context()) for plan in shared if plan.get_span_context().is_valid]
        parent = set_span_in_context(plans[0]) if plans else None
        span = self._tracer.start_span(f"dataverse {operation}", parent, links=links)
        if span.is_recording():
            span.set_attributes(
                {"writeback.operation": operation, "writeback.plans": len(plans), "writeback.identity": identity}
            )
            for plan in shared:
                plan.add_link(span.get_span_context())
        with inside(span):
            yield span

    @staticmethod
    def replied(span: Span, exchange: Exchange) -> None:
        """A part that was refused is its plan's own; the request failed if no reply of the service's came to it."""
        whole = exchange.whole
        span.set_attribute("writeback.reply", whole.kind)
        if whole.kind is not Kind.DONE:
            failed(span, whole.meaning)

    @contextmanager
    def verifying(self, trace: object) -> Iterator[None]:
        """What is asked about the names in a plan."""
        span = self._tracer.start_span("dataverse verify", set_span_in_context(span_of(trace)))
        with inside(span):
            yield


class HttpSpans:
    """One per client: a span for each time that a request goes over the wire."""

    def __init__(self, base_url: str, tracer: Tracer | None = None) -> None:
        self._tracer = tracer or get_tracer("writer")
        self._base_url = base_url
        url = urlsplit(base_url)
        self._server: dict[str, str | int] = {
            "server.address": url.hostname or "",
            "server.port": url.port or {"http": 80}.get(url.scheme, 443),
        }

    @contextmanager
    def attempt(self, method: str, path: str, *, client_request_id: str, resends: int) -> Iterator[Span]:
        """The query and the key of a record are left out of the URL: they may hold what a person typed (B1)."""
        target = path.partition("?")[0].partition("(")[0]
        span = self._tracer.start_span(f"{method} {target}", kind=SpanKind.CLIENT)
        if span.is_recording():
            span.set_attributes(
                {
                    **self._server,
                    "http.request.method": method,
                    "url.full": self._base_url + target,
                    "url.template": target,
                    "http.request.header.x-ms-client-request-id": [client_request_id],
                }
            )
            if resends:
                span.set_attribute("http.request.resend_count", resends)
        with inside(span):
            yield span

    @staticmethod
    def answered(span: Span, status: int, headers: dict[str, str]) -> None:
        span.set_attribute("http.response.status_code", status)
        if (request_id := request_id_of(headers)) is not None:
            span.set_attribute("http.response.header.x-ms-service-request-id", [request_id])
        if status >= _FAILED:
            failed(span, str(status))
