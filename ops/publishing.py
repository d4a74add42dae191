"""The edge that publishes outcomes on `call-outcomes`, as a call system does: keyed by the queue item, acknowledged."""

from __future__ import annotations

from ops.actions import Sender, Sent
from ops.settings import Settings
from runtime.registry import codec
from schemas.records import CallOutcome

_BY_KEY = -1
"""The client places it."""


class Publisher:
    """Registers no schema: with a registry, today's has to be there. Raises SchemaRefused, RegistryUnavailable."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.broker.topics.call_outcomes.name
        registry = settings.registry and settings.registry.model_copy(update={"register_schemas": False})
        self._codec = codec(CallOutcome, self._topic, registry)
        self._sender = Sender(settings)

    def publish(self, outcome: CallOutcome) -> None:
        """Returns when all in-sync replicas have it. Raises BrokerUnavailable, Misconfigured."""
        value, key = self._codec.encode(outcome), outcome.queue_item_id.encode()
        self._sender.send([Sent(self._topic, _BY_KEY, key, value)])
