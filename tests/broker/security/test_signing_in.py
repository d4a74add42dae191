"""Every way to sign in to a real Kafka, with both clients: right, wrong, expired, rotated, unknown authority, and the
name of another host.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiokafka
import pytest
import trustme
from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography.hazmat.primitives import serialization

from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from planner.stream.app import TokenProvider
from runtime.broker import BrokerUnavailable, BrokerView
from runtime.connection import BrokerSettings
from runtime.errors import Misconfigured
from simulator.testing import RunningSimulator
from tests.broker.security.conftest import PARTITIONS, READY
from tests.integration.planner.harness import outcomes, planner_env, plans, publish
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from tests.support.brokers.guarded import create_topics
from tests.support.brokers.guises import PLAIN_PASSWORD, PLAIN_USER, Guises, kafka_in_every_guise
from tests.support.brokers.kafka import RealKafka
from tests.support.brokers.servers import issue
from tests.support.tokens import METADATA, TOKEN, TokenService, token_service

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # an error keeps aiokafka's last connection alive

Given = dict[str, Any]
CLIENT, SECRET, ASSERTION = "kafka-client", "client-secret-canary", "assertion-canary"
SCRAM_USER, SCRAM_PASSWORD = "calls", "scram,pass=word"
KEY_PASSWORD = "key-canary"
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture(scope="session")
def tokens() -> Iterator[TokenService]:
    with token_service(TokenService({CLIENT: SECRET, "federated": ASSERTION})) as service:
        yield service


@pytest.fixture(scope="session")
def guises(kafka: RealKafka, tokens: TokenService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guises]:
    if kafka.source != "maven":
        pytest.skip("only a broker that this machine starts has a listener for each way to sign in")
    with kafka_in_every_guise(tmp_path_factory.mktemp("guises"), tokens) as found:
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            wish = UserScramCredentialUpsertion(
                SCRAM_USER, ScramCredentialInfo(mechanism, 4096), SCRAM_PASSWORD.encode()
            )
            found.kafka.admin.alter_user_scram_credentials([wish], request_timeout=20)[SCRAM_USER].result()
        yield found


@pytest.fixture(autouse=True)
def usual_tokens(tokens: TokenService) -> None:
    """Each test begins with the same token service, whatever the last one made of it."""
    tokens.answer, tokens.lifetime_s, tokens.audience, tokens.clock_behind_s = None, 3600.0, "kafka", 0.0
    tokens.secrets |= {CLIENT: SECRET}


def password(mechanism: str, user: str, secret: str) -> Callable[[Guises, Path], Given]:
    def given(guises: Guises, folder: Path) -> Given:
        (file := folder / "password").write_text(f"{secret}\n")
        sasl = {"mechanism": mechanism, "username": user, "password_file": str(file)}
        return {"bootstrap_servers": guises.at("PASSWORDS"), "sasl": sasl}

    return given


def write_pair(authority: trustme.CA, folder: Path, *, expired: bool = False, encrypted: bool = False) -> Given:
    """A client's certificate and key as files, and the settings that name them."""
    pair = issue(authority, "client.example", common_name="calls", not_after=YESTERDAY if expired else None)
    key_pem = pair.key_pem.encode()
    if encrypted:
        key = serialization.load_pem_private_key(key_pem, None)
        key_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(KEY_PASSWORD.encode()),
        )
    (certificate := folder / "client.crt").write_text(pair.chain_pem)
    (key_file := folder / "client.key").write_bytes(key_pem)
    return {"certificate_file": str(certificate), "key_file": str(key_file)}


def certificate(*, encrypted: bool = False) -> Callable[[Guises, Path], Given]:
    def given(guises: Guises, folder: Path) -> Given:
        pair = write_pair(guises.clients, folder, encrypted=encrypted)
        secret = {"key_password": KEY_PASSWORD} if encrypted else {}
        return {"bootstrap_servers": guises.at("CERTIFICATES"), **pair, **secret}

    return given


def token(kind: str) -> Callable[[Guises, Path], Given]:
    def given(guises: Guises, folder: Path) -> Given:
        service = guises.tokens
        (file := folder / "secret").write_text(ASSERTION if kind == "workload" else SECRET)
        of_kind: dict[str, Given] = {
            "client_secret": {
                "url": service.url + TOKEN,
                "client_id": CLIENT,
                "client_secret_file": str(file),
                "scope": "kafka/.default",
            },
            "workload": {"url": service.url + TOKEN, "client_id": "federated", "assertion_file": str(file)},
            "managed": {"url": service.url + METADATA, "scope": "https://ns.example/.default"},
        }
        sasl = {"mechanism": "OAUTHBEARER", "token": {"kind": kind, **of_kind[kind]}}
        return {"bootstrap_servers": guises.at("TOKENS"), "sasl": sasl}

    return given


WAYS: dict[str, Callable[[Guises, Path], Given]] = {
    "PLAIN": password("PLAIN", PLAIN_USER, PLAIN_PASSWORD),
    "SCRAM-SHA-256": password("SCRAM-SHA-256", SCRAM_USER, SCRAM_PASSWORD),
    "SCRAM-SHA-512": password("SCRAM-SHA-512", SCRAM_USER, SCRAM_PASSWORD),
    "certificate": certificate(),
    "certificate, encrypted key": certificate(encrypted=True),
    "token by client secret": token("client_secret"),
    "token by workload identity": token("workload"),
    "token by managed identity": token("managed"),
}


def settings(guises: Guises, given: Mapping[str, Any]) -> BrokerSettings:
    return BrokerSettings.model_validate({"tls": True, "ca_file": str(guises.ca_file), "rack": "zone-1", **given})


def asked_by_librdkafka(broker: BrokerSettings) -> None:
    """Raises what a service says."""
    BrokerView(broker, (), prefix="WRITER_").look(timeout_s=20)


def asked_by_aiokafka(broker: BrokerSettings) -> None:
    """As Faust makes the planner's consumer. Raises KafkaError or SSLError."""

    async def ask() -> None:
        provider = {"sasl_oauth_token_provider": TokenProvider(broker.tokens)} if broker.tokens else {}
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=broker.bootstrap_servers, **broker.aiokafka_consumer(), **provider
        )
        try:
            await consumer.start()
            if not consumer._client.cluster.brokers():  # a refused token looks to aiokafka like a lost connection
                raise aiokafka.errors.KafkaConnectionError
        finally:
            with suppress(asyncio.CancelledError):  # what it cancels itself it does not expect
                await consumer.stop()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # aiokafka does not wait until its last connection is closed
        try:
            asyncio.run(ask())
        finally:
            gc.collect()


@pytest.mark.parametrize("client", [asked_by_librdkafka, asked_by_aiokafka], ids=["librdkafka", "aiokafka"])
@pytest.mark.parametrize("way", WAYS)
def test_both_clients_sign_in_from_the_same_settings(
    guises: Guises, tmp_path: Path, way: str, client: Callable[[BrokerSettings], None]
) -> None:
    client(settings(guises, WAYS[way](guises, tmp_path)))


def with_sasl(way: str, **changed: Any) -> Callable[[Guises, Path], Given]:
    def given(guises: Guises, folder: Path) -> Given:
        right = WAYS[way](guises, folder)
        return {**right, "sasl": {**right["sasl"], **changed}}

    return given


def with_token(**changed: Any) -> Callable[[Guises, Path], Given]:
    def given(guises: Guises, folder: Path) -> Given:
        right = WAYS["token by client secret"](guises, folder)
        token = {**right["sasl"]["token"], **changed}
        return {**right, "sasl": {**right["sasl"], "token": token}}

    return given


def wrong_password(way: str) -> Callable[[Guises, Path], Given]:
    return with_sasl(way, password="wrong-canary", password_file=None)


def at(listener: str, way: str) -> Callable[[Guises, Path], Given]:
    """A broker's certificate is verified before anybody signs in, so the listener need not know the way."""
    return lambda guises, folder: WAYS[way](guises, folder) | {"bootstrap_servers": guises.at(listener)}


def unknown_authority(way: str) -> Callable[[Guises, Path], Given]:
    def given(guises: Guises, folder: Path) -> Given:
        trustme.CA().cert_pem.write_to_path(str(folder / "other.pem"))
        return WAYS[way](guises, folder) | {"ca_file": str(folder / "other.pem")}

    return given


def refused_token(**changed: Any) -> Callable[[Guises, Path], Given]:
    def given(guises: Guises, folder: Path) -> Given:
        for name, value in changed.items():
            setattr(guises.tokens, name, value)
        return WAYS["token by client secret"](guises, folder)

    return given


def other_port(guises: Guises, folder: Path) -> Given:
    pair = {"certificate_file": None, "key_file": None}
    return WAYS["certificate"](guises, folder) | pair


def strangers_certificate(guises: Guises, folder: Path) -> Given:
    return WAYS["certificate"](guises, folder) | write_pair(trustme.CA(), folder)


def expired_certificate(guises: Guises, folder: Path) -> Given:
    return WAYS["certificate"](guises, folder) | write_pair(guises.clients, folder, expired=True)


KINDS = {"password": "PLAIN", "certificate": "certificate", "token": "token by client secret"}
WRONG: dict[str, tuple[Callable[[Guises, Path], Given], type[Exception], str, str]] = {
    "PLAIN, wrong password": (
        wrong_password("PLAIN"), Misconfigured, "refuses the user name or the password", "SASL__PASSWORD",
    ),
    "SCRAM, wrong password": (
        wrong_password("SCRAM-SHA-256"), Misconfigured, "refuses the user name or the password", "SASL__PASSWORD",
    ),
    **{
        f"{kind}, broker of an unknown authority": (
            unknown_authority(way), Misconfigured, "does not trust the authority", "CA_FILE",
        )
        for kind, way in KINDS.items()
    },
    **{
        f"{kind}, broker with the name of another host": (
            at("OTHERNAME", way), Misconfigured, "certificate is for another host name", "BOOTSTRAP_SERVERS",
        )
        for kind, way in KINDS.items()
    },
    **{
        f"{kind}, broker with an expired certificate": (
            at("EXPIRED", way), Misconfigured, "the broker's certificate has expired", "renew the broker's certificate",
        )
        for kind, way in KINDS.items()
    },
    "no certificate": (other_port, Misconfigured, "asks for a client certificate", "CERTIFICATE_FILE"),
    "certificate of an unknown authority": (
        strangers_certificate, Misconfigured, "does not trust the authority that signed this client's", "_FILE",
    ),
    "expired certificate": (
        expired_certificate, Misconfigured, "refuses this client's certificate", "CERTIFICATE_FILE",
    ),
    "token of another audience": (
        refused_token(audience="other"), Misconfigured, "refuses the token", "SASL__TOKEN__AUDIENCE",
    ),
    "token that has expired": (
        refused_token(clock_behind_s=7200.0), Misconfigured, "refuses the token", "clocks of both machines",
    ),
    "token service refuses the secret": (
        with_token(client_secret="wrong-canary", client_secret_file=None),
        Misconfigured, "refuses a token (invalid_client)", "SASL__TOKEN__CLIENT_ID",
    ),
    "token service is away": (
        with_token(url="http://127.0.0.1:9/token"), BrokerUnavailable, "cannot be reached", "SASL__TOKEN__URL",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_sign_in_that_fails_says_its_cause_and_the_remedy_and_no_secret(
    guises: Guises, tmp_path: Path, case: str
) -> None:
    given, error, says, remedy = WRONG[case]
    with pytest.raises(error) as raised:
        asked_by_librdkafka(settings(guises, given(guises, tmp_path)))
    assert says in str(raised.value)
    assert remedy in str(raised.value)
    assert " BROKER__" not in str(raised.value), "a remedy names the variables of the program that runs"
    assert not [each for each in (PLAIN_PASSWORD, "canary", SCRAM_PASSWORD) if each in str(raised.value)]


@pytest.mark.parametrize("case", [case for case in WRONG if WRONG[case][1] is Misconfigured])
def test_aiokafka_signs_in_with_nothing_that_librdkafka_is_refused_with(
    guises: Guises, tmp_path: Path, case: str
) -> None:
    """Above all, it verifies certificate and host name too."""
    with pytest.raises((aiokafka.errors.KafkaError, ssl.SSLError)):
        asked_by_aiokafka(settings(guises, WRONG[case][0](guises, tmp_path)))


def environment(prefix: str, guises: Guises, given: Mapping[str, Any]) -> dict[str, str]:
    """The settings as variables."""

    def flat(name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for key, value in values.items():
            if isinstance(value, Mapping):
                yield from flat(f"{name}{key.upper()}__", value)
            elif value is not None:
                yield f"{name}{key.upper()}", str(value)

    return dict(flat(f"{prefix}BROKER__", {"tls": "true", "ca_file": guises.ca_file, **given}))


Run = Callable[..., Service]


@pytest.fixture
def run_with(guises: Guises, simulator: RunningSimulator, make_service: Callable[..., Service]) -> Run:
    """`run_with("planner", topic_prefix, given)`: a service on the guises' broker, not started yet."""

    def make(kind: str, prefix: str, given: Mapping[str, Any]) -> Service:
        own = environment(f"{kind.upper()}_", guises, given)
        own[f"{kind.upper()}_LOOK_FOR_NEW_SECRETS_EVERY_S"] = "0.2"
        if kind == "planner":
            env = planner_env("", checked=True, prefix=prefix, **own)
        else:
            env = writer_env(
                simulator, "", WRITER_BROKER__TOPIC_PREFIX=prefix, WRITER_CONSUMER__SESSION_TIMEOUT_MS="6000",
                **{"WRITER_TRANSACTIONS": "true", "WRITER_BROKER__CHECK_TOPIC_POLICIES": "true", **own},
            )  # fmt: skip
        return make_service(kind, module(kind), env=env)

    return make


def ready(kind: str) -> Callable[[Service], bool]:
    return lambda running: running.has_written(READY[kind])


def wait_for_new_tokens(tokens: TokenService, count: int) -> None:
    seen = len(tokens.asked)
    wait_until(lambda: len(tokens.asked) >= seen + count, what=f"{count} new tokens are asked for")


def planned(guises: Guises, prefix: str, count: int) -> None:
    wait_until(
        lambda: len(plans(guises.kafka.bootstrap, prefix=prefix)) >= count, what=f"{count} are planned", every=0.5
    )


@pytest.mark.parametrize("way", ["certificate, encrypted key", "token by client secret"])
def test_P5_W1_planner_and_writer_work_on_while_the_broker_ends_every_sign_in_after_three_seconds(
    guises: Guises, run_with: Run, simulator: RunningSimulator, tmp_path: Path, way: str
) -> None:
    """The listener for tokens ends sessions after three seconds (KIP-368), and a token expires after ten. Both services
    go on as the same processes, and nothing is lost."""
    guises.tokens.lifetime_s = 10.0
    mine, theirs = (create_topics(guises.kafka, PARTITIONS) for _ in range(2))
    given = WAYS[way](guises, tmp_path)
    planner = run_with("planner", mine, given).start(ready("planner"))
    writer = run_with("writer", theirs, given).start(ready("writer"))
    desk, topic = Desk(simulator), Topic(guises.kafka.bootstrap, PARTITIONS, theirs)
    for number in range(1, 4):
        publish(guises.kafka.bootstrap, outcomes(5, start=5 * number), topic=f"{mine}call-outcomes")
        topic.publish(*(desk.plan(seed_item(simulator)) for _ in range(5)))
        planned(guises, mine, 5 * number)
        wait_until(lambda: len(topic.results()) >= 5 * number, what="every plan has a result", every=0.5)  # noqa: B023
        if way.startswith("token"):  # the life of a token passes between two rounds
            wait_for_new_tokens(guises.tokens, 2)
    assert planner.is_running
    assert writer.is_running
    assert (planner.stop(), writer.stop()) == (0, 0)
    said = "".join([*planner.lines(), *writer.lines()])
    assert not [each for each in (SECRET, KEY_PASSWORD, "eyJ") if each in said]


@pytest.mark.parametrize("kind", ["planner", "writer"])
def test_a_rotated_password_or_certificate_ends_the_service_cleanly_and_the_next_start_uses_it(
    guises: Guises, run_with: Run, tmp_path: Path, kind: str
) -> None:
    prefix = create_topics(guises.kafka, PARTITIONS)
    given = WAYS["certificate"](guises, tmp_path)
    service = run_with(kind, prefix, given).start(ready(kind))
    key = Path(given["key_file"]).read_text()
    Path(given["key_file"]).write_text("half of a new key")
    service.wait_for(lambda: bool(service.events(event="secrets.unusable")), what="the unusable key is named")
    assert service.is_running, "a service goes on with what it has while new files cannot be used"
    Path(given["key_file"]).write_text(key)
    write_pair(guises.clients, tmp_path)
    assert service.wait() == 70
    (rotated,) = service.events(event="secrets.rotated")
    name = f"{kind.upper()}_BROKER__"
    assert rotated["files"] == [f"{name}CERTIFICATE_FILE", f"{name}KEY_FILE"]
    assert not service.events(event="planner.hard_exit")
    service.start(ready(kind))
    assert service.stop() == 0


def test_a_rotated_client_secret_is_used_for_the_next_token_by_the_same_process(
    guises: Guises, run_with: Run, tmp_path: Path
) -> None:
    guises.tokens.lifetime_s = 8.0
    prefix = create_topics(guises.kafka, PARTITIONS)
    given = WAYS["token by client secret"](guises, tmp_path)
    planner = run_with("planner", prefix, given).start(ready("planner"))
    Path(given["sasl"]["token"]["client_secret_file"]).write_text("another-canary")
    guises.tokens.secrets[CLIENT] = "another-canary"
    wait_until(
        lambda: sum(each.parameters.get("client_secret") == "another-canary" for each in guises.tokens.asked) > 1,
        what="the new secret is used",
    )
    publish(guises.kafka.bootstrap, outcomes(5), topic=f"{prefix}call-outcomes")
    planned(guises, prefix, 5)
    assert planner.stop() == 0
    assert "canary" not in "".join(planner.lines())
