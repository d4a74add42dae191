"""The peers of the writer: what somebody would write in an afternoon. Same plans, same simulator, same four requests.

    python bench/writer_peers.py loop|pyrallel BOOTSTRAP TOPIC CRM_URL MAX_IN_FLIGHT

Both do per message: query the queue item, create the phone call, patch the queue item, create the task. `loop` does one
message at a time and commits it; `pyrallel` gives the work to Pyrallel-Consumer (PyPI), ordered by key. Runs until it
is killed. It runs by itself, because Pyrallel-Consumer needs a newer Python than this project.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from schemas.codec import single_object  # noqa: E402  found through the line above
from schemas.records import PlannedWriteback  # noqa: E402

PLANS = single_object(PlannedWriteback)
QUEUE_ITEMS = "medx_callqueueitems"


def calls(value: bytes) -> list[tuple[str, str, dict[str, Any] | None]]:
    """The requests of one plan: method, path, body."""
    plan = PLANS.decode(value)
    call, _, update, task = plan.steps
    return [
        ("GET", f"{QUEUE_ITEMS}({update.record_id})?$select=medx_callstatus,medx_lastsessionid", None),
        ("POST", "phonecalls", dict(call.attributes)),
        ("PATCH", f"{QUEUE_ITEMS}({update.record_id})", dict(update.attributes)),
        ("POST", "tasks", dict(task.attributes)),
    ]


def loop(bootstrap: str, topic: str, url: str) -> None:
    """One at a time, from consume to commit."""
    import httpx2
    from confluent_kafka import Consumer

    settings = {"bootstrap.servers": bootstrap, "group.id": "loop", "auto.offset.reset": "earliest"}
    consumer = Consumer({**settings, "enable.auto.commit": False})
    consumer.subscribe([topic])
    with httpx2.Client(base_url=f"{url}/api/data/v9.2/", timeout=130) as client:
        while True:
            message = consumer.poll(1.0)
            if message is None or message.error():
                continue
            for method, path, body in calls(message.value() or b""):
                client.request(method, path, json=body).raise_for_status()
            consumer.commit(message=message, asynchronous=False)


async def pyrallel(bootstrap: str, topic: str, url: str, most: int) -> None:
    """The same work for many keys at once."""
    import httpx2
    from pyrallel_consumer import ExecutionMode, KafkaConfig, PyrallelConsumer, WorkItem

    config = KafkaConfig(BOOTSTRAP_SERVERS=bootstrap, CONSUMER_GROUP="pyrallel")
    config.dlq_enabled = False
    config.parallel_consumer.execution.mode = ExecutionMode.ASYNC
    config.parallel_consumer.execution.max_in_flight = most
    config.parallel_consumer.execution.max_retries = 3
    limits = httpx2.Limits(max_connections=most, max_keepalive_connections=most)
    async with httpx2.AsyncClient(base_url=f"{url}/api/data/v9.2/", timeout=130, limits=limits) as client:

        async def work(item: WorkItem) -> None:
            for method, path, body in calls(item.payload):
                (await client.request(method, path, json=body)).raise_for_status()

        consumer = PyrallelConsumer(config=config, worker=work, topic=topic)
        await consumer.start()
        await consumer.wait_closed()


if __name__ == "__main__":
    _, which, bootstrap, topic, url, in_flight = sys.argv
    if which == "loop":
        loop(bootstrap, topic, url)
    else:
        asyncio.run(pyrallel(bootstrap, topic, url, int(in_flight)))
