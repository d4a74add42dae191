"""The planner as a process: what it does with hostile streams, what it says, and how it stops."""

import json
import random
import re
import sys
import urllib.request
import uuid
from pathlib import Path

from confluent_kafka import Producer

from ops.demo.waiting import HANGS_AFTER_S, wait_until
from schemas.headers import REJECTED_FROM, last, reasons
from tests.integration.planner.harness import (
    lost,
    outcomes,
    planner_env,
    plans,
    publish,
    published,
    read,
    ready,
    rejected,
)
from tests.unit.planner.test_fuzz import mutated, of_its_own, real_messages

PLANNER = [sys.executable, "-m", "planner"]


def ask(service, path: str) -> str:
    port = service.events(event="endpoint.listening")[-1]["port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=HANGS_AFTER_S) as answer:
        return answer.read().decode()


def test_P6_a_stream_of_hostile_messages_is_planned_or_rejected_record_by_record(embedded_kafka, make_service):
    bootstrap, dice, messages = embedded_kafka.bootstrap, random.Random(20), real_messages()
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": "gzip"})
    hostile = [
        (dice.choice([None, b"", b"k", b"\xff\x00"]), mutated(of_its_own(dice, messages), dice)) for _ in range(2000)
    ]
    hostile += [(b"k", None), (None, None), (b"k", b""), (b"k", b"\0" * 100_000)]
    for number, (key, value) in enumerate(hostile):
        producer.produce("call-outcomes", value, key, number % 6)
    assert producer.flush(20) == 0
    publish(bootstrap, given := outcomes(20))
    planner = make_service("planner", PLANNER, env=planner_env(bootstrap)).start(ready)

    def all_judged() -> bool:
        lines = [
            line.split() for line in ask(planner, "/metrics").splitlines() if line.startswith("planner_outcomes_total")
        ]
        return sum(float(count) for _, count in lines) == len(hostile) + len(given)

    wait_until(all_judged, what="every record has a verdict")
    assert lost(bootstrap, given) == set()
    turned_down = rejected(bootstrap)
    tombstones = sum(value is None for _, value in hostile)  # they are skipped: what they erased must not be copied
    assert len(turned_down) + len(plans(bootstrap)) == len(hostile) - tombstones + len(given)
    originals = {(f"call-outcomes/{n % 6}", k or b"", v or b"") for n, (k, v) in enumerate(hostile)}
    for each in turned_down:
        place = last(each.headers(), REJECTED_FROM).decode().rpartition("/")[0]
        assert (place, each.key() or b"", each.value() or b"") in originals
        assert reasons(each.headers())
    assert planner.stop() == 0


def test_it_says_where_it_listens_and_whether_it_lives_and_is_ready(embedded_kafka, make_service):
    planner = make_service("planner", PLANNER, env=planner_env(embedded_kafka.bootstrap)).start(ready)
    assert json.loads(ask(planner, "/live"))["ok"] is True
    assert json.loads(ask(planner, "/ready")) == {
        "ok": True,
        "mapping": True,
        "recovered": True,
        "recovery_remaining": 0,
        "partitions": 6,
        "waiting_for": [],
    }
    figures = ask(planner, "/metrics")
    assert re.search(r'planner_build_info\{.*mode="redaction redact, transcript summary-only".*\} 1.0', figures)
    assert "\nprocess_start_time_seconds " in figures
    assert planner.stop() == 0
    lines = [json.loads(line)["event"] for line in planner.lines()]
    assert lines == ["endpoint.listening", "planner.starting", "planner.ready", "planner.stopped"]


def test_it_leaves_no_folder_where_it_was_started(embedded_kafka, make_service):
    env = planner_env(embedded_kafka.bootstrap, PLANNER_GROUP=(group := f"planner-{uuid.uuid4().hex}"))
    planner = make_service("planner", PLANNER, env=env).start(ready)
    started_in = Path(f"/proc/{planner.pid}/cwd").resolve()
    publish(embedded_kafka.bootstrap, outcomes(20))
    wait_until(lambda: published(embedded_kafka.bootstrap) >= 20, what="it plans")
    assert planner.stop() == 0
    assert [each.name for each in started_in.iterdir() if group in each.name] == []


def test_it_says_at_start_that_a_library_is_not_the_one_it_was_tested_with(embedded_kafka, make_service, tmp_path):
    """The process sees the metadata of another Faust before that of the installed one."""
    metadata = tmp_path / "other" / "faust_streaming-0.16.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: faust-streaming\nVersion: 0.16.0\n")
    env = planner_env(embedded_kafka.bootstrap, PYTHONPATH=str(tmp_path / "other"))
    planner = make_service("planner", PLANNER, env=env).start(ready)
    (said,) = planner.events(event="planner.untested_library")
    assert said["level"] == "warning"
    assert "faust-streaming 0.16.0 is installed" in said["problem"]
    assert planner.stop() == 0


def test_P5_a_broker_that_comes_back_finds_the_planner_at_work(embedded_kafka, make_service):
    bootstrap = embedded_kafka.bootstrap
    planner = make_service("planner", PLANNER, env=planner_env(bootstrap)).start(ready)
    publish(bootstrap, first := outcomes(20))
    wait_until(lambda: published(bootstrap) >= 20, what="it plans")
    embedded_kafka.broker_down()
    planner.wait_for(lambda: any("aiokafka" in line for line in planner.lines()), what="it has noticed")
    embedded_kafka.broker_up()
    publish(bootstrap, more := outcomes(20, start=20))
    planner.wait_for(lambda: published(bootstrap) >= 40, what="it plans again")
    assert lost(bootstrap, first + more) == set()
    assert len([line for line in planner.lines() if "aiokafka" in line]) < 5
    assert all(map(json.loads, planner.lines()))  # of whatever client, on whatever stream


def test_B3_sessions_that_were_retired_while_it_runs_are_let_go(embedded_kafka, make_service):
    bootstrap = embedded_kafka.bootstrap
    env = planner_env(bootstrap, PLANNER_FOLLOW_EVERY_S="0.5")
    planner = make_service("planner", PLANNER, env=env).start(ready)
    publish(bootstrap, given := outcomes(20))
    wait_until(lambda: published(bootstrap) >= 20, what="it plans")
    producer = Producer({"bootstrap.servers": bootstrap})
    for each in read(bootstrap, "planned-writebacks"):
        producer.produce("planned-writebacks", None, each.key(), each.partition())
    assert producer.flush(10) == 0
    wait_until(lambda: "planner_pins 0.0" in ask(planner, "/metrics"), what="the pins are let go")
    publish(bootstrap, given)
    wait_until(lambda: published(bootstrap) >= 60, what="the same outcomes are planned again")
    assert planner.stop() == 0
