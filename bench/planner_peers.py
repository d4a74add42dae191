"""What a user would write instead of the planner, as processes: `python -m bench.planner_peers faust|bare`.

Each reads the outcomes topic from its start and prints, as JSON, how many records it saw and how long that took from
the first to the last. `faust` does nothing with them; `bare` copies them to another topic, acknowledged and committed.
"""

from __future__ import annotations

import json
import os
import sys
import time

BROKER, TOPIC, GROUP = os.environ["PEER_BROKER"], os.environ["PEER_TOPIC"], os.environ["PEER_GROUP"]
EXPECTED = int(os.environ["PEER_EXPECTED"])


class Stopwatch:
    """Started by the first record."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def tell(self) -> None:
        seconds, processor = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        print(json.dumps({"records": EXPECTED, "seconds": seconds, "processor": processor}), flush=True)


def empty_faust_agent() -> None:
    import faust

    class App(faust.App):
        def _create_directories(self) -> None:
            """Faust would leave three folders where the bench was started."""

    app = App(
        GROUP,
        broker=f"kafka://{BROKER}",
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        web_port=int(os.environ["PEER_WEB_PORT"]),
    )
    topic = app.topic(TOPIC, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    @app.agent(topic)
    async def nothing(stream):  # type: ignore[no-untyped-def]
        seen, watch = 0, None
        async for _ in stream:
            watch = watch or Stopwatch()
            seen += 1
            if seen == EXPECTED:
                watch.tell()
                os._exit(0)

    faust.Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()


def bare_loop() -> None:
    from confluent_kafka import Consumer, Producer

    consumer = Consumer(
        {
            "bootstrap.servers": BROKER,
            "group.id": GROUP,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = Producer({"bootstrap.servers": BROKER, "enable.idempotence": "true", "acks": "all", "linger.ms": 2})
    consumer.subscribe([TOPIC])
    seen, watch = 0, None
    while seen < EXPECTED:
        batch = [each for each in consumer.consume(500, 0.1) if not each.error()]
        if not batch:
            continue
        watch = watch or Stopwatch()
        for each in batch:
            producer.produce(os.environ["PEER_TARGET"], each.value(), each.key(), each.partition() or 0)
        producer.flush()
        consumer.commit(asynchronous=False)
        seen += len(batch)
    if watch:
        watch.tell()
    consumer.close()


if __name__ == "__main__":
    {"faust": empty_faust_agent, "bare": bare_loop}[sys.argv[1]]()
