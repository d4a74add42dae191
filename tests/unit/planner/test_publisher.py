"""What the broker's word on a transaction leads to. What it is on a real broker is in tests/broker/planner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from planner.core.outgoing import OutgoingRecord
from planner.errors import BrokerAway, NotPublished
from planner.kafka import publisher
from planner.kafka.publisher import PlanPublisher
from runtime.broker_errors import FENCED
from runtime.connection import BrokerSettings

TAKEN_OVER = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}
CALLS = ["begin_transaction", "commit_transaction", "abort_transaction"]


@dataclass
class FakeClient:
    """Acknowledges everything, but for what `refuses` names, once: a call, or "record" for its size."""

    refuses: dict[str, KafkaError] = field(default_factory=dict)

    def _call(self, name: str) -> None:
        if (error := self.refuses.pop(name, None)) is not None:
            raise KafkaException(error)

    def init_transactions(self, _within_s: float) -> None:
        self._call("init_transactions")

    def begin_transaction(self) -> None:
        self._call("begin_transaction")

    def commit_transaction(self, _within_s: float) -> None:
        self._call("commit_transaction")

    def abort_transaction(self, _within_s: float) -> None:
        self._call("abort_transaction")

    def produce(self, *_record: object, on_delivery: Callable[[KafkaError | None, Any], None], **_more: object) -> None:
        on_delivery(self.refuses.pop("record", None), None)

    def flush(self, _within_s: float) -> None: ...

    def purge(self) -> None: ...


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeClient]:
    clients: list[FakeClient] = []

    def a_client(_config: object, **_more: object) -> FakeClient:
        clients.append(FakeClient())
        return clients[-1]

    monkeypatch.setattr(publisher, "Producer", a_client)
    return clients


@pytest.fixture
def plans(made: list[FakeClient]) -> PlanPublisher:
    broker = BrokerSettings(bootstrap_servers="broker.invalid:9092")
    return PlanPublisher(broker, transactional_id="planner-0", delivery_timeout_s=60, max_message_bytes=100_000)


SMALL = OutgoingRecord("planned-writebacks", 0, b"s1", b"small")
RECORD = OutgoingRecord("planned-writebacks", 0, b"s1", b"large", smaller=lambda: SMALL)


async def refused(plans: PlanPublisher, client: FakeClient, call: str, code: int) -> NotPublished:
    client.refuses[call] = KafkaError(code, fatal=True)
    if call == "abort_transaction":
        client.refuses["record"] = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    with pytest.raises(NotPublished) as caught:
        await plans.publish([RECORD])
    return caught.value


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", sorted(FENCED - TAKEN_OVER), ids=lambda code: KafkaError(code).name())
async def test_B2_a_transaction_that_the_broker_knows_nothing_of_any_more_passes_with_a_new_client(
    plans: PlanPublisher, made: list[FakeClient], call: str, code: int
) -> None:
    """Its disk was full, for example. The writer's producer does the same."""
    assert isinstance(await refused(plans, made[0], call, code), BrokerAway)
    assert await plans.publish([RECORD]) == []
    assert len(made) == 2


@pytest.mark.parametrize("code", sorted(FENCED - TAKEN_OVER - {KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER}))
async def test_B2_a_record_that_the_broker_refuses_so_passes_with_a_new_client(
    plans: PlanPublisher, made: list[FakeClient], code: int
) -> None:
    """Out of order is what librdkafka makes of a record that was too large: that is tried again at once."""
    assert isinstance(await refused(plans, made[0], "record", code), BrokerAway)
    assert await plans.publish([RECORD]) == []
    assert len(made) == 2


@pytest.mark.parametrize("code", sorted(FENCED))
async def test_a_new_client_that_the_broker_refuses_so_ends_the_planner(
    plans: PlanPublisher, made: list[FakeClient], code: int
) -> None:
    """Another new client would be refused as well."""
    assert not isinstance(await refused(plans, made[0], "init_transactions", code), BrokerAway)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", sorted(TAKEN_OVER), ids=lambda code: KafkaError(code).name())
async def test_a_name_that_another_planner_has_taken_over_does_not_pass(
    plans: PlanPublisher, made: list[FakeClient], call: str, code: int
) -> None:
    error = await refused(plans, made[0], call, code)
    assert not isinstance(error, BrokerAway)
    assert "give each a PLANNER_INSTANCE_ID of its own" in str(error)
