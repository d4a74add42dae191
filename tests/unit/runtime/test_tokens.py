"""Tokens for the broker: asked for as each kind of token service wants it, renewed in time, never repeated."""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import ValidationError

from runtime.errors import TokenRefused, TokenUnavailable
from runtime.token_settings import METADATA_SERVICE, TokenSettings
from runtime.tokens import BrokerTokens, Token
from tests.support.tokens import METADATA, TOKEN, TokenService, token_service

SECRET = "canary"


@pytest.fixture(scope="module")
def running() -> Iterator[TokenService]:
    with token_service(TokenService({"calls": SECRET, "federated": "canary-assertion"})) as service:
        yield service


@pytest.fixture
def service(running: TokenService) -> TokenService:
    running.answer, running.lifetime_s = None, 3600.0
    running.asked.clear()
    return running


def settings(service: TokenService | None = None, **given: Any) -> TokenSettings:
    usual = {"kind": "client_secret", "client_id": "calls", "client_secret": SECRET}
    url = {"url": service.url + TOKEN} if service else {}
    return TokenSettings.model_validate(usual | url | given)


def refusal(given: TokenSettings) -> str:
    with pytest.raises(TokenRefused) as raised:
        BrokerTokens(given).token()
    assert "canary" not in str(raised.value)
    return str(raised.value)


def trouble(given: TokenSettings) -> str:
    with pytest.raises(TokenUnavailable) as raised:
        BrokerTokens(given).token()
    assert "canary" not in str(raised.value)
    return str(raised.value)


def test_a_client_secret_is_posted_as_oauth_wants_it(service: TokenService) -> None:
    source = BrokerTokens(settings(service, scope="s", audience="a", extensions={"logicalCluster": "lkc-1"}))
    value, expires_at, principal, extensions = source.for_librdkafka("")
    assert value.startswith("eyJ")
    assert (principal, extensions) == ("", {"logicalCluster": "lkc-1"})
    assert source.token() == Token(value, expires_at)
    (asked,) = service.asked
    assert asked.parameters == {
        "grant_type": "client_credentials",
        "client_id": "calls",
        "client_secret": SECRET,
        "scope": "s",
        "audience": "a",
    }


def test_azures_workload_identity_needs_nothing_but_what_its_webhook_sets(
    service: TokenService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (file := tmp_path / "token").write_text("canary-assertion\n")
    monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
    monkeypatch.setenv("AZURE_CLIENT_ID", "federated")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
    given = TokenSettings(kind="workload", scope="https://ns.servicebus.windows.net/.default")
    assert given.endpoint == "https://login.microsoftonline.com/tenant/oauth2/v2.0/token"
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/")
    assert given.endpoint == "https://login.microsoftonline.us/tenant/oauth2/v2.0/token"
    BrokerTokens(given.model_copy(update={"url": service.url + TOKEN})).token()
    (asked,) = service.asked
    assert asked.parameters["client_id"] == "federated"
    assert asked.parameters["client_assertion"] == "canary-assertion"
    assert asked.parameters["client_assertion_type"].endswith(":jwt-bearer")


def test_azures_metadata_service_is_asked_for_the_resource(service: TokenService) -> None:
    scope = "https://ns.servicebus.windows.net/.default"
    assert TokenSettings(kind="managed", scope=scope).endpoint == METADATA_SERVICE
    BrokerTokens(TokenSettings(kind="managed", scope=scope, url=service.url + METADATA, client_id="c")).token()
    (asked,) = service.asked
    assert (asked.method, asked.headers["metadata"]) == ("GET", "true")
    assert asked.parameters == {
        "api-version": "2018-02-01",
        "resource": "https://ns.servicebus.windows.net",
        "client_id": "c",
    }


def test_msk_is_signed_with_what_awss_libraries_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDCANARY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    token = BrokerTokens(TokenSettings(kind="msk", region="eu-west-1")).token()
    assert token.expires_at > 0
    assert "canary" not in token.value


@pytest.mark.parametrize(
    ("profile", "error", "says"),
    [(None, TokenRefused, "IRSA or EKS Pod Identity"), ("absent", TokenUnavailable, "ProfileNotFound")],
)
def test_msk_without_credentials_names_what_gives_them(
    monkeypatch: pytest.MonkeyPatch, profile: str | None, error: type[Exception], says: str
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/absent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/absent")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    with pytest.raises(error, match=says):
        BrokerTokens(TokenSettings(kind="msk", region="eu-west-1")).token()


def test_msk_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer.MSKAuthTokenProvider", None)
    with pytest.raises(
        TokenRefused, match=r"BROKER__SASL__TOKEN__KIND=msk needs the library \S+, which comes with the extra msk"
    ):
        BrokerTokens(TokenSettings(kind="msk", region="eu-west-1")).token()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_is_renewed_after_three_quarters_of_its_life_and_kept_while_the_service_is_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    away = TokenUnavailable("away")
    answers: Iterator[Token | Exception] = iter(
        [Token("one", 1100.0), away, away, TokenRefused("no"), Token("two", 1300.0)]
    )

    def ask(_: TokenSettings) -> Token:
        answer: Token | Exception = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    source = BrokerTokens(settings(url="https://tokens.example"), ask, named="WRITER_{}".format, clock=clock)
    assert source.token().value == "one"
    clock.now = 1074.0
    assert source.token().value == "one"
    clock.now = 1076.0
    assert [source.token().value for _ in range(2)] == ["one", "one"]
    said = [record.getMessage() for record in caplog.records]
    assert said == ["no new token for the broker: WRITER_away"], "a state is logged once"
    clock.now = 1101.0
    with pytest.raises(TokenRefused, match="WRITER_no"):
        source.token()
    assert source.token().value == "two"


def test_a_rotated_secret_is_read_for_the_next_token(service: TokenService, tmp_path: Path) -> None:
    (file := tmp_path / "secret").write_text("old-canary")
    clock = Clock()
    given = settings(service, client_secret=None, client_secret_file=str(file))
    source = BrokerTokens(given, clock=clock)
    with pytest.raises(TokenRefused):
        source.token()
    file.write_text(f"{SECRET}\n")
    assert source.token().value


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, {"error": "invalid_client", "error_description": "canary"}, "(invalid_client); check BROKER__SASL"),
        (400, {"error": "invalid_scope"}, "check BROKER__SASL__TOKEN__SCOPE"),
        (400, {"error": "canary"}, "(status 400)"),
        (403, ["canary"], "(status 403)"),
        (404, None, "(status 404); check BROKER__SASL__TOKEN__URL"),
    ],
)  # fmt: skip
def test_B1_a_refusal_names_the_remedy_and_repeats_nothing_of_the_answer(
    service: TokenService, status: int, body: Any, says: str
) -> None:
    service.answer = (status, json.dumps(body).encode() if body else b"<html>canary")
    assert says in refusal(settings(service))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, b"canary"),
        (429, b"{}"),
        (200, b"canary"),
        (200, b"{}"),
        (200, b'{"access_token": 1}'),
        (200, b'{"access_token": "canary", "expires_in": "soon"}'),
        (200, b'{"access_token": "canary", "expires_in": 0}'),
        (200, '{"access_token": "canary\u00e9"}'.encode()),
        (302, b'{"access_token": "canary"}'),
    ],
)
def test_an_answer_without_a_token_may_pass(service: TokenService, status: int, body: bytes) -> None:
    service.answer = (status, body)
    assert f"(status {status})" in trouble(settings(service))


def test_a_token_of_unknown_life_is_renewed_within_five_minutes(service: TokenService) -> None:
    service.answer = (200, b'{"access_token": "t"}')
    clock = Clock()
    token = BrokerTokens(settings(service), clock=clock).token()
    assert token.value == "t"


@pytest.mark.parametrize(("content", "says"), [(None, "cannot be read"), (b"", "is empty"), (b"\xff", "no text")])
def test_a_secret_that_cannot_be_read_at_the_moment_is_waited_for(
    service: TokenService, tmp_path: Path, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    assert says in trouble(settings(service, client_secret=None, client_secret_file=str(tmp_path / "secret")))


def served_by(name: str) -> tuple[trustme.CA, ssl.SSLContext]:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return authority, context


@pytest.mark.parametrize(
    ("name", "known", "says"),
    [
        ("localhost", True, None),
        ("localhost", False, "TOKEN__CA_FILE"),
        ("other.example", True, "is for another host name"),
    ],
)
def test_the_token_services_certificate_is_verified(tmp_path: Path, name: str, known: bool, says: str | None) -> None:
    authority, context = served_by(name)
    authority.cert_pem.write_to_path(str(ca_file := tmp_path / "ca.pem"))
    with token_service(TokenService({"calls": SECRET}), context) as service:
        given = settings(service, ca_file=str(ca_file) if known else None)
        if says:
            assert says in refusal(given)
        else:
            assert BrokerTokens(given).token().value


def test_the_token_service_is_reached_through_the_proxy_that_is_set(service: TokenService) -> None:
    """A proxy for plain HTTP gets the whole URL; the credentials in its own URL go to it alone."""
    with proxy(service) as (url, seen):
        given = settings(url="http://localhost:1/token", proxy=url.replace("//", "//user:canary@"))
        assert BrokerTokens(given).token().value
        assert "canary" not in repr(given)
    assert seen == [("http://localhost:1/token", "Basic dXNlcjpjYW5hcnk=")]
    assert "TOKEN__PROXY" in trouble(settings(url="http://localhost:1/token", proxy="http://localhost:2"))


class proxy:  # noqa: N801  reads as a function
    """Answers in the token service's place, and keeps what it was asked."""

    def __init__(self, service: TokenService) -> None:
        self.seen: list[tuple[str, str | None]] = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                seen.append((self.path, self.headers.get("proxy-authorization")))
                status, body = 200, json.dumps({"access_token": service.issue("c"), "expires_in": 60}).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> tuple[str, list[tuple[str, str | None]]]:
        self._thread.start()
        return f"http://localhost:{self._server.server_port}", self.seen

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kind": "client_secret"}, ["url is required", "client_id is required", "either client_secret or"]),
        (
            {"kind": "client_secret", "url": "http://tokens.example", "client_id": "c", "client_secret": SECRET},
            ["url must be https"],
        ),
        (
            {"kind": "client_secret", "url": "http://10.1.2.3/t", "client_id": "c", "client_secret": SECRET},
            ["url must be https"],
        ),
        ({"kind": "workload"}, ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"]),
        ({"kind": "managed"}, ["scope is required"]),
        ({"kind": "msk"}, ["region is required"]),
        ({"kind": "msk", "region": "r", "client_secret": SECRET}, ["kind msk does not use client_secret"]),
    ],
)
def test_B1_settings_that_do_not_fit_their_kind_are_all_named_at_once_and_no_secret(
    given: dict[str, str], says: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValidationError) as raised:
        TokenSettings.model_validate(given)
    text = "; ".join(each["msg"] for each in raised.value.errors(include_input=False))
    assert [each for each in says if each not in text] == []
    assert "canary" not in text


def test_a_url_on_this_machine_may_be_plain_http() -> None:
    assert settings(url="http://127.0.0.1/t").endpoint == "http://127.0.0.1/t"
