"""A planner as one would write it first: plan, send, go on. Tests that are green on ours have to be red on this one."""

import os
import signal
import sys
import threading

import faust

from planner.app import _RAW, _incoming
from planner.batch import Desk, Planned
from planner.pins import MemoryPins
from planner.settings import read_settings
from planner.wiring import prepare

FAULT = sys.argv[1]


def main() -> None:
    settings = read_settings()
    prepared = prepare(settings)
    topics = settings.broker.topics
    app = faust.App(
        settings.group_id,
        broker=f"kafka://{settings.broker.bootstrap_servers}",
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_interval_s,
        broker_commit_interval=0.2,
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_port=int(os.environ["NAIVE_WEB_PORT"]),
        producer_linger=1.0 if FAULT == "SIGKILL" else 0,
    )
    outcomes = app.topic(topics.call_outcomes.name, **_RAW)
    planned = app.topic(topics.planned_writebacks.name, **_RAW)
    desk = Desk(
        outcomes=prepared.outcomes,
        plans=prepared.plans,
        crm=prepared.crm,
        policy=settings.policy(version="naive"),
        pins=MemoryPins(),
    )
    taken = 0

    @app.agent(outcomes)
    async def plan(stream):
        nonlocal taken
        async for event in stream.events():
            taken += 1
            if FAULT == "exception" and taken == 20:
                raise RuntimeError("made up")
            (verdict,) = desk.verdicts([_incoming(event.message)])
            if isinstance(verdict, Planned):
                planned.send_soon(key=event.key, value=verdict.value, partition=event.message.partition)
            if FAULT == "SIGSTOP" and taken == 20:
                os.kill(os.getpid(), signal.SIGSTOP)
            if FAULT == "SIGKILL" and taken == 20:
                threading.Timer(0.45, os.kill, [os.getpid(), signal.SIGKILL]).start()

    faust.Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
