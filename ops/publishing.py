"""The edge that publishes outcomes on `call-outcomes`, as a call system does: keyed by the queue item, acknowledged."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, Producer

from ops.settings import Settings
from runtime.broker import BrokerUnavailable
from runtime.broker_errors import Kind, kind_of
from runtime.environment import Misconfigured
from runtime.registry import codec
from schemas.records import CallOutcome

_WITHIN_MS = 30_000


class Publisher:
    """Registers no schema: with a registry, today's has to be there. Raises Misconfigured, SchemaRefused,
    RegistryUnavailable."""

    def __init__(self, settings: Settings) -> None:
        self._broker = settings.broker
        self._topic = settings.broker.topics.call_outcomes.name
        registry = settings.registry and settings.registry.model_copy(update={"register_schemas": False})
        self._codec = codec(CallOutcome, self._topic, registry)
        self._producer = Producer(
            {**settings.broker.producer_config(), "message.timeout.ms": _WITHIN_MS, "log_level": 0}
        )

    def publish(self, outcome: CallOutcome) -> None:
        """Returns when all in-sync replicas have it. Raises BrokerUnavailable, Misconfigured."""
        failed: list[KafkaError] = []
        value, key = self._codec.encode(outcome), outcome.queue_item_id.encode()
        try:
            self._producer.produce(
                self._topic, value, key, on_delivery=lambda error, _: failed.append(error) if error else None
            )
        except KafkaException as error:
            raise self._away(error.args[0]) from None
        if self._producer.flush(_WITHIN_MS / 1000 + 5) or failed:
            raise self._away(failed[0] if failed else KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001

    def _away(self, error: KafkaError) -> Exception:
        where = f"the broker at {self._broker.bootstrap_servers}"
        if kind_of(error) is Kind.FORBIDDEN:
            return Misconfigured([f"{where} refuses: {error.str()}; `writeback topics rights` lists what to grant"])
        return BrokerUnavailable(f"{where}: {error.str()}")
