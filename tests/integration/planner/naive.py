"""A planner as one would write it first: plan, send, go on. `python -m … POINT [SIGNAL]`, the points as in `faulty`.

Tests that are green on ours have to be red on this one. It takes outcomes one by one.

- NAIVE_SLOWNESS_S: how long it waits where the trap has sprung; or, at POINT `slow`, until there is a file of the name
  that SLOW_UNTIL gives.
- NAIVE_PINS: its pins are in a table of Faust's, of so many partitions.
- NAIVE_PATIENT: it does not stop before its streams are empty.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import faust

from planner.batch import BatchDecider
from planner.core.deciding import Decider, Placement, Planned
from planner.pins.memory import MemoryPins
from planner.settings import read_settings
from planner.stream.app import RAW, incoming_of
from planner.wiring import prepare
from tests.integration.planner.faulty import Trap

FATAL_OUTCOME = 20


class NaiveApp(faust.App):
    def _create_directories(self) -> None:
        """Faust would leave three folders where the tests were started."""


class Failures(faust.Sensor):
    """Tells the test what Faust only logs."""

    def on_send_error(self, *_: object) -> None:
        sys.stdout.write("a send failed\n")


def main() -> None:
    point = sys.argv[1]
    trap = Trap(point, signal.Signals[sys.argv[2]] if len(sys.argv) > 2 else 0, fatal=FATAL_OUTCOME)
    settings = read_settings()
    prepared = prepare(settings)
    topics = settings.broker.topics
    app = NaiveApp(
        settings.group_id,
        broker=f"kafka://{settings.broker.bootstrap_servers}",
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_interval_s,
        broker_commit_interval=0.2,
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty="NAIVE_PATIENT" in os.environ,
        web_port=int(os.environ["NAIVE_WEB_PORT"]),
        # With a busy broker plans wait in Faust's buffer. What a commit flushes is what has left that buffer.
        producer_max_batch_size=1 if point == "committed" else 16_384,
        producer_request_timeout=settings.delivery_timeout_s,
    )
    app.sensors.add(Failures())
    outcomes = app.topic(topics.call_outcomes.name, **RAW)
    planned = app.topic(topics.planned_writebacks.name, **RAW)
    pins = _table(app, trap) if "NAIVE_PINS" in os.environ else {}
    slowness_s = float(os.environ.get("NAIVE_SLOWNESS_S", "0"))

    def slow() -> bool:
        return trap.sprung or (point == "slow" and not Path(os.environ["SLOW_UNTIL"]).exists())

    decider = BatchDecider(
        prepared.outcomes,
        Decider(
            mapping=prepared.mapping,
            policy=settings.policy(version="naive"),
            pins=MemoryPins(),
            placement=Placement(prepared.partitions),
            encode=prepared.plans.encode,
        ),
    )

    @app.agent(outcomes)
    async def plan(stream):
        async for event in stream.events():
            trap.batches += 1
            trap.at("taken")
            await asyncio.sleep(slowness_s * slow())
            (decision,) = await decider.first_decisions([incoming_of(event.message)])
            trap.at("decided")
            await asyncio.sleep(slowness_s * slow())
            if isinstance(decision, Planned) and (session := decision.plan.session_id) not in pins:
                planned.send_soon(key=session.encode(), value=decision.value, partition=event.message.partition)
                pins[session] = True
            trap.handed_back(settings.broker.bootstrap_servers)

    faust.Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()


def _table(app: faust.App, trap: Trap) -> faust.Table:
    class TrappedTable(faust.Table):
        def apply_changelog_batch(self, *args, **kwargs) -> None:
            trap.batches = FATAL_OUTCOME
            trap.at("recovering")
            super().apply_changelog_batch(*args, **kwargs)

    app.conf.Table = TrappedTable
    return app.Table("pins", partitions=int(os.environ["NAIVE_PINS"]), default=None)


if __name__ == "__main__":
    main()
