"""Requests and replies as values, and the bodies that every reply shares."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.crm.call import Call
from simulator.errors import Refusal, odata

JSON = "application/json; odata.metadata=minimal"


@dataclass(slots=True)
class Request:
    """One operation. `path` is what follows the service root, still percent-encoded; header names in lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    # What the operation turned out to write, for the log of refusals: table, record id, precondition.
    place: tuple[str, str, str] = ("", "", "")

    def json(self, entity_set: str) -> dict[str, Any]:
        """The body as an object. Raises the OData layer's refusal for anything else."""
        try:
            parsed = json.loads(self.body.decode())
        except ValueError as error:
            raise odata(entity_set, f"Invalid JSON. {error}") from None
        except RecursionError:
            raise odata(entity_set, "Invalid JSON. It nests too deep.") from None
        if not isinstance(parsed, dict):
            raise odata(entity_set, "Invalid JSON. An object was expected.")
        return parsed

    @property
    def prefer(self) -> dict[str, str]:
        """`Prefer` as names and values."""
        header = self.headers.get("prefer")
        return preferences(header) if header else {}


@dataclass(slots=True)
class Reply:
    """An answer. `entity` is the URL of the row that was written, for references inside a change set."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    entity: str = ""

    @property
    def failed(self) -> bool:
        return self.status >= 400


def next_link(call: Call, request: Request, token: str) -> str:
    """The URL of the next page: the same request with the token."""
    pairs = request.query.split("&")
    kept = "".join(f"{pair}&" for pair in pairs if pair and not pair.startswith(("$skiptoken", "%24skiptoken")))
    return f"{call.base}/{request.path}?{kept}$skiptoken={token}"


def preferences(header: str) -> dict[str, str]:
    """`a=b,c="d,e",f` into names and values; quotes keep commas together. The first of a name counts (RFC 7240)."""
    found: dict[str, str] = {}
    quoted = False
    start = 0
    for at, letter in enumerate(header + ","):
        if letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            name, _, value = header[start:at].strip().partition("=")
            if name.strip():
                found.setdefault(name.strip().lower(), value.strip().strip('"'))
            start = at + 1
    return found


def no_content(headers: dict[str, str] | None = None) -> Reply:
    return Reply(204, {"OData-Version": "4.0", **(headers or {})})


def show(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, {"Content-Type": JSON, "OData-Version": "4.0", **(headers or {})}, _dump(body))


_dump_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _dump(body: Any) -> bytes:
    return _dump_text(body).encode(errors="replace")


def refuse(refusal: Refusal, prefer: Mapping[str, str] | None = None) -> Reply:
    """The error body. With annotations asked for, it carries the extra members that the service then adds."""
    error: dict[str, Any] = {"code": refusal.code, "message": refusal.message}
    if prefer and "odata.include-annotations" in prefer:
        error["@Microsoft.PowerApps.CDS.ErrorDetails.OperationStatus"] = "0"
        error["@Microsoft.PowerApps.CDS.ErrorDetails.SubErrorCode"] = "-2146233088"
        error["@Microsoft.PowerApps.CDS.HelpLink"] = "http://go.microsoft.com/fwlink/?LinkID=398563"
        error["@Microsoft.PowerApps.CDS.TraceText"] = ""
        error["@Microsoft.PowerApps.CDS.InnerError.Message"] = refusal.message
    return show({"error": error}, refusal.status, dict(refusal.headers))
