"""What a reply means for the writer: one table, and for anything not in it the answer is to ask a person.

- `done`       it landed.
- `permanent`  a person must act: blocked, with status and code as evidence.
- `throttled`  429: everything of that identity waits as long as the reply says; attempts are not counted.
- `transient`  did not arrive, or the service is in trouble: back off, send the same conditional write again.
- `ambiguous`  a precondition failed, or the answer was lost: read back and decide (core/reconcile).

A code decides before a status does. A 412 is split by its code and by the precondition that was sent, since four
causes share it. A code that says "later" says so whatever status it comes with: throttled, the sign-in, too much, and
what Microsoft documents as "try again" (core/transient_codes). A code or a status that is in no table is suspect: it
is tried again up to a ceiling, then a person is asked. Only the CRM's own words make a reply permanent; what a proxy
or a gateway says never does.

Which plan a permanent reply blocks is not decided here but in core/refusals: what every plan meets is the
installation's trouble. Only status, code, the service's request id and the names of a missing privilege leave this
module: its messages may hold personal data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from writer.core.batch import Request
from writer.core.sign_in import SignInFault
from writer.core.transient_codes import TOO_SLOW_CODES, TROUBLE_CODES


class Kind(StrEnum):
    DONE = "done"
    PERMANENT = "permanent"
    THROTTLED = "throttled"
    TRANSIENT = "transient"
    AMBIGUOUS = "ambiguous"


class Meaning(StrEnum):
    """Why, where the class alone does not say what to do next."""

    LANDED = "landed"
    EXISTS = "exists"
    """A record exists under the id of a create-only write."""
    CHANGED = "changed"
    """The row moved on since the etag that was sent."""
    GONE = "gone"
    """The row that was to be updated is not there."""
    ALTERNATE_KEY = "alternate_key"
    DUPLICATE_RULE = "duplicate_rule"
    DRIFT = "drift"
    """The tables, columns or linked records are not what they were: verify metadata and owners anew, once."""
    SIGN_IN = "sign_in"
    """The token was not accepted: refresh it once. Concerns the identity, never the plan."""
    THROTTLED = "throttled"
    TOO_LARGE = "too_large"
    """Send fewer plans in one request; a plan that is alone in it is refused."""
    TOO_SLOW = "too_slow"
    """Ran into a time limit over there: fewer plans in one request."""
    TROUBLE = "trouble"
    SUSPECT = "suspect"
    """Counts as trouble, but only so often: after `retry.SUSPECT_CEILING` rounds a person is asked."""
    UNANSWERED = "unanswered"
    NOT_ALLOWED = "not_allowed"
    """The application user lacks a privilege."""
    BUSINESS_RULE = "business_rule"
    """A plug-in of the tenant said no."""
    INVALID = "invalid"


class Sent(StrEnum):
    """Which precondition header the operation carried."""

    NOTHING = "nothing"
    MUST_NOT_EXIST = "if_none_match"
    MUST_EXIST = "if_match_any"
    MUST_MATCH = "if_match_etag"


@dataclass(frozen=True, slots=True)
class Privilege:
    """For example `prvCreateTask` on the table `task`; the table is "" if the service did not name it."""

    name: str
    table: str = ""

    def __str__(self) -> str:
        return f"{self.name} on the table {self.table}" if self.table else self.name


@dataclass(frozen=True, slots=True)
class Judgement:
    """`status` is None if no reply came, `code` "" if the service gave none, `retry_after` in seconds.

    `by_the_crm`: the error is in the CRM's own words, not those of something before it.
    """

    kind: Kind
    meaning: Meaning
    status: int | None = None
    code: str = ""
    request_id: str | None = None
    retry_after: float | None = None
    by_the_crm: bool = False
    privilege: Privilege | None = None
    """What the application user lacks, if the service named it."""
    advice: str = ""
    """What is wrong and what a person must do, in our words, where more is known than the meaning says."""
    sign_in: SignInFault | None = None
    """Why there was no token to send it with."""


_DRIFT = (Kind.PERMANENT, Meaning.DRIFT)
_INVALID = (Kind.PERMANENT, Meaning.INVALID)
_DENIED = (Kind.PERMANENT, Meaning.NOT_ALLOWED)
_SIGN_IN = (Kind.TRANSIENT, Meaning.SIGN_IN)
_BUSY = (Kind.THROTTLED, Meaning.THROTTLED)
_TROUBLE = (Kind.TRANSIENT, Meaning.TROUBLE)
_TOO_SLOW = (Kind.TRANSIENT, Meaning.TOO_SLOW)
_SUSPECT = (Kind.TRANSIENT, Meaning.SUSPECT)

BY_CODE: Mapping[int, tuple[Kind, Meaning]] = {
    **dict.fromkeys(TROUBLE_CODES, _TROUBLE),
    **dict.fromkeys(TOO_SLOW_CODES, _TOO_SLOW),
    # not there, or there already; refined by precondition below
    0x80040217: _DRIFT,  # ObjectDoesNotExist: outside an If-Match, a lookup is bound to a missing row
    0x80060891: _DRIFT,  # RecordNotFoundByEntityKey
    0x80040237: (Kind.AMBIGUOUS, Meaning.EXISTS),  # DuplicateRecord
    0x80060892: (Kind.PERMANENT, Meaning.ALTERNATE_KEY),  # DuplicateRecordEntityKey
    0x80060882: (Kind.AMBIGUOUS, Meaning.CHANGED),  # ConcurrencyVersionMismatch
    0x80040333: (Kind.PERMANENT, Meaning.DUPLICATE_RULE),  # DuplicateRecordsFound
    0x80060883: _INVALID,  # ConcurrencyVersionNotProvided
    0x8006088D: _INVALID,  # OptimisticConcurrencyNotEnabled
    0x80060890: _DRIFT,  # EntityKeyNotDefined
    # the payload does not fit the tables
    0x80044331: _DRIFT,  # StringLengthTooLong
    0x8004431A: _DRIFT,  # PicklistValueOutOfRange
    0x8004432F: _DRIFT,  # IntegerValueOutOfRange
    0x80044330: _DRIFT,  # DecimalValueOutOfRange
    0x80048408: _DRIFT,  # InvalidStateCodeStatusCode
    0x80048D19: _DRIFT,  # error identified in payload
    0x8006088A: _DRIFT,  # CrmHttpError: unknown set
    0x80060888: _DRIFT,  # query error
    0x0: _DRIFT,  # could not find a property
    0x80040203: _INVALID,  # InvalidArgument
    0x80040800: _INVALID,  # SdkEntityDoesNotSupportMessage
    0x80040227: _INVALID,  # CannotDeleteDueToAssociation
    0x80043506: _INVALID,  # cannot create activity party of this type
    0x80060897: _INVALID,  # alternate key cannot be reactivated
    0x80040265: (Kind.PERMANENT, Meaning.BUSINESS_RULE),  # IsvAborted
    # the application user may not
    0x80040220: _DENIED,  # PrivilegeDenied
    0x80048306: _DENIED,
    0x80040231: _DENIED,
    0x8004020D: _DENIED,
    0x80040256: _DENIED,
    0x80048405: _DENIED,
    0x80042F09: _DENIED,  # UserNotAssignedRoles
    0x8004A110: _DENIED,  # CannotActOnBehalfOfAnotherUser
    0x8004F502: _DENIED,  # column security
    0x8004F504: _DENIED,
    0x8004F507: _DENIED,
    # the sign-in itself
    0x80072560: _SIGN_IN,  # UserNotMemberOfOrg
    0x8004A100: _SIGN_IN,
    0x8004A101: _SIGN_IN,
    0x8004A102: _SIGN_IN,
    0x8004A103: _SIGN_IN,
    0x8004A104: _SIGN_IN,
    0x8004A105: _SIGN_IN,
    0x80040204: _SIGN_IN,
    0x80044300: _SIGN_IN,
    0x80044302: _SIGN_IN,
    0x80040277: _SIGN_IN,
    # too much
    0x80072321: _BUSY,  # execution time
    0x80072322: _BUSY,  # requests
    0x80072326: _BUSY,  # concurrency
    0x80072329: _BUSY,  # organizations that one application uses
    0x8005F103: _BUSY,
    0x8004418A: (Kind.TRANSIENT, Meaning.TOO_LARGE),  # RequestLengthTooLarge
    # trouble over there
    0x80040224: _SUSPECT,  # IsvUnExpected
    0x80040216: _SUSPECT,  # UnExpected
}
"""Every code the service is known to answer with."""

BY_STATUS: Mapping[int, tuple[Kind, Meaning]] = {
    400: _INVALID,
    401: _SIGN_IN,
    403: _DENIED,
    404: _DRIFT,
    405: _INVALID,
    407: _TROUBLE,
    408: _TROUBLE,
    412: (Kind.AMBIGUOUS, Meaning.CHANGED),
    413: (Kind.TRANSIENT, Meaning.TOO_LARGE),
    421: _TROUBLE,
    425: _TROUBLE,
    429: _BUSY,
    500: _SUSPECT,
    501: _INVALID,
    502: _TROUBLE,
    503: _TROUBLE,
    504: _TOO_SLOW,
    511: _TROUBLE,
}
"""For replies of the CRM without a code. What is in neither table is suspect."""


def judge(
    status: int, headers: Mapping[str, str], body: bytes, *, sent: Sent = Sent.NOTHING, now: float = 0.0
) -> Judgement:
    """Classifies a reply. `headers` in lower case; `now` in seconds since 1970, for a Retry-After that is a date."""
    answered, code, message = _error_of(body)
    kind, meaning = _classify(status, code, answered=answered, sent=sent)
    return Judgement(
        kind,
        meaning,
        status,
        "" if code is None else f"0x{code:08x}",
        request_id_of(headers),
        retry_after(headers.get("retry-after"), now=now),
        by_the_crm=answered,
        privilege=_privilege(message) if meaning is Meaning.NOT_ALLOWED else None,
    )


def lost() -> Judgement:
    """The request went out, and no complete answer came back."""
    return Judgement(Kind.AMBIGUOUS, Meaning.UNANSWERED)


def never_sent(advice: str = "") -> Judgement:
    """The request did not leave the building."""
    return Judgement(Kind.TRANSIENT, Meaning.TROUBLE, advice=advice)


def not_signed_in(fault: SignInFault) -> Judgement:
    """There was no token to send it with, or the CRM does not accept the one there was."""
    return Judgement(Kind.TRANSIENT, Meaning.SIGN_IN, code=fault.code, advice=str(fault), sign_in=fault)


def sent_with(request: Request) -> Sent:
    """Which precondition a request carries."""
    if request.headers.get("If-None-Match") == "*":
        return Sent.MUST_NOT_EXIST
    match request.headers.get("If-Match"):
        case None:
            return Sent.NOTHING
        case "*":
            return Sent.MUST_EXIST
        case _:
            return Sent.MUST_MATCH


_LATER = (Kind.TRANSIENT, Kind.THROTTLED)


def _classify(status: int, code: int | None, *, answered: bool, sent: Sent) -> tuple[Kind, Meaning]:
    if 200 <= status < 300:
        return Kind.DONE, Meaning.LANDED
    if status == 429:
        return _BUSY
    by_code = None if code is None else BY_CODE.get(code)
    if by_code is not None and by_code[0] in _LATER and by_code != _SUSPECT:
        return by_code
    if status == 412:
        return _precondition_failed(code, sent)
    if status == 404 and answered and sent in (Sent.MUST_EXIST, Sent.MUST_MATCH):
        return Kind.AMBIGUOUS, Meaning.GONE
    if by_code is not None:
        return by_code
    by_status = BY_STATUS.get(status, _SUSPECT)
    says_no = by_status[0] is Kind.PERMANENT
    return _SUSPECT if says_no and (code is not None or not answered) else by_status


def _precondition_failed(code: int | None, sent: Sent) -> tuple[Kind, Meaning]:
    """A create-only write that meets any other 412 met its record: live codes for that differ."""
    by_code = BY_CODE.get(-1 if code is None else code, BY_STATUS[412])
    if by_code[1] in (Meaning.ALTERNATE_KEY, Meaning.DUPLICATE_RULE):
        return by_code
    return (Kind.AMBIGUOUS, Meaning.EXISTS) if sent is Sent.MUST_NOT_EXIST else by_code


_CODE = re.compile(r"0x[0-9a-fA-F]{1,8}|-?[0-9]{1,10}")


def _error_of(body: bytes) -> tuple[bool, int | None, str]:
    """Whether the CRM itself answered, its code and its message; both shapes of error body, a code in hexadecimal or as
    a signed decimal.
    """
    try:
        parsed: Any = json.loads(body)
    except (ValueError, RecursionError):
        return False, None, ""
    if not isinstance(parsed, dict):
        return False, None, ""
    error = parsed.get("error")
    own = error if isinstance(error, dict) else {"code": parsed.get("ErrorCode"), "message": parsed.get("Message")}
    code, message = own.get("code"), own.get("message")
    answered = isinstance(error, dict) or "Message" in parsed or "ErrorCode" in parsed
    if not isinstance(code, str | int) or not _CODE.fullmatch(str(code)):
        return answered and code in (None, ""), None, ""  # gateways use the same shape, with words for codes
    base = 16 if str(code).startswith("0x") else 10  # base 0 would refuse a decimal with a leading zero
    return answered, int(str(code), base) & 0xFFFFFFFF, message if isinstance(message, str) else ""


_PRIVILEGE = re.compile(r"missing (prv[A-Za-z0-9_]{1,100}) privilege(?:.{0,200}?for entity '([A-Za-z0-9_]{1,100})')?")


def _privilege(message: str) -> Privilege | None:
    """The two names in the service's sentence about a missing privilege; nothing else of it is kept."""
    found = _PRIVILEGE.search(message)
    return Privilege(found[1], found[2] or "") if found else None


_REQUEST_ID = re.compile(r"[0-9a-fA-F-]{8,64}")


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """The service's own id of the request; sent twice at times, then the last counts."""
    raw = (headers.get("x-ms-service-request-id") or headers.get("req_id") or "").rpartition(",")[2].strip()
    return raw if _REQUEST_ID.fullmatch(raw) else None


_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def retry_after(value: str | None, *, now: float) -> float | None:
    """Seconds to wait, from seconds or an HTTP date; None if the header says nothing readable, or no time to come."""
    seconds = _seconds((value or "").strip(), now)
    return seconds if seconds > 0 else None


def _seconds(value: str, now: float) -> float:
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        return parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0
