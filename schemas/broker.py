"""The edge that asks the broker what our topics are. The verdict is `topics.mismatches`."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from schemas.connection import BrokerSettings
from schemas.topics import FoundTopic, TopicSpec, mismatches


class BrokerUnavailable(Exception):
    """The broker could not be asked in time."""


class UnfitTopics(Exception):
    """Topics are missing or not as promised; `problems` names each, with its mend."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def check_topics(settings: BrokerSettings, required: tuple[TopicSpec, ...], *, timeout_s: float = 15.0) -> int:
    """The number of partitions that all required topics have. Raises UnfitTopics or BrokerUnavailable."""
    found = describe_topics(settings, required, timeout_s=timeout_s)
    if problems := mismatches(required, found):
        raise UnfitTopics(problems)
    return next(iter(found.values())).partitions


def admin_client(settings: BrokerSettings) -> AdminClient:
    """Keep it in a variable until its futures are done, or they fail with _DESTROY.

    Its log stays quiet: what goes wrong is raised by the calls, and a broker that is away would fill the terminal.
    """
    return AdminClient({**settings.client_config(), "log_level": 2})


def describe_topics(
    settings: BrokerSettings, required: tuple[TopicSpec, ...], *, timeout_s: float
) -> dict[str, FoundTopic]:
    """What the broker says of those of the topics that exist."""
    admin = admin_client(settings)
    try:
        listed = admin.list_topics(timeout=timeout_s).topics
        present = [spec.name for spec in required if spec.name in listed and not listed[spec.name].error]
        configs = _configs(admin, present, timeout_s) if settings.check_topic_policies and present else {}
    except KafkaException as error:
        raise BrokerUnavailable(
            f"the broker at {settings.bootstrap_servers} did not describe the topics: {error.args[0].str()}"
        ) from None
    return {name: FoundTopic(len(listed[name].partitions), configs.get(name)) for name in present}


def _configs(admin: AdminClient, names: Sequence[str], timeout_s: float) -> dict[str, dict[str, str]]:
    asked = admin.describe_configs(
        [ConfigResource(ResourceType.TOPIC, name) for name in names], request_timeout=timeout_s
    )
    return {
        resource.name: {key: entry.value for key, entry in future.result().items()}
        for resource, future in asked.items()
    }
