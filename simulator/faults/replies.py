"""The service's own troubles, as replies."""

from simulator.errors import Refusal
from simulator.faults.actions import Known, Status
from simulator.webapi.messages import Reply, refuse

_HTML = "<html><head><title>{0} {1}</title></head><body><center><h1>{0} {1}</h1></center></body></html>"
_SQL = "Sql error: {0} CRM ErrorCode: {1} Sql ErrorCode: -2146232060 Sql Number: {2}"

_REFUSALS = {
    "sql_deadlock": Refusal(500, "0x80044150", _SQL.format("Generic SQL error.", -2147204784, 1205)),
    "sql_timeout": Refusal(500, "0x80044151", _SQL.format("SQL timeout expired.", -2147204783, -2)),
    "server_busy": Refusal(503, "0x8004a001", "The server is busy and the request was not completed. Try again later."),
    "lock": Refusal(500, "0x80044339", "Could not obtain a lock on the resource."),
    "plugin": Refusal(400, "0x80040265", "A plug-in refused the operation."),
    "unexpected": Refusal(400, "0x80040216", "An unexpected error occurred."),
    "forbidden": Refusal(403, "0x80048306", "Principal user is missing a privilege."),
    "throttled": Refusal(
        429,
        "0x80072322",
        "Number of requests exceeded the limit of 6000 over time window of 300 seconds.",
        (("Retry-After", "1"),),
    ),
}
_PAGES = {
    "bad_gateway": (502, "Bad Gateway"),
    "unavailable": (503, "Service Temporarily Unavailable"),
    "gateway_timeout": (504, "Gateway Time-out"),
}


def known(action: Known) -> Reply:
    if action.name == "unauthorized":
        return unauthorized("", "")
    if action.name in _PAGES:
        return Reply(_PAGES[action.name][0], {"Content-Type": "text/html"}, _HTML.format(*_PAGES[action.name]).encode())
    return refuse(_REFUSALS[action.name])


def status(action: Status) -> Reply:
    headers = dict(action.headers)
    if action.retry_after is not None:
        headers["Retry-After"] = str(action.retry_after)
    if action.body is not None:
        kind = "text/html" if action.body.lstrip().startswith("<") else "application/json"
        return Reply(action.status, {"Content-Type": kind, **headers}, action.body.encode())
    reply = refuse(Refusal(action.status, action.code, action.message))
    reply.headers.update(headers)
    return reply


def unauthorized(authority: str, resource: str) -> Reply:
    """A 401 has no body; the header says where to sign in."""
    return Reply(401, {"WWW-Authenticate": f"Bearer authorization_uri={authority}, resource_id={resource}"})
