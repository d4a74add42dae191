"""The planner's two consumers are told the same: the stream of outcomes through Faust, and the reader of pins."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import aiokafka
import pytest
import trustme

from planner.pins.bulk import BulkReader
from planner.settings import read_settings
from planner.stream.app import TokenProvider, make_app
from runtime import clients
from runtime.connection import BrokerSettings
from runtime.log_reader import reader_config
from tests.support.tokens import TOKEN, TokenService, token_service


@pytest.fixture
def secured(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for name, value in {
        "TLS": "true", "CA_FILE": str(tmp_path / "ca.pem"), "SASL__USERNAME": "u", "SASL__PASSWORD": "p",
        "BOOTSTRAP_SERVERS": "a:1,b:2", "RACK": "zone-1", "CLOSE_IDLE_AFTER_S": "180",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"PLANNER_BROKER__{name}", value)
    return read_settings(mapping_file="mapping.json")


PARTS = ("pins", "reader", "fence", "jumped", "decided", "handle", "hard_exit")
"""None of them is needed to make a client."""


def given_to_aiokafka(settings: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Faust hands to aiokafka, and what is set on the client after that."""
    made: dict[str, Any] = {}

    class Recorder:
        def __init__(self, *_: Any, **given: Any) -> None:
            made.update(given)

        def __setattr__(self, name: str, value: Any) -> None:
            made[name.removeprefix("_")] = value

    async def make() -> None:
        app = make_app(settings, partitions=1, **dict.fromkeys(PARTS))  # type: ignore[arg-type]
        owner = SimpleNamespace(in_transaction=False, app=app, transport=app.transport)
        thread = app.transport.Consumer._new_consumer_thread.__globals__["_LosslessThread"]
        bare = thread.__new__(thread)
        bare.consumer, bare.app = owner, app
        monkeypatch.setattr(aiokafka, "AIOKafkaConsumer", Recorder)
        bare._create_worker_consumer(app.transport)

    asyncio.run(make())
    return made


def test_fausts_client_gets_every_setting_of_the_table(secured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = inspect.signature(aiokafka.AIOKafkaConsumer.__init__).parameters
    made = given_to_aiokafka(secured, monkeypatch)
    wanted = secured.broker.aiokafka_consumer()
    told = {name: made.get(name, parameters[name].default) for name in wanted if name != "ssl_context"}
    assert told == {name: wanted[name] for name in told}
    assert told.keys() >= clients.aiokafka_consumer().keys()


def test_fausts_client_gets_the_same_connection(secured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made, wanted = given_to_aiokafka(secured, monkeypatch), secured.broker.aiokafka_security()
    assert made.pop("ssl_context").check_hostname
    wanted.pop("ssl_context")
    assert {name: made[name] for name in wanted} == wanted
    assert made["bootstrap_servers"] == ["a:1", "b:2"]


def test_fausts_client_gets_the_tokens_that_librdkafka_gets(secured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with token_service(TokenService({"c": "canary"})) as service:
        token = {"kind": "client_secret", "url": service.url + TOKEN, "client_id": "c", "client_secret": "canary"}
        sasl = {"mechanism": "OAUTHBEARER", "token": token | {"extensions": {"logicalCluster": "lkc-1"}}}
        broker = BrokerSettings.model_validate(secured.broker.model_dump(exclude={"sasl"}) | {"sasl": sasl})
        made = given_to_aiokafka(secured.model_copy(update={"broker": broker}), monkeypatch)
        provider = made["sasl_oauth_token_provider"]
        assert (made["sasl_mechanism"], made["security_protocol"]) == ("OAUTHBEARER", "SASL_SSL")
        assert made["ssl_context"].check_hostname
        assert asyncio.run(provider.token()) == broker.client_config()["oauth_cb"]("")[0]
        assert provider.extensions() == {"logicalCluster": "lkc-1"}
        service.answer = (401, b"{}")
        again = TokenProvider(BrokerSettings.model_validate(broker.model_dump()).tokens)  # type: ignore[arg-type]
        with pytest.raises(aiokafka.errors.KafkaError, match="no token"):
            asyncio.run(again.token())


def test_the_reader_of_pins_gets_every_setting_of_the_table_but_the_size_of_its_fetches(secured: Any) -> None:
    config = reader_config(BulkReader(secured.broker, None, None, group_id="g").config, "read_committed")  # type: ignore[arg-type]
    smaller = {"fetch.message.max.bytes", "fetch.max.bytes"}
    different = {name for name, value in secured.broker.consumer_config().items() if config[name] != value}
    assert different == smaller
