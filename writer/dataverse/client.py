"""The edge to Dataverse: the only module that speaks HTTP, and the one translator of its errors.

What a caller must know about a request that got no answer is one thing: can it have taken effect?
`NeverSent`: it never left the building, repeat it freely. `Unanswered`: it may have landed, so read back, or repeat the
same conditional write, never another.

httpx2, not httpx: docs/decisions/0010. Cookies are not kept: `ARRAffinity` would pin one web server and its limits.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2
from opentelemetry.context import get_current
from opentelemetry.trace import Tracer

from runtime.tracing import traceparent_of
from writer.dataverse.identity import TokenSource
from writer.dataverse.spans import HttpSpans
from writer.errors import NeverSent, Unanswered, Untrusted
from writer.settings import DataverseSettings

ETAG_PROPERTY = "@odata.etag"
"""Where a record shows its version."""

_UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request. `path` is relative to the Web API's root, such as `$batch` or `WhoAmI`."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


WHO_AM_I = HttpRequest("GET", "WhoAmI")
"""Shows that the sign-in is accepted, and costs the service next to nothing."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """One HTTP answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


class DataverseClient:
    """One application user's way to the Web API. A 401 renews the token once; the second is returned as the answer."""

    def __init__(
        self,
        settings: DataverseSettings,
        tokens: TokenSource,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.name = tokens.name
        self.tokens = tokens
        self._deadline_s = settings.answer_within_s
        self._most_bytes = settings.max_answer_bytes
        base_url = f"{settings.url}/api/data/{settings.api_version}/"
        self._spans = HttpSpans(base_url, tracer)
        self._client = httpx2.AsyncClient(
            base_url=base_url,
            headers=_ALWAYS,
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            verify=ssl.create_default_context(cafile=settings.ca_file),
            limits=httpx2.Limits(
                max_connections=settings.max_connections,
                max_keepalive_connections=settings.max_connections,
                keepalive_expiry=_KEEP_ALIVE_S,
            ),
            timeout=httpx2.Timeout(
                connect=settings.connect_timeout_s,
                read=settings.read_timeout_s,
                write=settings.write_timeout_s,
                pool=None,  # how many are under way is decided by pacing, not by a time limit
            ),
            proxy=settings.proxy.get_secret_value() if settings.proxy else None,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )

    async def send(self, request: HttpRequest) -> HttpReply:
        """Any answer, whatever its status. Raises NeverSent, Unanswered, SignInRefused, SignInUnavailable."""
        token = await self.tokens.token()
        reply = await self._send(request, token)
        if reply.status == _UNAUTHORIZED and token is not None:
            reply = await self._send(request, await self.tokens.renewed(token), resends=1)
        return reply

    async def _send(self, request: HttpRequest, token: str | None, *, resends: int = 0) -> HttpReply:
        correlation, started = str(uuid.uuid4()), time.monotonic()
        attempt = self._spans.attempt(request.method, request.path, client_request_id=correlation, resends=resends)
        with attempt as span, _translated():
            async with (
                asyncio.timeout(self._deadline_s),
                self._client.stream(
                    request.method, request.path, content=request.body, headers=_headers(request, token, correlation)
                ) as response,
            ):
                body = await self._whole(response)
            # The last of several equal headers counts: x-ms-service-request-id may come twice.
            headers = {name.lower(): value for name, value in response.headers.multi_items()}
            self._spans.answered(span, response.status_code, headers)
        return HttpReply(response.status_code, headers, body, time.monotonic() - started)

    async def _whole(self, response: httpx2.Response) -> bytes:
        """Unpacked, piece by piece, so that no answer takes more memory than is allowed (B3)."""
        pieces, size = [], 0
        async for piece in response.aiter_bytes():
            size += len(piece)
            if size > self._most_bytes:
                raise Unanswered("AnswerTooLarge")
            pieces.append(piece)
        return b"".join(pieces)

    async def close(self) -> None:
        await self._client.aclose()
        await asyncio.to_thread(self.tokens.close)


_KEEP_ALIVE_S = 60.0
"""Below the service's own limit, so that a connection is rarely found closed."""

_ALWAYS = {
    "Accept": "application/json",
    "OData-MaxVersion": "4.0",
    "OData-Version": "4.0",
    "User-Agent": "dataverse-writeback/1",
}


def _headers(request: HttpRequest, token: str | None, correlation: str) -> dict[str, str]:
    """The trace is that of the span around it: what the service logs under it can be found."""
    headers = {"x-ms-client-request-id": correlation, "x-ms-correlation-id": correlation, **request.headers}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if (traceparent := traceparent_of(get_current())) is not None:
        headers["traceparent"] = traceparent.decode()
    return headers


@contextmanager
def _translated() -> Iterator[None]:
    """Errors differ by whether a byte of the request can have been sent. Their text may hold a URL with an id
    of a record, never a body, but only the kind is kept.
    """
    try:
        yield
    except (
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.PoolTimeout,
        httpx2.ProxyError,
        httpx2.UnsupportedProtocol,
        httpx2.InvalidURL,
    ) as error:
        raise (Untrusted if "CERTIFICATE_VERIFY_FAILED" in str(error) else NeverSent)(type(error).__name__) from None
    except (httpx2.HTTPError, TimeoutError) as error:
        raise Unanswered(type(error).__name__) from None
