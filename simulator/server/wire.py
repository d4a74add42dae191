"""Replies on the wire: the headers every answer has, and answers that are cut short on purpose."""

import asyncio

from aiohttp import web

from simulator import tenant
from simulator.faults.actions import Cut
from simulator.limits import Verdict
from simulator.service import Simulator
from simulator.webapi import Reply
from simulator.webapi.batch.writer import reason


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


def response(reply: Reply) -> web.Response:
    answer = web.Response(status=reply.status, body=reply.body, headers=reply.headers)
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
