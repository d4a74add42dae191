"""Sign-in with the real client library over TLS, and what the Web API makes of tokens."""

import base64
import json
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx
import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    WorkloadIdentityCredential,
)
from azure.identity.aio import ClientSecretCredential as AsyncClientSecretCredential
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from simulator import tenant
from simulator.testing import running_simulator
from tests.contract.simulator.support import error_of


@pytest.fixture(scope="module")
def entra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with running_simulator(auth="entra", tls_dir=tmp_path_factory.mktemp("tls")) as simulator:
        yield simulator


@pytest.fixture
def key() -> Any:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def credential(entra: Any, kind: Any = ClientSecretCredential, client_id: Any = tenant.CLIENT_ID, **more: Any) -> Any:
    if kind is ClientSecretCredential:
        more.setdefault("client_secret", tenant.CLIENT_SECRET)
    return kind(
        tenant_id=tenant.TENANT_ID,
        client_id=client_id,
        authority=entra.authority,
        disable_instance_discovery=True,
        connection_verify=str(entra.ca_file),
        **more,
    )


def who_am_i(entra: Any, token: Any) -> Any:
    return httpx.get(f"{entra.api_url}/WhoAmI", headers={"Authorization": f"Bearer {token}"})


def token_of(entra: Any, **more: Any) -> Any:
    with credential(entra, **more) as signed_in:
        return signed_in.get_token(f"{entra.base_url}/.default").token


def post(entra: Any, tenant_id: Any = tenant.TENANT_ID, **form: Any) -> Any:
    base = {
        "grant_type": "client_credentials",
        "client_id": tenant.CLIENT_ID,
        "client_secret": tenant.CLIENT_SECRET,
        "scope": f"{entra.base_url}/.default",
    }
    sent = {name: value for name, value in (base | form).items() if value is not None}
    url = f"{entra.authority}/{tenant_id}/oauth2/v2.0/token"
    import ssl

    return httpx.post(url, data=sent, verify=ssl.create_default_context(cafile=str(entra.ca_file)))


class TestClientSecret:
    def test_a_token_names_the_application_user(self, entra: Any) -> None:
        assert who_am_i(entra, token_of(entra)).json()["UserId"] == tenant.APPLICATION_USER

    def test_another_application_is_another_user(self, entra: Any) -> None:
        token = token_of(entra, client_id=tenant.SECOND_CLIENT_ID)
        assert who_am_i(entra, token).json()["UserId"] == tenant.SECOND_APPLICATION_USER

    async def _async_token(self, entra: Any) -> Any:
        async with AsyncClientSecretCredential(
            tenant.TENANT_ID,
            tenant.CLIENT_ID,
            tenant.CLIENT_SECRET,
            authority=entra.authority,
            connection_verify=str(entra.ca_file),
        ) as signed_in:
            return (await signed_in.get_token(f"{entra.base_url}/.default")).token

    async def test_the_async_client_too(self, entra: Any) -> None:
        assert who_am_i(entra, await self._async_token(entra)).status_code == 200

    def test_a_wrong_secret(self, entra: Any) -> None:
        with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
            token_of(entra, client_secret="wrong")

    def test_the_answer_has_entras_shape(self, entra: Any) -> None:
        body = post(entra).json()
        assert body["token_type"] == "Bearer"
        assert body["expires_in"] == body["ext_expires_in"] == 3599

    @pytest.mark.parametrize(
        ("form", "status", "number", "error"),
        [
            ({"client_secret": "wrong"}, 401, 7000215, "invalid_client"),
            ({"client_secret": None}, 401, 7000218, "invalid_client"),
            ({"client_id": "99999999-0000-4000-8000-000000000000"}, 400, 700016, "unauthorized_client"),
            ({"grant_type": "password"}, 400, 70003, "unsupported_grant_type"),
            ({"scope": "user.read"}, 400, 70011, "invalid_scope"),
            ({"tenant_id": "99999999-0000-4000-8000-000000000000"}, 400, 90002, "invalid_request"),
            ({"client_assertion": "x", "client_assertion_type": "y"}, 400, 900144, "invalid_request"),
        ],
    )
    def test_refusals(self, entra: Any, form: Any, status: int, number: int, error: str) -> None:
        answer = post(entra, **form)
        body = answer.json()
        assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [number])
        assert body["error_description"].startswith(f"AADSTS{number}: ")
        assert {"timestamp", "trace_id", "correlation_id"} <= set(body)

    def test_an_expired_secret(self, entra: Any) -> None:
        url = f"{entra.control_url}/applications"
        httpx.put(url, json={"client_id": tenant.SECOND_CLIENT_ID, "expired": True})
        assert post(entra, client_id=tenant.SECOND_CLIENT_ID).json()["error_codes"] == [7000222]
        httpx.put(url, json={"client_id": tenant.SECOND_CLIENT_ID, "expired": False})
        assert post(entra, client_id=tenant.SECOND_CLIENT_ID).status_code == 200


def tls(entra: Any) -> Any:
    return ssl.create_default_context(cafile=str(entra.ca_file))


def with_basic(entra: Any, name: Any, secret: Any, **form: Any) -> Any:
    url = f"{entra.authority}/{tenant.TENANT_ID}/oauth2/v2.0/token"
    sent = {"grant_type": "client_credentials", "scope": f"{entra.base_url}/.default", **form}
    return httpx.post(url, data=sent, auth=(quote_plus(name), quote_plus(secret)), verify=tls(entra))


class TestWhatTheDiscoveryDocumentAnnouncesWorks:
    """Every end point and method in it is tried; what had to stay in it and is not simulated says so."""

    def document(self, entra: Any) -> Any:
        return httpx.get(
            f"{entra.authority}/{tenant.TENANT_ID}/v2.0/.well-known/openid-configuration", verify=tls(entra)
        ).json()

    def test_every_method_of_the_token_end_point(self, entra: Any) -> None:
        assert set(self.document(entra)["token_endpoint_auth_methods_supported"]) == {
            "client_secret_post",  # TestClientSecret
            "private_key_jwt",  # TestAssertions
            "client_secret_basic",  # the next test
        }

    def test_client_secret_basic(self, entra: Any) -> None:
        answer = with_basic(entra, tenant.CLIENT_ID, tenant.CLIENT_SECRET)
        assert who_am_i(entra, answer.json()["access_token"]).json()["UserId"] == tenant.APPLICATION_USER

    def test_a_secret_with_every_special_character(self, entra: Any) -> None:
        secret = "a:b+c d%é"
        httpx.put(f"{entra.control_url}/applications", json={"client_id": tenant.SECOND_CLIENT_ID, "secret": secret})
        assert with_basic(entra, tenant.SECOND_CLIENT_ID, secret).status_code == 200
        httpx.put(
            f"{entra.control_url}/applications",
            json={"client_id": tenant.SECOND_CLIENT_ID, "secret": tenant.CLIENT_SECRET},
        )

    @pytest.mark.parametrize(
        ("secret", "form", "status", "number"),
        [
            ("wrong", {}, 401, 7000215),
            (tenant.CLIENT_SECRET, {"client_secret": tenant.CLIENT_SECRET}, 400, 900144),
            (tenant.CLIENT_SECRET, {"client_id": tenant.SECOND_CLIENT_ID}, 400, 900144),
        ],
    )
    def test_client_secret_basic_that_is_not_good(
        self, entra: Any, secret: Any, form: Any, status: int, number: int
    ) -> None:
        answer = with_basic(entra, tenant.CLIENT_ID, secret, **form)
        assert (answer.status_code, answer.json()["error_codes"]) == (status, [number])

    def test_a_header_that_cannot_be_read(self, entra: Any) -> None:
        url = f"{entra.authority}/{tenant.TENANT_ID}/oauth2/v2.0/token"
        form = {"grant_type": "client_credentials"}
        answer = httpx.post(url, data=form, headers={b"Authorization": "Basic é".encode()}, verify=tls(entra))
        assert answer.json()["error_codes"] == [900144]

    def test_every_address(self, entra: Any) -> None:
        document = self.document(entra)
        addresses = {name for name, value in document.items() if name.endswith(("_endpoint", "_uri"))}
        assert addresses == {"token_endpoint", "jwks_uri", "authorization_endpoint"}
        assert httpx.get(document["jwks_uri"], verify=tls(entra)).json() == {"keys": []}
        refusal = httpx.get(document["authorization_endpoint"], verify=tls(entra))
        assert "Interactive sign-in is not simulated" in refusal.json()["error_description"]

    def test_in_the_clear_it_says_where_to_sign_in(self, entra: Any) -> None:
        answer = httpx.post(f"{entra.base_url}/{tenant.TENANT_ID}/oauth2/v2.0/token")
        assert f"over TLS only: {entra.authority}/{tenant.TENANT_ID}/" in answer.text


class TestAssertions:
    def pem(self, key: Any) -> Any:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
            .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return secret + certificate.public_bytes(serialization.Encoding.PEM)

    def test_a_certificate(self, entra: Any, key: Any) -> None:
        pem = self.pem(key)
        answer = httpx.put(
            f"{entra.control_url}/applications", json={"client_id": tenant.CLIENT_ID, "certificate": pem.decode()}
        )
        assert answer.status_code == 200, answer.text
        token = token_of(entra, kind=CertificateCredential, certificate_data=pem)
        assert who_am_i(entra, token).status_code == 200

    def test_a_certificate_that_is_not_registered(self, entra: Any, key: Any) -> None:
        with pytest.raises(ClientAuthenticationError, match="AADSTS700027"):
            token_of(entra, kind=CertificateCredential, certificate_data=self.pem(key))

    @pytest.mark.parametrize(
        ("claims", "number"),
        [
            ({"aud": "https://elsewhere.example/oauth2/v2.0/token"}, 700023),
            ({"aud": None}, 700023),
            ({"exp": 1}, 700024),
            ({"exp": None}, 700024),
        ],
    )
    def test_an_assertion_of_a_certificate_that_is_not_good(
        self, entra: Any, key: Any, claims: Any, number: int
    ) -> None:
        pem = self.pem(key)
        asked = {"client_id": tenant.CLIENT_ID, "certificate": pem.decode()}
        assert httpx.put(f"{entra.control_url}/applications", json=asked).status_code == 200
        endpoint = f"{entra.authority}/{tenant.TENANT_ID}/oauth2/v2.0/token"
        good = {"iss": tenant.CLIENT_ID, "sub": tenant.CLIENT_ID, "aud": endpoint, "exp": int(time.time()) + 60}
        fingerprint = x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERT") :]).fingerprint(hashes.SHA256())
        header = {"x5t#S256": base64.urlsafe_b64encode(fingerprint).decode().rstrip("=")}

        def ask(payload: Any) -> Any:
            payload = {name: value for name, value in payload.items() if value is not None}
            form = {
                "grant_type": "client_credentials", "client_id": tenant.CLIENT_ID,
                "scope": f"{entra.base_url}/.default",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": jwt.encode(payload, key, algorithm="RS256", headers=header),
            }  # fmt: skip
            return httpx.post(endpoint, data=form, verify=ssl.create_default_context(cafile=entra.ca_file))

        assert ask(good).status_code == 200
        assert ask(good | claims).json()["error_codes"] == [number]

    def federate(self, entra: Any, key: Any) -> None:
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        trust = {
            "issuer": "https://cluster.example",
            "subject": "system:serviceaccount:crm:writer",
            "public_key": public.decode(),
        }
        answer = httpx.put(
            f"{entra.control_url}/applications", json={"client_id": tenant.CLIENT_ID, "federation": trust}
        )
        assert answer.status_code == 200

    def service_account_token(self, key: Any, **claims: Any) -> Any:
        now = int(time.time())
        payload = {
            "iss": "https://cluster.example", "sub": "system:serviceaccount:crm:writer",
            "aud": "api://AzureADTokenExchange", "iat": now, "exp": now + 600, **claims,
        }  # fmt: skip
        return jwt.encode(payload, key, algorithm="RS256")

    @pytest.mark.parametrize("audience", ["api://AzureADTokenExchange", ["api://AzureADTokenExchange"]], ids=str)
    def test_a_federated_token(self, entra: Any, key: Any, tmp_path: Path, audience: Any) -> None:
        self.federate(entra, key)
        file = tmp_path / "token"
        file.write_text(self.service_account_token(key, aud=audience))
        token = token_of(entra, kind=WorkloadIdentityCredential, token_file_path=str(file))
        assert who_am_i(entra, token).json()["UserId"] == tenant.APPLICATION_USER

    @pytest.mark.parametrize(
        ("claims", "number"),
        [
            ({"sub": "system:serviceaccount:crm:other"}, 70021),
            ({"iss": "https://elsewhere.example"}, 70021),
            ({"exp": 1}, 700024),
            ({"aud": "somebody"}, 700027),
        ],
    )
    def test_a_federated_token_that_is_not_good(self, entra: Any, key: Any, claims: Any, number: int) -> None:
        self.federate(entra, key)
        assertion = self.service_account_token(key, **claims)
        with pytest.raises(ClientAuthenticationError, match=f"AADSTS{number}"):
            token_of(entra, kind=ClientAssertionCredential, func=lambda: assertion)

    def test_garbage(self, entra: Any) -> None:
        with pytest.raises(ClientAuthenticationError, match="AADSTS50027"):
            token_of(entra, kind=ClientAssertionCredential, func=lambda: "garbage")


class TestTokens:
    @pytest.mark.parametrize("header", [None, "", "Basic x", "Bearer", "Bearer garbage"])
    def test_without_a_good_token_it_is_401_without_a_body(self, entra: Any, header: str | None) -> None:
        headers = {} if header is None else {"Authorization": header}
        answer = httpx.get(f"{entra.api_url}/WhoAmI", headers=headers)
        assert (answer.status_code, answer.content) == (401, b"")
        authorize = f"{entra.authority}/{tenant.TENANT_ID}/oauth2/authorize"
        wanted = f"Bearer authorization_uri={authorize}, resource_id={entra.base_url}/"
        assert answer.headers["WWW-Authenticate"] == wanted

    def test_expired(self, entra: Any) -> None:
        httpx.put(f"{entra.control_url}/token-lifetime", json={"seconds": -1})
        token = post(entra).json()["access_token"]
        httpx.put(f"{entra.control_url}/token-lifetime", json={"seconds": 3599})
        assert who_am_i(entra, token).status_code == 401

    def test_all_expired_at_once(self, entra: Any) -> None:
        token = token_of(entra)
        httpx.post(f"{entra.control_url}/expire-tokens")
        assert who_am_i(entra, token).status_code == 401
        assert who_am_i(entra, token_of(entra)).status_code == 200

    def test_for_another_audience(self, entra: Any) -> None:
        token = post(entra, scope="https://other.crm.dynamics.com/.default").json()["access_token"]
        assert who_am_i(entra, token).status_code == 401

    def test_for_this_server_under_another_name(self, entra: Any) -> None:
        scope = entra.base_url.replace("127.0.0.1", "localhost")
        token = post(entra, scope=f"{scope}/.default").json()["access_token"]
        assert who_am_i(entra, token).status_code == 200

    def test_for_this_server_however_its_name_is_spelt(self, entra: Any) -> None:
        port = entra.authority.rsplit(":", 1)[1]
        for scope in (f"HTTPS://LOCALHOST:{port}", f"https://localhost:{port}/", f"https://[::1]:{port}"):
            token = post(entra, scope=f"{scope}/.default").json()["access_token"]
            assert who_am_i(entra, token).status_code == 200, scope

    def test_for_a_path_of_this_server(self, entra: Any) -> None:
        token = post(entra, scope=f"{entra.base_url}/elsewhere/.default").json()["access_token"]
        assert who_am_i(entra, token).status_code == 401

    def test_tampered(self, entra: Any) -> None:
        head, payload, signature = token_of(entra).split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
        claims["appid"] = tenant.SECOND_CLIENT_ID
        forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        assert who_am_i(entra, f"{head}.{forged}.{signature}").status_code == 401

    def test_an_application_without_a_user(self, entra: Any) -> None:
        client_id = "88888888-0000-4000-8000-000000000001"
        httpx.put(f"{entra.control_url}/applications", json={"client_id": client_id, "secret": "s"})
        token = post(entra, client_id=client_id, client_secret="s").json()["access_token"]
        answer = who_am_i(entra, token)
        assert error_of(answer) == (403, "0x80072560")
        httpx.put(f"{entra.control_url}/switches", json={"not_a_member_status": "401"})
        assert who_am_i(entra, token).status_code == 401
        httpx.put(f"{entra.control_url}/switches", json={"not_a_member_status": "403"})

    def test_a_disabled_application_user(self, entra: Any) -> None:
        token = token_of(entra, client_id=tenant.SECOND_CLIENT_ID)
        entra.edit("systemusers", tenant.SECOND_APPLICATION_USER, {"isdisabled": True})
        assert error_of(who_am_i(entra, token))[0] == 403
        entra.edit("systemusers", tenant.SECOND_APPLICATION_USER, {"isdisabled": False})
        assert who_am_i(entra, token).status_code == 200

    def test_refused_requests_do_not_count(self, entra: Any) -> None:
        entra.call(lambda core: core.protection.reset())
        httpx.get(f"{entra.api_url}/WhoAmI")
        assert all(row["admitted"] == 0 for row in entra.call(lambda core: core.counters())["limits"])


class TestTls:
    def test_the_web_api_answers_over_tls_too(self, entra: Any) -> None:
        import ssl

        context = ssl.create_default_context(cafile=str(entra.ca_file))
        headers = {"Authorization": f"Bearer {token_of(entra)}"}
        answer = httpx.get(f"{entra.authority}/api/data/v9.2/WhoAmI", headers=headers, verify=context)
        assert answer.json()["@odata.context"].startswith("https://")

    def test_the_token_endpoint_does_not_answer_in_the_clear(self, entra: Any) -> None:
        assert httpx.post(f"{entra.base_url}/{tenant.TENANT_ID}/oauth2/v2.0/token").status_code == 404

    def test_discovery(self, entra: Any) -> None:
        import ssl

        context = ssl.create_default_context(cafile=str(entra.ca_file))
        url = f"{entra.authority}/{tenant.TENANT_ID}/v2.0/.well-known/openid-configuration"
        assert httpx.get(url, verify=context).json()["token_endpoint"].startswith(entra.authority)

    def test_other_names_stand_in_the_certificate_and_tokens_may_be_for_them(self, tmp_path: Path) -> None:
        with running_simulator(auth="entra", tls_dir=tmp_path, names=("crm.test", "10.1.2.3")) as named:
            certificate = x509.load_pem_x509_certificate((tmp_path / "server.pem").read_bytes())
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert {"localhost", "crm.test"} == set(names.get_values_for_type(x509.DNSName))
            assert "10.1.2.3" in {str(one) for one in names.get_values_for_type(x509.IPAddress)}
            assert named.authority is not None
            port = named.authority.rsplit(":", 1)[1]
            token = post(named, scope=f"https://crm.test:{port}/.default").json()["access_token"]
            assert who_am_i(named, token).status_code == 200


class TestStaticTokens:
    def test_one_token_one_user(self) -> None:
        with running_simulator(auth="static") as simulator:
            assert who_am_i(simulator, tenant.STATIC_TOKEN).json()["UserId"] == tenant.APPLICATION_USER
            assert who_am_i(simulator, tenant.CALL_SYSTEM_TOKEN).json()["UserId"] == tenant.CALL_SYSTEM_USER
            assert who_am_i(simulator, "other").status_code == 401
