"""Requests and replies as values, and the bodies that every reply shares."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.crm.call import Call, Preconditions
from simulator.errors import Refusal, odata

JSON = "application/json; odata.metadata=minimal"
FAILED = 400  # and every status above
_NO_PREFERENCES: Mapping[str, str] = {}
_BLANKS = " \t\r\n"
NOWHERE = ("", "", "")


class Headers(dict[str, str]):
    """Headers of a request, names in lower case, and what follows from them. Nobody changes them once they are read.

    Operations of a batch that have the very same header lines share one object, so that what follows is worked out
    once. `admitted` says whether admission found nothing to refuse: without a body (`False`), with one (`True`).
    """

    __slots__ = ("admitted", "conditions", "detects_duplicates", "impersonate", "prefer", "privileges")

    def __init__(self, lines: Mapping[str, str] | None = None) -> None:
        super().__init__(lines or {})
        self.admitted: set[bool] = set()
        # Whether they name a user on whose behalf the caller acts.
        self.impersonate = "mscrmcallerid" in self or "callerobjectid" in self
        # Privileges that the caller needs because of these headers.
        self.privileges = self._privileges()
        # Whether a write that a duplicate rule forbids is to be refused; usually none is.
        self.detects_duplicates = self.get("mscrm.suppressduplicatedetection", "").strip().lower() == "false"
        prefer = self.get("prefer")
        self.prefer: Mapping[str, str] = preferences(prefer) if prefer else _NO_PREFERENCES
        self.conditions = Preconditions.of(self.get("if-match"), self.get("if-none-match"))

    def _privileges(self) -> tuple[str, ...]:
        plugins = self.get("mscrm.bypasscustompluginexecution", "").strip().lower() == "true"
        logic = "mscrm.bypassbusinesslogicexecution" in self
        return (
            *(("prvBypassCustomPlugins",) if plugins else ()),
            *(("prvBypassCustomBusinessLogic",) if logic else ()),
        )


@dataclass(slots=True)
class Request:
    """One operation. `path` is what follows the service root, still percent-encoded."""

    method: str
    path: str
    query: str = ""
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    # What the operation turned out to write, for the log of refusals: table, record id, precondition.
    place: tuple[str, str, str] = NOWHERE

    def json(self, entity_set: str) -> dict[str, Any]:
        """The body as an object. Raises the OData layer's refusal for anything else."""
        try:
            parsed = _parsed(self.body.decode())
        except ValueError as error:
            raise odata(entity_set, f"Invalid JSON. {error}") from None
        except RecursionError:
            raise odata(entity_set, "Invalid JSON. It nests too deep.") from None
        if not isinstance(parsed, dict):
            raise odata(entity_set, "Invalid JSON. An object was expected.")
        return parsed

    @property
    def prefer(self) -> Mapping[str, str]:
        return self.headers.prefer


@dataclass(slots=True)
class Reply:
    """An answer. `entity` is the URL of the row that was written, for references inside a change set."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    entity: str = ""

    @property
    def failed(self) -> bool:
        return self.status >= FAILED


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


_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined] # C's own


def _parsed(text: str) -> Any:
    """What `json.loads` gives. Most bodies are one object without blanks around it, and for them this takes half."""
    try:
        parsed, end = _scan(text, 0)
    except StopIteration:
        return json.loads(text)  # blanks in front; or it says where the mistake is
    return parsed if end == len(text) or not text[end:].strip(_BLANKS) else json.loads(text)


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
