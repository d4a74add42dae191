"""Every kind of identity with azure-identity's real classes: certificate and workload identity over TLS against the
simulator's token endpoint, managed identity against an endpoint as a machine or an app has one. Each lands a plan.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from pydantic import TypeAdapter

from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.writer.inprocess import running_writer
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from tests.support.checker import findings
from writer.dataverse.identity import TokenSource, token_source
from writer.errors import SignInRefused, SignInUnavailable
from writer.settings import ClientSecretIdentity, Identity, SignInSettings

CLIENT = {"tenant_id": tenant.TENANT_ID, "client_id": tenant.CLIENT_ID}
ISSUER, SUBJECT = "https://cluster.example", "system:serviceaccount:crm:writer"
PASSWORD = b"not a real one"


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[RunningSimulator]:
    with running_simulator(auth="entra", tls_dir=tmp_path) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Machine:
    """The metadata service of a machine, and the token endpoint of an app: both hand out `token`."""

    token: str = ""
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, headers: Any) -> tuple[int, dict[str, Any]]:
        query = parse_qs(urlsplit(path).query)
        if headers.get("Metadata") != "true" and headers.get("X-IDENTITY-HEADER") != "of this app":
            return 400, {"error": "invalid_request"}
        self.asked.append(query)
        if not self.token:
            return 400, {"error": "invalid_request", "error_description": "Identity not found"}
        expires = int(time.time()) + 3600
        return 200, {
            "access_token": self.token, "expires_in": "3600", "expires_on": str(expires), "token_type": "Bearer",
            "resource": query["resource"][0],
        }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    def __init__(self, machine: Machine, *arguments: Any) -> None:
        self.machine = machine
        super().__init__(*arguments)

    def do_GET(self) -> None:
        status, body = self.machine.answer(self.path, self.headers)
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Not on stderr."""


@contextmanager
def a_machine() -> Iterator[Machine]:
    machine = Machine()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, machine)) as server:
        machine.url = f"http://127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield machine
        finally:
            server.shutdown()
            serving.join()


@dataclass
class Site:
    """Where an identity is set up."""

    simulator: RunningSimulator
    key: rsa.RSAPrivateKey
    folder: Path
    machine: Machine
    setenv: Callable[[str, str], None]

    def register(self, **proof: Any) -> None:
        body = {"client_id": tenant.CLIENT_ID, **proof}
        assert httpx.put(f"{self.simulator.control_url}/applications", json=body).status_code == 200

    def public(self) -> str:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


Kind = Callable[[Site], dict[str, Any]]
"""Sets an identity up; the settings that use it."""


def certificate(site: Site) -> dict[str, Any]:
    return {**CLIENT, "kind": "certificate", "certificate_file": str(_pem(site, serialization.NoEncryption()))}


def certificate_with_a_password(site: Site) -> dict[str, Any]:
    file = _pem(site, serialization.BestAvailableEncryption(PASSWORD))
    return {
        **CLIENT, "kind": "certificate", "certificate_file": str(file), "certificate_password": PASSWORD.decode(),
    }  # fmt: skip


def _pem(site: Site, encryption: Any) -> Path:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "writer")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(site.key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .sign(site.key, hashes.SHA256())
    )  # fmt: skip
    shown = made.public_bytes(serialization.Encoding.PEM)
    site.register(certificate=shown.decode())
    private = site.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    file = site.folder / "writer.pem"
    file.write_bytes(private + shown)
    return file


def workload(site: Site) -> dict[str, Any]:
    return {**CLIENT, "kind": "workload", "token_file": str(_projected(site))}


def workload_as_the_webhook_sets_it(site: Site) -> dict[str, Any]:
    site.setenv("AZURE_TENANT_ID", tenant.TENANT_ID)
    site.setenv("AZURE_CLIENT_ID", tenant.CLIENT_ID)
    site.setenv("AZURE_FEDERATED_TOKEN_FILE", str(_projected(site)))
    return {"kind": "workload"}


def _projected(site: Site, **claims: Any) -> Path:
    site.register(federation={"issuer": ISSUER, "subject": SUBJECT, "public_key": site.public()})
    now = int(time.time())
    payload = {"iss": ISSUER, "sub": SUBJECT, "aud": "api://AzureADTokenExchange", "iat": now, "exp": now + 600}
    file = site.folder / "projected-token"
    file.write_text(jwt.encode(payload | claims, site.key, algorithm="RS256"))
    return file


def managed_on_a_machine(site: Site) -> dict[str, Any]:
    site.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", site.machine.url)
    site.machine.token = _a_token(site)
    return {"kind": "managed"}


def managed_of_an_app(site: Site) -> dict[str, Any]:
    site.setenv("IDENTITY_ENDPOINT", f"{site.machine.url}/msi/token")
    site.setenv("IDENTITY_HEADER", "of this app")
    site.machine.token = _a_token(site)
    return {"kind": "managed", "client_id": "a-user-assigned-one"}


def _a_token(site: Site) -> str:
    """What the platform would have got for this machine."""
    secret = ClientSecretIdentity.model_validate(
        {**CLIENT, "kind": "client_secret", "client_secret": tenant.CLIENT_SECRET}
    )
    source = token_source(secret, 0, scope=f"{site.simulator.base_url}/.default", sign_in=_sign_in(site.simulator))
    token = asyncio.run(source.token())
    source.close()
    assert token
    return token


def _sign_in(simulator: RunningSimulator) -> SignInSettings:
    settings = {"authority": simulator.authority, "ca_file": str(simulator.ca_file), "private_authority": True}
    return SignInSettings.model_validate(settings)


@pytest.fixture
def site(
    signed: RunningSimulator, key: rsa.RSAPrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    with a_machine() as machine:
        yield Site(signed, key, tmp_path, machine, monkeypatch.setenv)


def source_of(site: Site, settings: dict[str, Any]) -> TokenSource:
    identity: Any = TypeAdapter(Identity).validate_python(settings)
    return token_source(identity, 0, scope=f"{site.simulator.base_url}/.default", sign_in=_sign_in(site.simulator))


def signed_in(source: TokenSource) -> str | None:
    try:
        return asyncio.run(source.token())
    finally:
        source.close()


KINDS = [
    certificate, certificate_with_a_password, workload, workload_as_the_webhook_sets_it, managed_on_a_machine,
    managed_of_an_app,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_identity_signs_in_and_a_plan_lands(kind: Kind, site: Site, topic: Topic) -> None:
    identity, simulator = kind(site), site.simulator
    plan = Desk(simulator).plan(seed_item(simulator))
    environ = writer_env(
        simulator, topic.bootstrap, WRITER_IDENTITIES=json.dumps([identity]),
        WRITER_SIGN_IN__AUTHORITY=str(simulator.authority), WRITER_SIGN_IN__CA_FILE=str(simulator.ca_file),
        WRITER_SIGN_IN__PRIVATE_AUTHORITY="true",
    )  # fmt: skip
    with running_writer(environ):
        topic.publish(plan)
        topic.wait_for_committed(1)

    assert findings(simulator.oplog(), [plan], topic.results()) == []
    assert {entry["user"] for entry in simulator.oplog(actor="application")} == {tenant.APPLICATION_USER}
    asked = {name: value for query in site.machine.asked for name, [value] in query.items()}
    if identity["kind"] == "managed":
        assert asked["resource"] == simulator.base_url
        assert asked.get("client_id") == identity.get("client_id")
    else:
        assert asked == {}, "the platform is not asked for what the settings say"


def test_a_projected_token_that_was_rotated_is_read_anew(site: Site) -> None:
    settings = workload(site)
    source = source_of(site, settings)

    async def rotated() -> list[str | None]:
        first = await source.token()
        site.simulator.call(lambda simulator: simulator.issuer.expire_all())
        _projected(site, jti="rotated")
        return [first, await source.renewed(first)]

    first, renewed = asyncio.run(rotated())
    source.close()
    assert renewed not in (None, first)


def test_B1_a_federated_token_of_somebody_else_is_refused_and_never_shown(site: Site) -> None:
    settings = workload(site)
    file = _projected(site, sub="system:serviceaccount:crm:somebody-else")

    with pytest.raises(SignInRefused, match="AADSTS70021") as refused:
        signed_in(source_of(site, settings))
    assert file.read_text() not in str(refused.value)
    assert "somebody" not in str(refused.value)


@pytest.mark.parametrize("kind", [managed_on_a_machine, managed_of_an_app])
def test_a_machine_without_an_identity_does_not_sign_in(kind: Kind, site: Site) -> None:
    settings = kind(site)
    site.machine.token = ""

    with pytest.raises((SignInUnavailable, SignInRefused)):
        signed_in(source_of(site, settings))
