"""The edge that asks the broker for our topics and rights. `topics.mismatches` and `rights.missing` judge them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from runtime.broker_errors import UNTRUSTED, Kind, kind_of, trouble
from runtime.certificates import why_untrusted
from runtime.connection import BrokerSettings
from runtime.errors import Misconfigured, TokenUnavailable, Unavailable
from runtime.rights import Operation, Resource, Right, missing
from schemas.topics import FoundTopic, TopicFacts, TopicSpec, changes, mismatches

_ATTEMPT_S = 1.5


class BrokerUnavailable(Unavailable):
    """The broker gave no answer in time."""


class UnfitTopics(Misconfigured):
    """Topics or rights are missing, or topics have the wrong settings. `problems` names each, with its remedy."""


def admin_client(settings: BrokerSettings, log_lines: list[str] | None = None) -> AdminClient:
    """Keep the client in a variable until its futures are done; otherwise they fail with _DESTROY.

    The client's log goes to `log_lines` and not to the terminal, because its calls raise what goes wrong.
    Raises Misconfigured, and BrokerUnavailable if there is no token for the sign-in.
    """
    lines: list[str] = [] if log_lines is None else log_lines
    try:
        config: dict[str, Any] = {**settings.client_config(), "error_cb": lambda error: lines.append(error.str())}
    except TokenUnavailable as error:
        raise BrokerUnavailable(f"no sign-in to the broker: {error}") from None
    try:
        return AdminClient({**config, "log_level": 6}, logger=_into(lines))
    except KafkaException as error:
        raise Misconfigured([f"the broker client refuses its settings: {error.args[0].str()}"]) from None


class BrokerView:
    """Asks about the same topics and rights over one connection. Only one caller at a time may ask.

    Raises Misconfigured and BrokerUnavailable.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        required: Sequence[TopicSpec],
        rights: Sequence[Right] = (),
        *,
        connect: Callable[[BrokerSettings, list[str]], AdminClient] | None = None,
    ) -> None:
        self._settings = settings
        self._required = tuple(required)
        self._asks_configs = settings.check_topic_policies and settings.describe_configs
        self._rights = tuple(without_configs(rights, settings)) if settings.check_topic_policies else ()
        self._log_lines: list[str] = []
        self._admin = (connect or admin_client)(settings, self._log_lines)

    def checked(self, *, timeout_s: float) -> TopicFacts:
        """Raises UnfitTopics, Misconfigured and BrokerUnavailable."""
        facts, problems = self.look(timeout_s=timeout_s)
        if problems:
            raise UnfitTopics(problems)
        return facts

    def look(self, *, timeout_s: float) -> tuple[TopicFacts, list[str]]:
        """The topics' facts, and every problem with them. Raises Misconfigured and BrokerUnavailable."""
        brokers = self._connected(timeout_s)
        try:
            found, allowed = self._described(timeout_s)
            allowed |= {
                (Resource.GROUP, right.name): self._of_group(right.name, timeout_s)
                for right in self._rights
                if right.resource is Resource.GROUP
            }
        except KafkaException as error:
            raise self._unavailable(f"did not describe the topics: {error.args[0].str()}") from None
        facts = TopicFacts(found, brokers)
        seen = [spec for spec in self._required if spec.name in found or (Resource.TOPIC, spec.name) not in allowed]
        return facts, [*missing(self._rights, allowed, user=self._settings.user), *mismatches(seen, facts)]

    def changed(self, at_start: TopicFacts, now: TopicFacts) -> list[str]:
        return changes(self._required, at_start, now)

    def _connected(self, timeout_s: float) -> int:
        """The number of brokers. If only a person can remove the cause, waiting ends at once: repeated sign-ins with a
        wrong password lock the user out."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._log_lines.clear()
            try:
                return len(self._admin.list_topics(timeout=min(_ATTEMPT_S, timeout_s)).brokers)
            except KafkaException:
                self._admin.poll(0)
            if any(UNTRUSTED in line for line in self._log_lines):
                self._log_lines += why_untrusted(self._settings.bootstrap_servers, self._settings.tls_context())
            why = trouble(self._log_lines, by_token=self._settings.tokens is not None)
            said = self._settings.named(str(why))
            if why.certain:
                raise Misconfigured([f"no connection to the broker at {self._settings.bootstrap_servers}: {said}"])
            if time.monotonic() > deadline:
                raise self._unavailable(f"cannot be reached: {said}")

    def _unavailable(self, what: str) -> BrokerUnavailable:
        return BrokerUnavailable(f"the broker at {self._settings.bootstrap_servers} {what}")

    def _described(
        self, timeout_s: float
    ) -> tuple[dict[str, FoundTopic], dict[tuple[Resource, str], Collection[str] | None]]:
        names = [spec.name for spec in self._required]
        asked = self._admin.describe_topics(
            TopicCollection(names), include_authorized_operations=bool(self._rights), request_timeout=timeout_s
        )
        described: dict[str, Any] = {}
        allowed: dict[tuple[Resource, str], Collection[str] | None] = {}
        for name, future in asked.items():
            if isinstance(answer := _answer(future), KafkaError):
                if kind_of(answer) is Kind.FORBIDDEN:
                    allowed[Resource.TOPIC, name] = ()
                elif answer.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise KafkaException(answer)
            else:
                described[name] = answer
                allowed[Resource.TOPIC, name] = _operations(answer.authorized_operations)
        configs = self._configs(allowed, timeout_s)
        allowed |= {(Resource.TOPIC, name): (Operation.DESCRIBE_CONFIGS,) for name in configs.keys() - described.keys()}
        return {name: _found(topic, configs.get(name)) for name, topic in described.items()}, allowed

    def _configs(
        self, allowed: Mapping[tuple[Resource, str], Collection[str] | None], timeout_s: float
    ) -> dict[str, Any]:
        """The settings of the topics, where we may read them; a topic without DescribeConfigs is left out. Topics that
        we may not see are asked for too, to find out whether that right is missing as well."""
        if not self._asks_configs or not allowed:
            return {}
        asked = self._admin.describe_configs(
            [ConfigResource(ResourceType.TOPIC, name) for _, name in allowed], request_timeout=timeout_s
        )
        found = {}
        for resource, future in asked.items():
            if not isinstance(answer := _answer(future), KafkaError):
                found[resource.name] = {key: entry.value for key, entry in answer.items()}
            elif kind_of(answer) is not Kind.FORBIDDEN:
                raise KafkaException(answer)
        return found

    def _of_group(self, name: str, timeout_s: float) -> Collection[str] | None:
        """None if the broker does not answer now. A missing right then shows when the group is joined."""
        asked = self._admin.describe_consumer_groups(
            [name], include_authorized_operations=True, request_timeout=timeout_s
        )
        if isinstance(answer := _answer(asked[name]), KafkaError):
            return () if kind_of(answer) is Kind.FORBIDDEN else None
        return _operations(answer.authorized_operations)


def without_configs(rights: Iterable[Right], settings: BrokerSettings) -> Iterator[Right]:
    """The rights that are needed where the topics' settings are not asked for."""
    return (each for each in rights if settings.describe_configs or each.operation is not Operation.DESCRIBE_CONFIGS)


def _answer(future: Any) -> Any:
    """The result, or the broker's error."""
    try:
        return future.result()
    except KafkaException as error:
        return error.args[0]


def _found(topic: Any, config: Mapping[str, str] | None) -> FoundTopic:
    return FoundTopic(
        partitions=len(topic.partitions),
        config=config,
        replicas=min((len(each.replicas) for each in topic.partitions), default=None),
        topic_id=str(topic.topic_id),
    )


_NAMES = {"DESCRIBE_CONFIGS": Operation.DESCRIBE_CONFIGS} | {
    each.name: each for each in (Operation.READ, Operation.WRITE, Operation.CREATE, Operation.DESCRIBE)
}


def _operations(given: Sequence[Any] | None) -> Collection[str] | None:
    return None if given is None else [_NAMES[each.name] for each in given if each.name in _NAMES]


class _Collector(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


def _into(lines: list[str]) -> logging.Logger:
    log = logging.Logger("admin")  # noqa: LOG001  of this client alone: it must not reach the service's log
    log.addHandler(_Collector(lines))
    return log
