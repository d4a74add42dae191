"""What a request may carry: every header and preference of the documented requests, each decided on.

A decision is "built", or "no effect: why", or "refused: why". What is refused, and what belongs to the service and
is in no table, gets a refusal, so that nobody takes an answer for more than it is.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

from simulator import errors
from simulator.crm.call import NO_PRECONDITIONS
from simulator.webapi.messages import Request

Check = Callable[[str], bool]


def _any(_: str) -> bool:
    return True


def _no_boolean(value: str) -> bool:
    return value.strip().lower() not in {"true", "false"}


_BYPASSED = frozenset({"CustomSync", "CustomAsync"})


def _no_logic(value: str) -> bool:
    return not {each.strip() for each in value.split(",")} <= _BYPASSED


def _not_version_4(value: str) -> bool:
    return value.strip() not in {"4.0", "4.01"}


@lru_cache(maxsize=256)
def _not_json(value: str) -> bool:
    """Whether an Accept header leaves no room for JSON with minimal or no metadata."""
    return not any(_accepted(part) for part in value.split(","))


def _accepted(part: str) -> bool:
    kind, *parameters = (item.strip().lower() for item in part.split(";"))
    if kind in {"multipart/mixed", "multipart/*", "text/plain", "application/xml", "text/html", "text/xml"}:
        return True  # what a batch, a raw value and $metadata are; another reply is JSON all the same
    if kind not in {"", "*/*", "application/json", "application/*"}:
        return False
    return not any(item in {"odata.metadata=full", "ieee754compatible=true"} for item in parameters)


@lru_cache(maxsize=256)
def _other_body(value: str) -> bool:
    kind, *parameters = (item.strip().lower() for item in value.split(";"))
    if kind == "application/json":
        return "ieee754compatible=true" in parameters
    # curl, and clients without a body, send these; the body is read as JSON then.
    return kind not in {"multipart/mixed", "application/http", "application/x-www-form-urlencoded", "text/plain", ""}


_BYPASS = "no effect: there are no plug-ins or flows to pass by"
_BYPASS_LOGIC = "refused unless CustomSync, CustomAsync or both; then it needs a privilege, and has no effect"

# Header -> the decision, and when it is refused (never, for what is built or has no effect).
HEADERS: dict[str, tuple[str, Check | None]] = {
    "accept": ("refused: JSON is answered, with minimal or no metadata and plain numbers", _not_json),
    "accept-encoding": ("built: gzip", None),
    "authorization": ("built", None),
    "callerobjectid": ("built", None),
    "mscrmcallerid": ("built", None),
    "consistency": ("no effect: metadata is never old here", None),
    "content-type": ("refused: a body is JSON, or a batch", _other_body),
    "if-match": ("built on one record; refused elsewhere", None),
    "if-none-match": ("built on one record; refused elsewhere", None),
    "odata-version": ("refused: the service speaks 4.0", _not_version_4),
    "odata-maxversion": ("refused: the service speaks 4.0", _not_version_4),
    "prefer": ("built, see the preferences", None),
    "mscrm.suppressduplicatedetection": ("built: true or false; rules are made through the control API", _no_boolean),
    "mscrm.bypasscustompluginexecution": (_BYPASS, None),
    "mscrm.bypassbusinesslogicexecution": (_BYPASS_LOGIC, _no_logic),
    "mscrm.bypassbusinesslogicexecutionstepids": (_BYPASS, None),
    "mscrm.suppresscallbackregistrationexpanderjob": (_BYPASS, None),
    "mscrm.mergelabels": ("no effect: 1033 is the only language", None),
    "mscrm.solutionuniquename": ("refused: there are no solutions here", _any),
    "mscrm.solutionname": ("refused: there are no solutions here", _any),
    "mscrm.returnnotifications": ("refused: there are no notifications here", _any),
    "autodisassociate": ("refused: undocumented on tables that are here", _any),
    "odata-isolation": ("refused: reads are not isolated from each other", _any),
    "isolation": ("refused: reads are not isolated from each other", _any),
    "odata-entityid": ("no effect: the service answers with it", None),
    "x-http-method": ("refused: the verb is that of the request", _any),
    "x-http-method-override": ("refused: the verb is that of the request", _any),
    "if-modified-since": ("refused: there are etags", _any),
    "if-unmodified-since": ("refused: there are etags", _any),
    "range": ("refused: there are no files here", _any),
    "x-ms-file-name": ("refused: there are no files here", _any),
    "x-ms-transfer-mode": ("refused: there are no files here", _any),
}
# Preference -> the decision, and the values it takes (any, when empty).
PREFERENCES: dict[str, tuple[str, frozenset[str]]] = {
    "return": ("built", frozenset({"representation", "minimal"})),
    "odata.include-annotations": ("built", frozenset()),
    "odata.maxpagesize": ("built", frozenset()),
    "odata.continue-on-error": ("built for a batch", frozenset({"", "true", "false"})),
    "odata.track-changes": ("refused: there is no change tracking here", frozenset()),
    "respond-async": ("refused: every request is answered at once", frozenset()),
    "odata.allow-entityreferences": ("refused: references are answered where they are asked for", frozenset()),
}
_OURS = ("mscrm", "odata-")
_OF_VALUES = frozenset({"mscrm.suppressduplicatedetection", "mscrm.bypassbusinesslogicexecution"})
"""The service takes them, with some values."""


def admit(request: Request, *, body: bool = True) -> None:
    """Raises a refusal for the first header or preference that cannot be honoured. A batch reads its `body` itself."""
    headers = request.headers
    body = body and bool(request.body)
    if body in headers.admitted:
        return
    for name, value in headers.items():
        known = HEADERS.get(name)
        if known is not None:
            decision, refuses = known
            if refuses is not None and refuses(value) and (name != "content-type" or body):
                raise _refused(name, value, decision)
        elif name.startswith(_OURS):
            raise errors.not_built(f"the header '{name}'")
    if headers.prefer:
        preferences(headers.prefer)
    headers.admitted.add(body)


def _refused(name: str, value: str, decision: str) -> errors.Refusal:
    reason = decision.partition(": ")[2]
    if name == "accept":
        return errors.Refusal(415, "0x80060888", f"A supported MIME type could not be found: {reason}.")
    if name == "content-type":
        return errors.Refusal(415, "0x80060888", f"The content type '{value}' is not supported: {reason}.")
    if name in _OF_VALUES:
        return errors.invalid_argument(f"The header '{name}: {value}' has no such value: {reason}.")
    if name.startswith("odata-") and "version" in name:
        return errors.bad_query(f"The header '{name}: {value}' is not supported: {reason}.")
    return errors.not_built(f"the header '{name}: {value}': {reason}")


def preferences(prefer: Mapping[str, str]) -> None:
    """Raises a refusal for a preference that cannot be honoured."""
    for name, value in prefer.items():
        decision, values = PREFERENCES.get(name, ("refused: it is unknown", frozenset()))
        if decision.startswith("refused") and value != "false":
            raise errors.not_built(f"the preference '{name}'{decision.removeprefix('refused')}")
        if values and value.lower() not in values:
            raise errors.bad_query(f"The preference '{name}={value}' is not valid.")


def without_conditions(request: Request, but: str = "") -> None:
    """Raises a refusal for a precondition where there is no one record that it could concern.

    `but` names a header that may say `*`: that what is changed has to be there, which it has anyway.
    """
    if request.headers.conditions is NO_PRECONDITIONS:
        return
    for name in ("if-match", "if-none-match"):
        value = request.headers.get(name, "").strip()
        if value not in {"", "null"} and not (name == but and value == "*"):
            raise errors.bad_query(
                f"The header '{name}: {value}' has no meaning for {request.method} of this resource."
            )
