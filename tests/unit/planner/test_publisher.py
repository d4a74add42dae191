"""What the broker's word on a transaction leads to. What it is on a real broker is in tests/broker/planner."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from planner.core.fence import Membership
from planner.core.outgoing import OutgoingRecord, Progress
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
    too_large: bytes | None = b"of any other record"
    carries_out: bool = True
    """A commit that it refuses."""
    begun: int = 0
    told: list[TopicPartition] = field(default_factory=list)
    committed: list[TopicPartition] = field(default_factory=list)

    def _call(self, name: str) -> None:
        if (error := self.refuses.pop(name, None)) is not None:
            raise KafkaException(error)

    def init_transactions(self, _within_s: float) -> None:
        self._call("init_transactions")

    def begin_transaction(self) -> None:
        self.begun += 1
        self._call("begin_transaction")

    def send_offsets_to_transaction(self, places: list[TopicPartition], _group: object, _within_s: float) -> None:
        self._call("send_offsets_to_transaction")
        self.told = places

    def commit_transaction(self, _within_s: float) -> None:
        if "commit_transaction" not in self.refuses or self.carries_out:
            self.committed = self.told
        self._call("commit_transaction")

    def abort_transaction(self, _within_s: float) -> None:
        self._call("abort_transaction")

    def produce(self, *record: object, on_delivery: Callable[[KafkaError | None, Any], None], **_more: object) -> None:
        too_large = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE) if self.too_large in record else None
        on_delivery(self.refuses.pop("record", too_large), None)

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


PROGRESS = Progress("call-outcomes", {0: 5, 2: 9}, Membership("planners", 1, "member"))
FAILED = KafkaError(KafkaError.UNKNOWN, retriable=False, fatal=False)


class Asked:
    """How far the group is, as the client that was made first has committed it. First these errors, one each time."""

    def __init__(self, made: list[FakeClient], monkeypatch: pytest.MonkeyPatch, *errors: int) -> None:
        self.errors = list(errors)
        self.of: list[tuple[str, str, list[int]]] = []
        self._made = made
        monkeypatch.setattr(publisher, "committed", self._committed)

    def _committed(
        self, _broker: object, group_id: str, topic: str, partitions: Collection[int]
    ) -> list[TopicPartition]:
        self.of.append((group_id, topic, sorted(partitions)))
        if self.errors:
            raise KafkaException(KafkaError(self.errors.pop(0)))
        return self._made[0].committed


async def fails_to_commit(plans: PlanPublisher, made: list[FakeClient], records: list[OutgoingRecord]) -> None:
    assert await plans.publish([RECORD], PROGRESS) == []
    made[0].refuses["commit_transaction"] = FAILED
    with pytest.raises(BrokerAway):
        await plans.publish(records, PROGRESS)


@pytest.mark.parametrize("carried_out", [True, False])
async def test_P5_a_commit_that_failed_is_not_made_again_if_the_group_shows_it(
    plans: PlanPublisher, made: list[FakeClient], carried_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, records = Asked(made, monkeypatch), [RECORD]
    made[0].carries_out = carried_out
    await fails_to_commit(plans, made, records)
    assert await plans.publish(records, PROGRESS) == []
    assert asked.of == [("planners", "call-outcomes", [0, 2])]
    assert made[1].begun == (0 if carried_out else 1)

    assert await plans.publish([RECORD], PROGRESS) == []
    assert (made[1].begun, len(asked.of)) == (1 if carried_out else 2, 1), "what comes after it is published"


async def test_P6_what_became_smaller_in_a_commit_that_failed_is_known(
    plans: PlanPublisher, made: list[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    Asked(made, monkeypatch)
    records = [RECORD]
    made[0].too_large = RECORD.value
    made[0].refuses["commit_transaction"] = FAILED
    with pytest.raises(BrokerAway):
        await plans.publish(records, PROGRESS)
    assert await plans.publish(records, PROGRESS) == [RECORD]
    assert made[1].begun == 0


async def test_P5_nothing_is_published_before_the_broker_says_what_became_of_a_commit(
    plans: PlanPublisher, made: list[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    Asked(made, monkeypatch, KafkaError._TIMED_OUT, KafkaError.NOT_COORDINATOR)
    await fails_to_commit(plans, made, records := [RECORD])
    for _ in range(2):
        with pytest.raises(BrokerAway, match="cannot ask whether its last transaction is committed"):
            await plans.publish(records, PROGRESS)
    assert await plans.publish(records, PROGRESS) == []
    assert (len(made), made[1].begun) == (2, 0)


async def test_P5_what_is_given_instead_of_a_commit_that_failed_is_published(
    plans: PlanPublisher, made: list[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its partitions came back, for example: a planner begins then where the group is."""
    asked = Asked(made, monkeypatch)
    await fails_to_commit(plans, made, [RECORD])
    assert await plans.publish([RECORD], PROGRESS) == []
    assert (made[1].begun, asked.of) == (1, [])


async def test_a_broker_without_room_for_a_mark_gets_none(
    plans: PlanPublisher, made: list[FakeClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`offset.metadata.max.bytes` may be 0. What may be committed is then published again."""
    asked = Asked(made, monkeypatch)
    made[0].refuses["send_offsets_to_transaction"] = KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE)
    with pytest.raises(BrokerAway, match="no room for a mark"):
        await plans.publish(records := [RECORD], PROGRESS)
    made[1].refuses["commit_transaction"] = FAILED
    with pytest.raises(BrokerAway):
        await plans.publish(records, PROGRESS)
    assert await plans.publish(records, PROGRESS) == []
    assert [place.metadata for place in made[2].told] == ["", ""]
    assert asked.of == []
