"""Real calls, real Kafka, real processes: planner and writer are killed at random, and nothing is lost or doubled."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from ops.demo.audit import audit
from ops.demo.crm import CrmReader
from ops.demo.ledger import published
from ops.demo.system import Broker, System
from ops.demo.waiting import wait_until
from ops.topics import create_missing
from planner.mapping import MappingFile
from runtime.connection import BrokerSettings
from tests.support.brokers.kafka import RealKafka

ROOT = Path(__file__).parents[3]
MAPPING_FILE = ROOT / "ops" / "demo" / "mapping.json"
REAL_CALLS = ROOT.parent / "shared" / "data" / "bank-marketing.csv"
SESSIONS = 2_000
ITEMS = 1_250  # at least so many sessions in the file's first rows
KILLS = 8


@pytest.mark.timeout(1200)
def test_W2_P5_two_thousand_real_sessions_land_exactly_once_while_both_services_are_killed(
    kafka: RealKafka, tmp_path: Path
) -> None:
    prefix = kafka.unique("chaos") + "."
    settings = BrokerSettings.model_validate({"bootstrap_servers": kafka.bootstrap, "topic_prefix": prefix})
    kafka.created.extend(create_missing(settings, partitions=4, replication=1)[0])
    ledger = tmp_path / "ledger.jsonl"
    dice = random.Random(20261121)
    calls = ["--calls", str(REAL_CALLS)] if REAL_CALLS.exists() else []
    shares = ["--duplicates", "0.05", "--malformed", "0.02"]
    with (
        System(tmp_path, mapping_file=MAPPING_FILE, broker=Broker(kafka.bootstrap, prefix)) as system,
        closing(CrmReader(system.crm_url, MappingFile.model_validate_json(MAPPING_FILE.read_text()))) as crm,
    ):
        caller = system.start_calls(
            [*calls, "--items", str(ITEMS), "--at-once", "64", "--ledger", str(ledger), *shares]
        )
        for kill in range(1, KILLS + 1):
            enough = SESSIONS * kill // (KILLS + 1)
            wait_until(lambda enough=enough: crm.landed() >= enough, what=f"{enough} sessions landed")
            victim = dice.choice([system.planner, system.writer])
            victim.kill()
            victim.start()
        wait_until(lambda: not caller.is_running, what="every call was made", seconds=600)
        wait_until(lambda: crm.landed() >= len(published(ledger)), what="every session landed")
        report = audit(published(ledger), crm.read())
    assert sum(tally.sessions for tally in report.by_disposition.values()) >= SESSIONS
    assert report.right, report
