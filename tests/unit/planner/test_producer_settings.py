"""librdkafka accepts the producer's settings together, for every delivery timeout that an operator may choose."""

import pytest

from planner.kafka.publisher import PlanPublisher
from planner.settings import PlannerSettings
from runtime.connection import BrokerSettings


@pytest.mark.parametrize("delivery_timeout_s", [PlannerSettings.model_fields["delivery_timeout_s"].default, 1.0, 120.0])
def test_a_producer_starts_whose_requests_may_last_longer_than_its_transactions(delivery_timeout_s):
    broker = BrokerSettings(bootstrap_servers="127.0.0.1:1")
    PlanPublisher(broker, transactional_id="x", delivery_timeout_s=delivery_timeout_s, max_message_bytes=1_000_000)
