"""Replies on the wire: the headers every answer has, and answers that are cut short on purpose."""

import asyncio
import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import cast

from aiohttp import web
from aiohttp.http import SERVER_SOFTWARE, HttpVersion10

from simulator import tenant
from simulator.faults.actions import Cut
from simulator.limits import Verdict
from simulator.service import Simulator
from simulator.webapi import Reply
from simulator.webapi.batch.writer import reason
from simulator.webapi.messages import Headers

# Smaller answers gain less on the wire than they cost to compress.
_WORTH_COMPRESSING = 8 * 1024
_WITHOUT_BODY = frozenset({204, 304})
_REQUEST_ID = "x-ms-service-request-id"
_EXPOSED = (
    "Preference-Applied,OData-EntityId,Location,ETag,OData-Version,Content-Encoding,Retry-After,REQ_ID,"
    "x-ms-service-request-id,x-ms-ratelimit-burst-remaining-xrm-requests,x-ms-ratelimit-time-remaining-xrm-requests,"
    "x-ms-dop-hint"
)


def _takes_gzip(header: str) -> bool:
    return any(
        part.partition(";")[0].strip() == "gzip" and "q=0" not in part.replace(" ", "").replace("q=0.", "")
        for part in header.lower().split(",")
    )


def _shared_with(origin: str) -> dict[str, str]:
    """CORS: pages of any origin may call, as the service lets them."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": _EXPOSED,
    }


def preflight(headers: Mapping[str, str]) -> web.Response:
    """The answer to a browser that asks, without a token, whether a page may send a request."""
    allowed = {
        "Access-Control-Allow-Methods": "GET,POST,PATCH,PUT,DELETE,OPTIONS",
        "Access-Control-Allow-Headers": headers.get("access-control-request-headers", ""),
        "Access-Control-Max-Age": "3600",
    }
    return web.Response(status=200, headers=_shared_with(headers["origin"]) | allowed)


@lru_cache(maxsize=512)
def headers_of(lines: tuple[tuple[bytes, bytes], ...]) -> Headers:
    """The header lines of a request, which a client sends again and again. A repeated one is one list, as HTTP says."""
    found: dict[str, str] = {}
    for name, value in lines:
        lower, text = name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape")
        if lower in found:
            found[lower] = f"{found[lower]}{'; ' if lower == 'cookie' else ', '}{text}"
        else:
            found[lower] = text
    return Headers(found)


def add_service_headers(reply: Reply, server: int, verdict: Verdict | None, simulator: Simulator) -> None:
    """Request id, limits and server affinity, as the service sends them."""
    request_id = simulator.organization.ids()
    headers = reply.headers
    headers["REQ_ID"] = request_id
    headers[_REQUEST_ID] = request_id
    if verdict is None:
        return
    limits = simulator.protection.limits
    headers["x-ms-ratelimit-burst-remaining-xrm-requests"] = str(verdict.burst_remaining)
    headers["x-ms-ratelimit-time-remaining-xrm-requests"] = f"{verdict.time_remaining:,.2f}"
    headers.update(_of_server(server if limits.affinity else None, limits.dop_hint))


@lru_cache(maxsize=64)
def _of_server(pinned: int | None, dop_hint: int) -> dict[str, str]:
    """What every answer of one web server says; `pinned` is its number, when a cookie is to bring the caller back."""
    affinity = {} if pinned is None else {"Set-Cookie": f"ARRAffinity={pinned:064x}; path=/; HttpOnly"}
    return {
        "x-ms-dop-hint": str(dop_hint),
        **affinity,
        "CRM.ServiceId": "framework",
        "X-Source": tenant.ORGANIZATION_ID,
    }


def response(reply: Reply, headers: Mapping[str, str] | None = None) -> web.StreamResponse:
    """The answer; compressed when the request's `headers` take it and it is worth it, and open to a page's origin."""
    if headers is not None and "origin" in headers:
        reply.headers |= _shared_with(headers["origin"])
    if len(reply.body) < _WORTH_COMPRESSING:
        return cast("web.StreamResponse", _Small(reply))
    answer = web.Response(status=reply.status, body=reply.body, headers=reply.headers)
    if headers is not None and _takes_gzip(headers.get("accept-encoding", "")):
        answer.enable_compression(web.ContentCoding.gzip)
        answer.headers["Vary"] = "Accept-Encoding"
    answer.headers.add(_REQUEST_ID, reply.headers.get(_REQUEST_ID, ""))
    return answer


class _Small:
    """An answer that goes out in one piece: all that aiohttp's server asks of one, and nothing else. Most answers are
    small, and with aiohttp's own class a quarter of a small request's time goes into putting its headers into a
    dictionary and taking them out again.
    """

    __slots__ = ("_reply", "_sent", "keep_alive", "status")

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.keep_alive = True
        self._reply = reply
        self._sent = False

    @property
    def prepared(self) -> bool:
        return self._sent

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send everything, once. Raises ConnectionResetError for a caller that is gone."""
        if self._sent:
            return
        self._sent, self.keep_alive = True, request.keep_alive
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the caller has closed the connection")
        request.transport.write(self._bytes(request))

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything has been sent."""

    def _bytes(self, request: web.BaseRequest) -> bytes:
        reply, status = self._reply, self._reply.status
        bare, old = status in _WITHOUT_BODY, request.version == HttpVersion10
        own = "" if bare else f"Content-Length: {len(reply.body)}\r\n"
        if reply.body and "Content-Type" not in reply.headers:
            own += "Content-Type: application/octet-stream\r\n"
        if not self.keep_alive:
            own += "Connection: close\r\n"
        elif old:
            own += "Connection: keep-alive\r\n"
        # The service sends the request's id under this name twice.
        again = reply.headers.get(_REQUEST_ID, "")
        end = f"{_REQUEST_ID}: {again}\r\n{own}{_last_lines(int(time.time()))}"
        head = head_of(reply, end, version="1.0" if old else "1.1")
        return head if bare or request.method == "HEAD" else head + reply.body


@lru_cache(maxsize=2)
def _last_lines(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"


def head_of(reply: Reply, end: str, version: str = "1.1") -> bytes:
    """Status line and headers. Raises ValueError for a line end in one of them, which would make two."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in reply.headers.items()])
    if lines.count("\n") != len(reply.headers) or lines.count("\r") != len(reply.headers):
        raise ValueError("a line end in a header")
    return f"HTTP/{version} {reply.status} {reason(reply.status)}\r\n{lines}{end}".encode()


def raw(reply: Reply) -> bytes:
    """The answer as bytes of HTTP/1.1."""
    return head_of(reply, f"Content-Length: {len(reply.body)}\r\n\r\n") + reply.body


async def cut(http: web.BaseRequest, reply: Reply, action: Cut) -> web.StreamResponse:
    """End the connection as the fault says; what was written has been written."""
    if action.hold_seconds:
        await asyncio.sleep(action.hold_seconds)
    transport = http.transport
    answer = response(reply)
    if action.moment == "after":
        await answer.prepare(http)
        await answer.write_eof()
        if transport is not None:
            transport.close()
        return answer
    if transport is not None:
        if action.moment == "during":
            whole = raw(reply)
            transport.write(whole[: len(whole) // 2])
            transport.close()
        else:
            transport.abort()
    return answer
