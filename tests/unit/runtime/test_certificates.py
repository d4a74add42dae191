"""Why a broker's certificate cannot be verified is found out by verifying it once more."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from runtime.broker_errors import trouble
from runtime.certificates import why_untrusted
from tests.support.ports import free_ports
from tests.support.tokens import TokenService, token_service

AUTHORITY = trustme.CA()
LONG_AGO = datetime.now(UTC) - timedelta(days=2)


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server with a certificate for that name; its address."""
    name, expired = request.param
    end = LONG_AGO + timedelta(days=1) if expired else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(name, not_before=LONG_AGO, not_after=end).configure_cert(context)
    with token_service(TokenService(), context) as running:
        yield running.url.removeprefix("https://")


@pytest.mark.parametrize(
    ("server", "context", "cause"),
    [
        (("localhost", False), trusting(trustme.CA()), "does not trust the authority"),
        (("localhost", False), None, "does not trust the authority"),
        (("other.example", False), trusting(AUTHORITY), "is for another host name"),
        (("localhost", True), trusting(AUTHORITY), "the broker's certificate has expired"),
    ],
    indirect=["server"],
)
def test_the_cause_is_told_apart(server: str, context: ssl.SSLContext | None, cause: str) -> None:
    assert cause in str(trouble(why_untrusted(server, context)))


@pytest.mark.parametrize("server", [("localhost", False)], indirect=True)
def test_servers_that_are_trusted_or_away_or_misspelt_say_nothing(server: str) -> None:
    away = f"localhost:{free_ports(1)[0]}"
    assert why_untrusted(f"{away}, no-port, {server}", trusting(AUTHORITY)) == []
    assert why_untrusted(f"{away}, {server}", trusting(trustme.CA())) != []
