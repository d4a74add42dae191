"""For whom a token is: servers are the same however their address is spelt."""

from types import SimpleNamespace
from typing import Any

import pytest

from simulator.server.host import _audiences
from simulator.signin.endpoint import realm
from simulator.signin.gate import origin


@pytest.mark.parametrize(
    ("spelt", "same"),
    [
        ("https://localhost:443", "https://localhost"),
        ("https://localhost/", "https://localhost"),
        ("HTTPS://LocalHost", "https://localhost"),
        ("http://127.0.0.1:80/", "http://127.0.0.1"),
        ("https://[::1]:443/", "https://[::1]"),
        ("https://localhost:8443/", "https://localhost:8443"),
        ("http://localhost:443", "http://localhost:443"),
    ],
)
def test_one_server_is_one_origin(spelt: str, same: str) -> None:
    assert origin(spelt) == same


@pytest.mark.parametrize(
    "text", ["https://localhost/api", "https://a@localhost", "api://x/y", "https://localhost:x", ""]
)
def test_what_names_no_server_is_left_alone(text: str) -> None:
    assert origin(text) == text or origin(text) == f"://{text}"


@pytest.mark.parametrize(
    "asked", ["https://localhost", "https://localhost/", "https://localhost:443", "http://127.0.0.1"]
)
def test_default_ports_may_be_left_out_of_the_audience(asked: str) -> None:
    served: Any = SimpleNamespace(base_url="http://127.0.0.1:80", tls_url="https://localhost:443")
    assert origin(asked) in _audiences(served, ("localhost", "127.0.0.1", "::1"))


@pytest.mark.parametrize("authority", ["https://localhost", "https://localhost:443"])
@pytest.mark.parametrize("called", ["https://localhost/t/v2.0", "https://localhost:443/t/oauth2/v2.0/token"])
def test_default_ports_may_be_left_out_of_an_assertion(authority: str, called: str) -> None:
    assert called in realm(authority, "t")


def test_another_port_is_another_server() -> None:
    assert "https://localhost/t" not in realm("https://localhost:8443", "t")
