"""What the edge to the broker makes of its answers; that a real one answers so is proved in tests/broker/security."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AclOperation
from pydantic import SecretStr

from runtime.broker import BrokerUnavailable, BrokerView, UnfitTopics, admin_client
from runtime.connection import BrokerSettings, Sasl
from runtime.errors import Misconfigured
from runtime.rights import planner_rights
from schemas.topics import FoundTopic, TopicFacts, Topics
from tests.support.tokens import TokenService, token_service

TOPICS = Topics()
REQUIRED = (TOPICS.call_outcomes, TOPICS.planned_writebacks, TOPICS.call_outcomes_rejected)
RIGHTS = planner_rights(TOPICS, "writeback-planner")
FORBIDDEN = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
ALL = [AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS, AclOperation.ALTER]


def done(answer: Any) -> Future[Any]:
    future: Future[Any] = Future()
    if isinstance(answer, KafkaError):
        future.set_exception(KafkaException(answer))
    else:
        future.set_result(answer)
    return future


class Broker:
    """Answers as an AdminClient does; by topic: an error, or what the user may do there."""

    def __init__(self, **answers: KafkaError | list[AclOperation]) -> None:
        self.topics: dict[str, Any] = {spec.name: ALL for spec in REQUIRED}
        self.topics |= {name.replace("_", "-"): answer for name, answer in answers.items()}
        self.configs: dict[str, Any] = {}
        self.group: Any = SimpleNamespace(authorized_operations=ALL)
        self.brokers_down: Iterable[str] | None = None

    def view(self, *, rights: Any = RIGHTS, **settings: Any) -> BrokerView:
        def connect(_: BrokerSettings, said: list[str]) -> Any:
            self.said = said
            return self

        return BrokerView(BrokerSettings(**settings), REQUIRED, rights, connect=connect)

    def list_topics(self, timeout: float) -> Any:
        if self.brokers_down is not None:
            self.said.extend(self.brokers_down)
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return SimpleNamespace(brokers={1: "one"})

    def poll(self, _: float) -> int:
        return 0

    def describe_topics(self, wanted: Any, *, include_authorized_operations: bool, request_timeout: float) -> Any:
        def described(answer: Any) -> Any:
            if isinstance(answer, KafkaError):
                return answer
            partitions = [SimpleNamespace(replicas=[1]) for _ in range(3)]
            given = answer if include_authorized_operations else None
            return SimpleNamespace(topic_id="id", partitions=partitions, authorized_operations=given)

        return {name: done(described(answer)) for name, answer in self.topics.items()}

    def describe_configs(self, wanted: Any, *, request_timeout: float) -> Any:
        right = {spec.name: spec.creation_config() for spec in REQUIRED}

        def answer(name: str) -> Any:
            given = self.configs.get(name, right[name])
            if isinstance(given, KafkaError):
                return given
            return {key: SimpleNamespace(value=value) for key, value in given.items()}

        return {each: done(answer(each.name)) for each in wanted}

    def describe_consumer_groups(self, names: list[str], **_: Any) -> Any:
        return {name: done(self.group) for name in names}


def problems(broker: Broker, **settings: Any) -> list[str]:
    with pytest.raises(UnfitTopics) as raised:
        broker.view(**settings).checked(timeout_s=1)
    return list(raised.value.problems)


def test_fit_topics_are_told_with_their_facts() -> None:
    found = Broker().view().checked(timeout_s=1)
    assert (found.partitions, found.brokers) == (3, 1)
    assert found.topics["call-outcomes"] == FoundTopic(3, TOPICS.call_outcomes.creation_config(), 1, "id")


def test_a_topic_that_may_not_be_seen_lacks_rights_and_is_not_called_missing() -> None:
    broker = Broker(call_outcomes=FORBIDDEN)
    sasl = Sasl(username="calls", password=SecretStr("canary"))
    assert [each.split(" is ")[0] for each in problems(broker, sasl=sasl)] == ["Read on topic call-outcomes"]
    broker.configs["call-outcomes"] = FORBIDDEN
    assert [each.split(" is ")[0] for each in problems(broker)] == [
        "Read on topic call-outcomes",
        "DescribeConfigs on topic call-outcomes",
    ]


def test_settings_that_may_not_be_asked_for_are_a_missing_right() -> None:
    broker = Broker(planned_writebacks=[AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE])
    broker.configs["planned-writebacks"] = FORBIDDEN
    assert [each.split(" is ")[0] for each in problems(broker)] == ["DescribeConfigs on topic planned-writebacks"]


def test_a_group_that_may_not_be_joined_is_a_missing_right() -> None:
    broker = Broker()
    broker.group = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)
    assert [each.split(" is ")[0] for each in problems(broker)] == ["Read on consumer group writeback-planner"]


@pytest.mark.parametrize("answer", [KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS), "an old broker"])
def test_what_the_broker_does_not_say_is_not_held_against_it(answer: Any) -> None:
    broker = Broker()
    broker.group = answer if isinstance(answer, KafkaError) else SimpleNamespace(authorized_operations=None)
    assert broker.view().checked(timeout_s=1).partitions == 3


def test_a_topic_that_does_not_exist_is_named() -> None:
    broker = Broker(call_outcomes=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    assert problems(broker)[0].startswith("topic call-outcomes does not exist; create it with")


@pytest.mark.parametrize("of", ["topics", "configs"])
def test_any_other_error_means_that_the_broker_cannot_say(of: str) -> None:
    broker = Broker()
    getattr(broker, of)["call-outcomes"] = KafkaError(KafkaError.REQUEST_TIMED_OUT)
    with pytest.raises(BrokerUnavailable, match="did not describe the topics"):
        broker.view().checked(timeout_s=1)


def test_without_any_topic_nothing_is_asked_about_settings() -> None:
    absent = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    broker = Broker(call_outcomes=absent, planned_writebacks=absent, call_outcomes_rejected=absent)
    assert len(problems(broker, rights=())) == 3


def test_a_cause_that_only_a_person_takes_away_is_not_tried_twice() -> None:
    broker = Broker()
    broker.brokers_down = ["SASL authentication error: Authentication failed"]
    with pytest.raises(Misconfigured, match="refuses the user name or the password"):
        broker.view().checked(timeout_s=1e9)


def test_a_cause_that_may_pass_is_waited_for_as_long_as_was_asked() -> None:
    broker = Broker()
    broker.brokers_down = ["Failed to resolve 'b:9092'"]
    with pytest.raises(BrokerUnavailable, match="cannot resolve the host name"):
        broker.view().checked(timeout_s=0.01)


def test_settings_that_the_client_refuses_are_a_persons_business() -> None:
    with pytest.raises(Misconfigured, match=r"ssl\.ca\.location"):
        admin_client(BrokerSettings(tls=True, ca_file="/no/such/file"))


def test_where_settings_may_not_be_read_neither_they_nor_the_right_to_read_them_are_asked_for() -> None:
    broker = Broker(planned_writebacks=[AclOperation.READ, AclOperation.WRITE])
    broker.configs = dict.fromkeys((spec.name for spec in REQUIRED), FORBIDDEN)
    assert problems(broker) != []
    broker.configs = dict.fromkeys(broker.configs, KafkaError(KafkaError.REQUEST_TIMED_OUT))
    found = broker.view(describe_configs=False).checked(timeout_s=1)
    assert found.topics["call-outcomes"].config is None
    broker.topics["planned-writebacks"] = [AclOperation.READ]
    assert [each.split(" is ")[0] for each in problems(broker, describe_configs=False)] == [
        "Write on topic planned-writebacks"
    ]


def test_a_certificate_that_cannot_be_verified_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker()
    broker.brokers_down = ["SSL handshake failed: certificate verify failed: broker certificate could not be verified"]
    monkeypatch.setattr("runtime.broker.why_untrusted", lambda *_: ["certificate verify failed: Hostname mismatch"])
    with pytest.raises(Misconfigured, match="is for another host name"):
        broker.view().checked(timeout_s=1e9)


@pytest.mark.parametrize(
    ("said", "error", "variable"),
    [
        ("b: SASL authentication error: no", Misconfigured, "WRITER_BROKER__SASL__USERNAME"),
        ("b: Connection refused", BrokerUnavailable, "WRITER_BROKER__BOOTSTRAP_SERVERS"),
    ],
)
def test_a_remedy_names_the_variables_of_the_program_that_runs(
    said: str, error: type[Exception], variable: str
) -> None:
    broker, settings = Broker(), BrokerSettings()
    broker.brokers_down = [said]
    settings.read_with("WRITER_")

    def connect(_: BrokerSettings, lines: list[str]) -> Any:
        broker.said = lines
        return broker

    with pytest.raises(error, match=f"check {variable}"):
        BrokerView(settings, REQUIRED, connect=connect).checked(timeout_s=-1)


@pytest.mark.parametrize(("status", "error"), [(401, Misconfigured), (503, BrokerUnavailable)])
def test_without_a_token_the_problem_names_the_variables_of_the_program_that_runs(
    status: int, error: type[Exception]
) -> None:
    with token_service(TokenService(answer=(status, b"{}"))) as service:
        token = {"kind": "client_secret", "url": service.url, "client_id": "c", "client_secret": "canary"}
        settings = BrokerSettings.model_validate({"sasl": {"mechanism": "OAUTHBEARER", "token": token}})
        settings.read_with("WRITER_")
        with pytest.raises(error, match=" WRITER_BROKER__SASL__TOKEN__URL"):
            BrokerView(settings, REQUIRED)


def test_what_has_changed_is_told_of_the_topics_that_are_needed() -> None:
    at_start, now = (TopicFacts({"call-outcomes": FoundTopic(count, None, 1, "id")}) for count in (3, 6))
    assert len(Broker().view().changed(at_start, now)) == 1


class Late(Broker):
    """It answers the second time that it is asked."""

    def list_topics(self, timeout: float) -> Any:
        self.brokers_down = ["Connection refused"] if self.brokers_down is None else None
        return super().list_topics(timeout)


def test_a_broker_that_comes_while_it_is_waited_for_is_looked_at() -> None:
    assert Late().view().checked(timeout_s=60).brokers == 1
