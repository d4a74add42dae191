"""Nothing is ignored in silence: each documented request, with each option, header, preference and attribute added.

What is added has a value that nobody could heed. So an answer that stays the same has passed it over, and that is
allowed only to what the tables of decisions say has no effect, and to a preference that the answer does not say it
applied (RFC 7240).
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

from simulator import tenant
from simulator.crm import Call
from simulator.query.fetchxml import DECISIONS
from simulator.query.options import OPTIONS
from simulator.testing import RunningSimulator
from simulator.webapi import Reply, Request, handle
from simulator.webapi.admission import HEADERS, PREFERENCES
from simulator.webapi.messages import Headers
from tests.contract.simulator.test_requests import REQUESTS, crm, fill, url_of

__all__ = ["crm"]
BASE = "http://localhost/api/data/v9.2"
UNKNOWN_OPTIONS = ("nosuch", "$nosuch")
UNKNOWN_HEADERS = ("mscrm.nosuch", "odata-nosuch")
UNKNOWN_PREFERENCES = ("nosuch", "odata.nosuch")
# What the answer is made of besides the request, or what belongs to sign-in and the wire, and is not asked for here.
ON_THE_WIRE = frozenset({"authorization", "accept-encoding", "prefer", "callerobjectid", "mscrmcallerid"})
# The body of a read is not looked at, so neither is what it is said to be.
OF_A_BODY = frozenset({"content-type"})


def ask(core: Any, url: str, headers: dict[str, str]) -> Reply:
    path, _, query = url.partition("?")
    return handle(core.organization, Call(tenant.APPLICATION_USER, BASE), Request("GET", path, query, Headers(headers)))


def same(left: Reply, right: Reply) -> bool:
    return (left.status, left.body) == (right.status, right.body)


def refused(reply: Reply) -> bool:
    return reply.status >= 400


def headers_of(request: dict[str, Any]) -> dict[str, str]:
    headers = {name.lower(): value for name, value in request.get("headers", {}).items()}
    return headers | ({"prefer": request["prefer"]} if "prefer" in request else {})


def answered(core: Any) -> Iterator[tuple[str, dict[str, str], Reply]]:
    """The documented requests that get an answer, with it."""
    for _, request in REQUESTS:
        url, headers = fill(url_of(request)), headers_of(request)
        reply = ask(core, url, headers)
        if not refused(reply) and "{ETAG}" not in headers.values():
            yield url, headers, reply


def passed_over(core: Any, added: str, addition: dict[str, Any]) -> list[str]:
    """Requests whose answer stays as it was although this was added."""
    found = []
    for url, headers, before in answered(core):
        if addition["there"](url, headers):
            continue
        after = ask(core, *addition["put"](url, headers))
        if same(after, before) and not addition["told"](after):
            found.append(f"{added}: {url} {headers}")
    return found


def option(name: str) -> dict[str, Any]:
    given = "@unused" if name == "@…" else name
    return {
        "there": lambda url, _: f"{given}=" in url.partition("?")[2],
        "put": lambda url, headers: (f"{url}{'&' if '?' in url else '?'}{given}=nosuch_thing", headers),
        "told": lambda _: False,
    }


def header(name: str) -> dict[str, Any]:
    return {
        "there": lambda _, headers: name in headers,
        # An etag that no row has is heard and changes nothing; `*` is one that every row has.
        "put": lambda url, headers: (url, headers | {name: "*" if name == "if-none-match" else "nosuch"}),
        "told": lambda _: False,
    }


def preference(name: str) -> dict[str, Any]:
    """One that means nothing for a request may be passed over, and then the answer does not name it."""
    text = f"{name}=nosuch"
    built = PREFERENCES.get(name, ("",))[0].startswith("built")
    return {
        "there": lambda _, headers: name in headers.get("prefer", ""),
        "put": lambda url, headers: (url, headers | {"prefer": ",".join(filter(None, [headers.get("prefer"), text]))}),
        "told": lambda reply: built and name not in reply.headers.get("Preference-Applied", ""),
    }


def test_no_query_option_is_passed_over(crm: RunningSimulator, simulator: RunningSimulator) -> None:
    # An alias that nothing uses is asked for nowhere.
    asked = [name for name, text in OPTIONS.items() if not text.startswith("no effect") and name != "@…"]
    for name in [*asked, *UNKNOWN_OPTIONS]:
        found = simulator.call(partial(passed_over, added=name, addition=option(name)))
        assert not found, "\n".join(found)


def test_no_header_is_passed_over(crm: RunningSimulator, simulator: RunningSimulator) -> None:
    asked = [name for name, (text, _) in HEADERS.items() if not text.startswith("no effect")]
    for name in [*(name for name in asked if name not in ON_THE_WIRE | OF_A_BODY), *UNKNOWN_HEADERS]:
        found = simulator.call(partial(passed_over, added=name, addition=header(name)))
        assert not found, "\n".join(found)


def test_no_preference_is_said_to_be_applied_that_is_not(crm: RunningSimulator, simulator: RunningSimulator) -> None:
    # No name of an annotation is wrong: the service has more than it says.
    for name in [*(name for name in PREFERENCES if name != "odata.include-annotations"), *UNKNOWN_PREFERENCES]:
        found = simulator.call(partial(passed_over, added=name, addition=preference(name)))
        assert not found, "\n".join(found)


def fetches() -> Iterator[tuple[str, ET.Element, dict[str, str]]]:
    for _, request in REQUESTS:
        if "fetch" in request:
            attributes = request.get("fetch_attributes", "")
            root = ET.fromstring(fill(f"<fetch {attributes}>{request['fetch']}</fetch>"))
            yield request["set"], root, headers_of(request)


def with_attribute(core: Any, element: str, name: str) -> list[str]:
    """Queries whose answer stays as it was although one of their elements has this attribute too."""
    found = []
    for entity_set, root, headers in fetches():
        before = ask(core, f"{entity_set}?fetchXml={quote(ET.tostring(root, 'unicode'), safe='')}", headers)
        if refused(before):
            continue
        for place in root.iter(element):
            if name in place.attrib or name == "alias":
                continue  # an alias changes an answer only where something is shown, ordered or asked under it
            place.set(name, "nosuch_thing")
            text = ET.tostring(root, "unicode")
            del place.attrib[name]
            if same(ask(core, f"{entity_set}?fetchXml={quote(text, safe='')}", headers), before):
                found.append(text)
    return found


EVERYWHERE = [
    (element, name)
    for element, known in DECISIONS.items()
    for name in [*(name for name, text in known.items() if not text.startswith("no effect")), "nosuch"]
]


def test_no_attribute_of_fetchxml_is_passed_over(crm: RunningSimulator, simulator: RunningSimulator) -> None:
    for element, name in EVERYWHERE:
        found = simulator.call(partial(with_attribute, element=element, name=name))
        assert not found, "\n".join(found)
