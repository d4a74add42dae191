"""One class says how both clients reach the broker; what it cannot say, it refuses with the remedy."""

from __future__ import annotations

import ssl
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict

from runtime.connection import BrokerSettings, RegistrySettings
from runtime.environment import Environment, files_read_once, unreadable_files
from runtime.errors import Misconfigured, Unavailable
from tests.support.brokers.servers import issue
from tests.support.tokens import TOKEN, TokenService, token_service

Given = dict[str, Any]
PASSWORD: Given = {"mechanism": "PLAIN", "username": "$ConnectionString", "password": "canary"}
TOKENS: Given = {
    "mechanism": "OAUTHBEARER",
    "token": {"kind": "client_secret", "url": "https://t.example", "client_id": "c", "client_secret": "canary"},
}


def refused(cls: type[BrokerSettings | RegistrySettings], **given: Any) -> str:
    with pytest.raises(ValidationError) as raised:
        cls.model_validate(given)
    text = "; ".join(each["msg"] for each in raised.value.errors(include_input=False))
    assert "canary" not in text
    return text


@pytest.mark.parametrize(
    ("sasl", "says"),
    [
        ({"mechanism": "PLAIN", "password": "canary"}, "PLAIN needs username"),
        ({"username": "u"}, "SCRAM-SHA-512 needs either password or password_file"),
        ({**PASSWORD, "password_file": "f"}, "needs either password or password_file"),
        ({"mechanism": "OAUTHBEARER"}, "OAUTHBEARER needs token"),
        ({**TOKENS, "username": "u"}, "OAUTHBEARER uses no username and no password"),
        ({**TOKENS, "password_file": "f"}, "OAUTHBEARER uses no username and no password"),
        ({**PASSWORD, "token": TOKENS["token"]}, "mechanism must be OAUTHBEARER"),
    ],
)
def test_a_sign_in_that_lacks_something_or_contradicts_itself_is_refused(sasl: Given, says: str) -> None:
    assert says in refused(BrokerSettings, tls=True, sasl=sasl)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ca_file": "f"}, "switch tls on or remove ca_file"),
        ({"certificate_file": "f", "key_file": "f"}, "switch tls on or remove certificate_file"),
        ({"tls": True, "certificate_file": "f"}, "give both or neither"),
        ({"tls": True, "key_file": "f"}, "give both or neither"),
        (
            {"tls": True, "certificate_file": "f", "key_file": "f", "key_password": "canary", "key_password_file": "f"},
            "either key_password or key_password_file",
        ),
        ({"tls": True, "key_password": "canary"}, "key_file is not"),
    ],
)
def test_certificates_that_lack_something_are_refused(given: Given, says: str) -> None:
    assert says in refused(BrokerSettings, **given)


@pytest.mark.parametrize("given", [{"username": "u"}, {"password": "canary"}, {"password_file": "f"}])
def test_a_registrys_user_and_password_belong_together(given: Given) -> None:
    assert "username needs either password or password_file" in refused(RegistrySettings, url="https://r", **given)


def test_a_password_is_read_from_its_file_when_a_client_is_made(tmp_path: Path) -> None:
    (file := tmp_path / "password").write_text("canary\n")
    sasl = {"username": "u", "password_file": str(file)}
    broker = BrokerSettings.model_validate({"tls": True, "sasl": sasl})
    assert broker.client_config()["sasl.password"] == "canary"
    assert broker.aiokafka_security()["sasl_plain_password"] == "canary"
    registry = RegistrySettings(url="https://r", username="u", password_file=str(file))
    assert registry.secret == "canary"


AUTHORITY = trustme.CA()


def key_pair(folder: Path, name: str, *, password: bytes | None = None, not_after: datetime | None = None) -> Given:
    pair = issue(AUTHORITY, "client.example", common_name="calls", not_after=not_after)
    key = serialization.load_pem_private_key(pair.key_pem.encode(), None)
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    (certificate := folder / f"{name}.crt").write_text(pair.chain_pem)
    (file := folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    )
    return {"certificate_file": str(certificate), "key_file": str(file)}


def shown_by(broker: BrokerSettings) -> str:
    """The subject of the certificate that a server is shown by aiokafka's context."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), broker.tls_context()
    assert client
    AUTHORITY.issue_cert("localhost").configure_cert(server)
    AUTHORITY.configure_trust(server)
    AUTHORITY.configure_trust(client)
    server.verify_mode = ssl.CERT_REQUIRED
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours, theirs):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return str(theirs.getpeercert())


@pytest.mark.parametrize("by_file", [False, True])
def test_both_clients_get_the_clients_certificate(tmp_path: Path, by_file: bool) -> None:
    (tmp_path / "password").write_text("canary")
    secret = {"key_password_file": str(tmp_path / "password")} if by_file else {"key_password": "canary"}
    pair = key_pair(tmp_path, "client", password=b"canary")
    broker = BrokerSettings.model_validate({"tls": True, **pair, **secret})
    assert list(broker.unusable_files()) == []
    config = broker.client_config()
    assert config["ssl.certificate.location"] == pair["certificate_file"]
    assert config["ssl.key.location"] == pair["key_file"]
    assert config["ssl.key.password"] == "canary"
    assert broker.aiokafka_security()["ssl_context"].check_hostname
    assert "calls" in shown_by(broker)
    plain = BrokerSettings.model_validate({"tls": True, **key_pair(tmp_path, "plain")})
    assert "ssl.key.password" not in plain.client_config()


class Settings(Environment):
    model_config = SettingsConfigDict(env_prefix="X_")

    broker: BrokerSettings = Field(default_factory=BrokerSettings, description="b")


def test_a_key_that_cannot_be_used_is_named_at_start_by_its_variable_and_its_cause(tmp_path: Path) -> None:
    one, other = key_pair(tmp_path, "one"), key_pair(tmp_path, "other")
    locked = key_pair(tmp_path, "locked", password=b"canary")
    old = key_pair(tmp_path, "old", not_after=datetime(2020, 2, 3, tzinfo=UTC))
    (tmp_path / "text").write_text("text")

    def found(**given: Any) -> list[str]:
        return unreadable_files(Settings(broker=BrokerSettings.model_validate({"tls": True, **given})))

    assert found(**one) == []
    assert found(**one | {"key_file": other["key_file"]}) == [
        "X_BROKER__KEY_FILE: the key does not belong to the certificate of certificate_file"
    ]
    wrong = ["X_BROKER__KEY_FILE: the key is encrypted, and key_password is missing or wrong"]
    assert found(**locked) == wrong
    assert found(**locked, key_password="other") == wrong
    assert found(**old) == ["X_BROKER__CERTIFICATE_FILE: the certificate expired on 2020-02-03"]
    assert found(**one | {"certificate_file": str(tmp_path / "text")})[0].endswith("and its key in PEM format")
    assert found(**one | {"key_file": str(tmp_path / "absent")}) == [
        "X_BROKER__KEY_FILE: the file cannot be read: No such file or directory"
    ]


@pytest.mark.parametrize(("content", "says"), [(b"", "is empty"), (b"\n", "is empty"), (b"\xff", "is not text")])
def test_a_secret_that_is_not_there_is_named_at_start(tmp_path: Path, content: bytes, says: str) -> None:
    (file := tmp_path / "password").write_bytes(content)
    given = {"sasl": {"username": "u", "password_file": str(file)}}
    (problem,) = unreadable_files(Settings(broker=BrokerSettings.model_validate(given)))
    assert problem.startswith("X_BROKER__SASL__PASSWORD_FILE: the file")
    assert says in problem


def test_the_files_whose_change_needs_a_new_start_are_those_that_are_not_read_again(tmp_path: Path) -> None:
    token = {"kind": "client_secret", "url": "https://t", "client_id": "c", "client_secret_file": "s", "ca_file": "t"}
    given = {"tls": True, "ca_file": "ca", "sasl": {"mechanism": "OAUTHBEARER", "token": token}}
    settings = Settings(broker=BrokerSettings.model_validate(given))
    assert files_read_once(settings) == {"X_BROKER__CA_FILE": "ca"}


def test_both_clients_get_the_same_token_of_one_source() -> None:
    with token_service(TokenService({"c": "canary"})) as service:
        token = TOKENS["token"] | {"url": service.url + TOKEN}
        broker = BrokerSettings.model_validate({"tls": True, "sasl": TOKENS | {"token": token}})
        config = broker.client_config()
        assert broker.tokens is not None
        assert config["sasl.mechanism"] == broker.aiokafka_security()["sasl_mechanism"] == "OAUTHBEARER"
        assert config["oauth_cb"]("")[0] == broker.tokens.token().value
        assert "sasl_plain_password" not in broker.aiokafka_security()
        broker.consumer_config()
        assert len(service.asked) == 1
        assert "canary" not in repr(broker)
        service.answer, refused = (401, b"{}"), BrokerSettings.model_validate(broker.model_dump())
        with pytest.raises(Misconfigured):
            refused.client_config()
        service.answer = (503, b"")
        with pytest.raises(Unavailable):
            refused.client_config()


def test_the_name_that_rights_are_granted_to_is_the_users() -> None:
    assert BrokerSettings.model_validate({"sasl": PASSWORD}).user == "$ConnectionString"
    assert BrokerSettings().user is None


def test_both_clients_are_told_the_rack_and_how_long_connections_and_metadata_last() -> None:
    broker = BrokerSettings(rack="zone-1", close_idle_after_s=180, refresh_metadata_every_s=30)
    for config in (broker.client_config(), broker.consumer_config(), broker.producer_config()):
        assert config["client.rack"] == "zone-1"
        assert config["connections.max.idle.ms"] == 180_000
        assert config["topic.metadata.refresh.interval.ms"] == 30_000
        assert config["metadata.max.age.ms"] == 90_000
    theirs = broker.aiokafka_consumer()
    assert theirs["client_rack"] == "zone-1"
    assert (theirs["connections_max_idle_ms"], theirs["metadata_max_age_ms"]) == (180_000, 30_000)
    assert "client.rack" not in BrokerSettings().client_config()
