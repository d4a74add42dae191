"""Replies on the wire: the headers every answer has, and answers that are cut short on purpose."""

import asyncio
from collections.abc import Mapping

from aiohttp import web

from simulator import tenant
from simulator.faults.actions import Cut
from simulator.limits import Verdict
from simulator.service import Simulator
from simulator.webapi import Reply
from simulator.webapi.batch.writer import reason

# Smaller answers gain less on the wire than they cost to compress.
_WORTH_COMPRESSING = 8 * 1024
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


def headers_of(http: web.BaseRequest) -> dict[str, str]:
    """Names in lower case; a repeated header is one list, as HTTP says."""
    found: dict[str, str] = {}
    for name, value in http.headers.items():
        lower = name.lower()
        if lower in found:
            found[lower] = f"{found[lower]}{'; ' if lower == 'cookie' else ', '}{value}"
        else:
            found[lower] = value
    return found


def add_service_headers(reply: Reply, server: int, verdict: Verdict | None, simulator: Simulator) -> None:
    """Request id, limits and server affinity, as the service sends them."""
    request_id = simulator.organization.ids()
    headers = reply.headers
    headers["REQ_ID"] = request_id
    headers["x-ms-service-request-id"] = request_id
    if verdict is None:
        return
    limits = simulator.protection.limits
    headers["x-ms-ratelimit-burst-remaining-xrm-requests"] = str(verdict.burst_remaining)
    headers["x-ms-ratelimit-time-remaining-xrm-requests"] = f"{verdict.time_remaining:,.2f}"
    headers["x-ms-dop-hint"] = str(limits.dop_hint)
    if limits.affinity:
        headers["Set-Cookie"] = f"ARRAffinity={server:064x}; path=/; HttpOnly"
    headers["CRM.ServiceId"] = "framework"
    headers["X-Source"] = tenant.ORGANIZATION_ID


def response(reply: Reply, headers: Mapping[str, str] | None = None) -> web.Response:
    """The answer; compressed when the request's `headers` take it and it is worth it, and open to a page's origin."""
    answer = web.Response(status=reply.status, body=reply.body, headers=reply.headers)
    if headers is not None:
        if len(reply.body) >= _WORTH_COMPRESSING and _takes_gzip(headers.get("accept-encoding", "")):
            answer.enable_compression(web.ContentCoding.gzip)
            answer.headers["Vary"] = "Accept-Encoding"
        if "origin" in headers:
            answer.headers.update(_shared_with(headers["origin"]))
    answer.headers.add("x-ms-service-request-id", reply.headers.get("x-ms-service-request-id", ""))
    return answer


def raw(reply: Reply) -> bytes:
    """The answer as bytes of HTTP/1.1."""
    lines = [f"HTTP/1.1 {reply.status} {reason(reply.status)}", f"Content-Length: {len(reply.body)}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + reply.body


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
