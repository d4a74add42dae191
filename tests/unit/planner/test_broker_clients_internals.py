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
from planner.stream.app import make_app
from runtime import clients
from runtime.log_reader import reader_config


@pytest.fixture
def secured(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for name, value in {
        "TLS": "true", "CA_FILE": str(tmp_path / "ca.pem"), "SASL__USERNAME": "u", "SASL__PASSWORD": "p",
        "BOOTSTRAP_SERVERS": "a:1,b:2",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"PLANNER_BROKER__{name}", value)
    return read_settings(mapping_file="mapping.json")


PARTS = ("pins", "reader", "fence", "jumped", "handle", "hard_exit")
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
    told = {name: made.get(name, parameters[name].default) for name in clients.aiokafka_consumer()}
    assert told == clients.aiokafka_consumer()


def test_fausts_client_gets_the_same_connection(secured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made, wanted = given_to_aiokafka(secured, monkeypatch), secured.broker.aiokafka_security()
    assert made.pop("ssl_context").check_hostname
    wanted.pop("ssl_context")
    assert {name: made[name] for name in wanted} == wanted
    assert made["bootstrap_servers"] == ["a:1", "b:2"]


def test_the_reader_of_pins_gets_every_setting_of_the_table_but_the_size_of_its_fetches(secured: Any) -> None:
    config = reader_config(BulkReader(secured.broker, None, None, group_id="g").config, "read_committed")  # type: ignore[arg-type]
    smaller = {"fetch.message.max.bytes", "fetch.max.bytes"}
    different = {name for name, value in secured.broker.consumer_config().items() if config[name] != value}
    assert different == smaller
