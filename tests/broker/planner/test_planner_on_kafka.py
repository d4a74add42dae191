"""The planner on a real Apache Kafka: recovery, rebalances, topic checks, large and compressed records."""

import json
import random
import subprocess
import sys

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions

from ops.demo.waiting import HANGS_AFTER_S, wait_until
from schemas.headers import REJECTED_FROM, last, reasons
from schemas.topics import DAY_MS
from tests.broker.planner.kit import CLEANED_FAST, append_again, make_topics
from tests.chaos.processes.commits import commits_of
from tests.integration.planner.harness import (
    CODEC,
    CONTROL,
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
from tests.support.ports import free_ports

PLANNER = [sys.executable, "-m", "planner"]


def given_to(kafka, prefix, given) -> None:
    publish(kafka.bootstrap, given, topic=prefix + "call-outcomes")


def wait_until_planned(kafka, prefix, given) -> None:
    def done() -> bool:
        enough = published(kafka.bootstrap, prefix + "planned-writebacks") >= len(given)
        return enough and not lost(kafka.bootstrap, given, prefix=prefix)

    wait_until(done, what=f"{len(given)} outcomes are planned", every=0.2)


def test_P1_the_pins_recover_from_a_planned_topic_that_was_really_cleaned(kafka, start_planner):
    prefix = make_topics(kafka, partitions=1, planned_writebacks=CLEANED_FAST)
    topic, given = prefix + "planned-writebacks", outcomes(300)
    unchecked = {"PLANNER_BROKER__CHECK_TOPIC_POLICIES": "false"}
    planner = start_planner(prefix, **unchecked)
    given_to(kafka, prefix, given)
    wait_until_planned(kafka, prefix, given)
    planner.kill()
    first = read(kafka.bootstrap, topic)
    for _ in range(3):
        append_again(kafka.bootstrap, topic, first)

    def cleaned() -> bool:
        append_again(kafka.bootstrap, topic, first[:1])  # the active segment rolls on write
        return len(read(kafka.bootstrap, topic)) < 2 * len(first)

    wait_until(cleaned, what="compaction", every=0.5)
    end = published(kafka.bootstrap, topic)
    start_planner(prefix, "again", **unchecked)
    given_to(kafka, prefix, given)
    given_to(kafka, prefix, more := outcomes(5, start=300))
    wait_until_planned(kafka, prefix, given + more)
    assert len([each for each in read(kafka.bootstrap, topic) if each.offset() >= end]) == 5
    assert {len(each) for each in plans(kafka.bootstrap, prefix=prefix).values()} == {1}


def test_P5_a_rebalance_between_two_planners_while_they_publish_loses_nothing(kafka, start_planner):
    prefix, given = make_topics(kafka, partitions=6), outcomes(3000, items=60)
    small = {"PLANNER_BATCH_SIZE": "5"}
    one = start_planner(prefix, "one", PLANNER_INSTANCE_ID="one", **small)
    given_to(kafka, prefix, given)
    one.wait_for(lambda: bool(one.events(event="batch.planned")), what="the first planner plans")
    two = start_planner(prefix, "two", PLANNER_INSTANCE_ID="two", **small)
    two.wait_for(lambda: bool(two.events(event="batch.planned")), what="the second planner plans")
    one.kill()
    wait_until_planned(kafka, prefix, given)
    assert {len(each) for each in plans(kafka.bootstrap, prefix=prefix).values()} == {1}


SLOWLY = {
    "ours": [sys.executable, "-m", "tests.broker.planner.slow", "0.3"],
    "naive": [sys.executable, "-m", "tests.integration.planner.naive", "slow"],
}


@pytest.mark.parametrize("agent", ["ours", pytest.param("naive", marks=CONTROL)])
def test_P5_a_planner_that_joins_while_outcomes_wait_loses_none_and_every_commit_reaches_the_end(
    kafka, make_service, agent, tmp_path
):
    """A slow broker keeps outcomes waiting in the queue of the agent until partitions have changed hands. A naive agent
    could not be made to lose here every time, but plans some of them twice."""
    prefix, given = make_topics(kafka, partitions=2), outcomes(600, items=12)
    timing = {"PLANNER_SESSION_TIMEOUT_S": "6", "PLANNER_HEARTBEAT_INTERVAL_S": "1.5", "PLANNER_BATCH_SIZE": "10"}
    slow = {"NAIVE_SLOWNESS_S": "0.1", "SLOW_UNTIL": str(tmp_path / "both are at work")}
    env = planner_env(kafka.bootstrap, checked=True, prefix=prefix, **slow, **timing)
    given_to(kafka, prefix, given)

    def run(name: str):
        own = {"PLANNER_INSTANCE_ID": name, "NAIVE_WEB_PORT": str(free_ports(1)[0])}
        return make_service(name, SLOWLY[agent], env=env | own).start()

    one = run("one")
    one.wait_for(lambda: published(kafka.bootstrap, prefix + "planned-writebacks") > 20, what="the first one plans")
    two = run("two")
    group, topic = prefix + "writeback-planner", prefix + "call-outcomes"
    wait_until(lambda: kafka.members_at_work(group) == 2, what="partitions have changed hands", every=0.2)
    (tmp_path / "both are at work").touch()
    wait_until(lambda: kafka.lag(group, topic) == 0, what="everything is committed", every=0.5)
    assert {one.stop(), two.stop()} == {0}
    assert lost(kafka.bootstrap, given, prefix=prefix) == set()
    assert {len(each) for each in plans(kafka.bootstrap, prefix=prefix).values()} == {1}
    # What the naive one has in hand while its partition goes is planned by both; ours knows it by its pin.
    assert (len(read(kafka.bootstrap, prefix + "planned-writebacks")) > len(given)) is (agent == "naive")


@pytest.mark.parametrize("stopped", [False, True])
def test_P5_progress_never_goes_back(kafka, start_planner, stopped, tmp_path):
    """It is committed by the transaction of each batch, and by Faust once a second: after a commit that is older than
    the last transaction a kill would have outcomes rejected a second time."""
    prefix, given = make_topics(kafka, partitions=1), outcomes(100)
    group, topic = prefix + "writeback-planner", prefix + "call-outcomes"
    given_to(kafka, prefix, given)
    late = [sys.executable, "-m", "tests.broker.planner.slow", "0.3", "late"]
    planner = start_planner(prefix, argv=late, SLOW_UNTIL=str(tmp_path / "never there"), PLANNER_BATCH_SIZE="5")
    if stopped:
        planner.wait_for(lambda: kafka.lag(group, topic) < 80, what="it is in the middle")
        assert planner.stop() == 0
    else:
        planner.wait_for(lambda: kafka.lag(group, topic) == 0, what="everything is committed")
    offsets = [commit.offset for commit in commits_of(kafka, {group})]
    assert offsets == sorted(offsets)


def test_P5_gaps_of_the_topic_itself_do_not_hold_up_the_commit(kafka, start_planner):
    """Markers of transactions, a batch that was rolled back, records that are gone."""
    prefix, given = make_topics(kafka, partitions=1), outcomes(40)
    group, topic = prefix + "writeback-planner", prefix + "call-outcomes"
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": kafka.unique("outcomes")})
    producer.init_transactions(30)
    for number, outcome in enumerate(given):
        producer.begin_transaction()
        producer.produce(topic, CODEC.encode(outcome), outcome.queue_item_id.encode())
        producer.commit_transaction(30)
        if number == 20:
            kafka.delete_records(topic, 0, 11)
            planner = start_planner(prefix)
            wait_until_planned(kafka, prefix, given[6:number])
    publish(kafka.bootstrap, last_one := outcomes(1, start=40), topic=topic)
    wait_until_planned(kafka, prefix, given[6:] + last_one)
    wait_until(lambda: kafka.lag(group, topic) == 0, what="everything is committed", every=0.2)
    planner.stop()


def test_B2_a_planner_that_was_killed_plans_again(kafka, start_planner):
    prefix = make_topics(kafka)
    planner = start_planner(prefix)
    given_to(kafka, prefix, outcomes(50))
    wait_until_planned(kafka, prefix, outcomes(50))
    given_to(kafka, prefix, more := outcomes(50, start=50))
    planner.kill()
    planner.start()
    wait_until_planned(kafka, prefix, outcomes(50) + more)


def test_pins_on_disk_recover_only_what_is_new(kafka, start_planner, tmp_path):
    prefix = make_topics(kafka)
    on_disk = {"PLANNER_PIN_STORE": f"rocksdb://{tmp_path}/pins"}
    start_planner(prefix, "first", **on_disk).kill()
    given_to(kafka, prefix, given := outcomes(200))
    planner = start_planner(prefix, "second", **on_disk)
    wait_until_planned(kafka, prefix, given)
    planner.stop()
    start_planner(prefix, "third", **on_disk).stop()
    given_to(kafka, prefix, given)
    given_to(kafka, prefix, more := outcomes(10, start=200))
    fourth = start_planner(prefix, "fourth", **on_disk)
    wait_until_planned(kafka, prefix, given + more)
    assert fourth.events(event="planner.ready")[0]["recovered"] == 0
    assert len(read(kafka.bootstrap, prefix + "planned-writebacks")) == 210


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_outcomes_are_read_whatever_they_were_compressed_with(kafka, start_planner, codec):
    prefix, given = make_topics(kafka, partitions=1), outcomes(20)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "compression.type": codec, "linger.ms": 50})
    for outcome in given:
        producer.produce(prefix + "call-outcomes", CODEC.encode(outcome), outcome.queue_item_id.encode())
    assert producer.flush(10) == 0
    start_planner(prefix)
    wait_until_planned(kafka, prefix, given)


@pytest.mark.parametrize(
    ("room", "segment"),
    [("1048588", "1073741824"), ("8000000", "1073741824"), ("8000000", "1048576")],
    ids=["larger than the topic takes", "copied whole", "larger than a segment"],
)
def test_P6_a_giant_message_is_rejected_and_the_planner_goes_on(kafka, start_planner, room, segment):
    prefix = make_topics(
        kafka,
        partitions=1,
        call_outcomes={"max.message.bytes": "8000000"},
        call_outcomes_rejected={"max.message.bytes": room, "segment.bytes": segment},
    )
    giant = random.Random(1).randbytes(5_000_000)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "message.max.bytes": 8_000_000})
    producer.produce(prefix + "call-outcomes", giant, b"a key")
    assert producer.flush(10) == 0
    given_to(kafka, prefix, given := outcomes(5))
    start_planner(prefix, PLANNER_BROKER__CHECK_TOPIC_POLICIES="false")  # or the smaller topic would be refused
    wait_until_planned(kafka, prefix, given)
    (record,) = wait_until(lambda: rejected(kafka.bootstrap, prefix=prefix), what="the giant is rejected")
    codes = [each.code for each in reasons(record.headers())]
    if room == "8000000" and segment != "1048576":
        assert (record.key(), record.value(), codes) == (b"a key", giant, ["undecodable"])
    else:
        assert (record.value(), codes) == (None, ["undecodable", "too_large_to_copy"])
        assert last(record.headers(), REJECTED_FROM) == f"{prefix}call-outcomes/0/0".encode()


def checked(kafka, prefix: str) -> tuple[int, list[str]]:
    env = planner_env(kafka.bootstrap, checked=True, prefix=prefix)
    run = subprocess.run([*PLANNER, "check", "--json"], env=env, capture_output=True, text=True, timeout=HANGS_AFTER_S)
    return run.returncode, json.loads(run.stdout)["problems"]


def test_a_planner_refuses_topics_with_the_wrong_policy_count_or_retention_and_names_all(kafka):
    prefix = make_topics(
        kafka,
        without=("call_outcomes",),
        planned_writebacks={"cleanup.policy": "delete"},
        call_outcomes_rejected={"retention.ms": str(DAY_MS)},
    )
    kafka.create_topic(prefix + "call-outcomes", 5)
    code, problems = checked(kafka, prefix)
    assert code == 78
    for part in ("same number of partitions", "cleanup.policy=delete; it must be compact", f"retention.ms={DAY_MS}"):
        assert any(part in each for each in problems), problems
    run = subprocess.run(
        PLANNER,
        env=planner_env(kafka.bootstrap, checked=True, prefix=prefix),
        capture_output=True,
        timeout=HANGS_AFTER_S,
    )
    assert run.returncode == 78


def test_a_planner_refuses_to_run_without_its_topics(kafka):
    code, problems = checked(kafka, kafka.unique("absent") + ".")
    assert code == 78
    assert len([each for each in problems if "does not exist" in each]) == 3


def test_a_planner_with_fit_topics_would_start(kafka):
    assert checked(kafka, make_topics(kafka)) == (0, [])


def test_a_planner_signs_in_over_tls(kafka, make_service, tmp_path):
    if kafka.secure is None:
        pytest.skip("the given broker has no listener with TLS")
    prefix = make_topics(kafka)
    (ca_file := tmp_path / "ca.pem").write_text(kafka.secure.ca_pem)
    secure = {
        "PLANNER_BROKER__TLS": "true",
        "PLANNER_BROKER__CA_FILE": str(ca_file),
        "PLANNER_BROKER__SASL__MECHANISM": "SCRAM-SHA-512",
        "PLANNER_BROKER__SASL__USERNAME": kafka.secure.username,
        "PLANNER_BROKER__SASL__PASSWORD": kafka.secure.password,
    }
    env = planner_env(kafka.secure.bootstrap, checked=True, prefix=prefix, **secure)
    planner = make_service("planner", PLANNER, env=env).start(ready)
    given_to(kafka, prefix, given := outcomes(20))
    wait_until_planned(kafka, prefix, given)
    assert kafka.secure.password not in "".join(planner.lines())


def test_a_planner_refuses_topics_whose_partitions_were_raised_before_anything_is_planned(kafka, start_planner):
    """Two thirds of the queue items would get their next plans in another partition, with no pins and in no order."""
    prefix = make_topics(kafka, partitions=3)
    planner = start_planner(prefix)
    given_to(kafka, prefix, given := outcomes(40, items=40))
    wait_until_planned(kafka, prefix, given)
    assert planner.stop() == 0
    names = [prefix + each for each in ("call-outcomes", "planned-writebacks", "call-outcomes-rejected")]
    for done in kafka.admin.create_partitions([NewPartitions(name, 6) for name in names]).values():
        done.result()
    planner.start(None)
    assert planner.wait() == 78
    (line,) = planner.events(event="planner.misconfigured")
    assert "have 6 partitions, and the plans on" in line["problem"]
    assert "were placed by 3" in line["problem"]
