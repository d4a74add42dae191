"""The mock call system takes its items with `writeback claim`, as the demo does, and the audit finds nothing wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ops.demo.audit import audit
from ops.demo.crm import CrmReader
from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.ledger import published
from ops.demo.system import Broker, System
from ops.demo.waiting import wait_until
from planner.mapping import MappingFile
from schemas.topics import Topics

MAPPING_FILE = Path(__file__).parents[3] / "ops" / "demo" / "mapping.json"
ROWS = (
    "contact,duration,campaign,poutcome,deposit",
    "cellular,2,1,unknown,no",  # a call that eligibility forbids
    "telephone,400,1,success,yes",
    "cellular,15,2,unknown,no",
)


def test_calls_from_claim_to_result_and_what_was_not_called_is_given_back(
    start_embedded_kafka: Callable[..., EmbeddedBroker], tmp_path: Path
) -> None:
    (tmp_path / "calls.csv").write_text("\n".join(ROWS) + "\n")
    ledger = tmp_path / "ledger.jsonl"
    broker = start_embedded_kafka({topic.name: 3 for topic in Topics().all()})
    with (
        System(tmp_path, mapping_file=MAPPING_FILE, broker=Broker(broker.bootstrap, check_policies=False)) as system,
        closing(CrmReader(system.crm_url, MappingFile.model_validate_json(MAPPING_FILE.read_text()))) as crm,
    ):
        caller = system.start_calls(["--calls", str(tmp_path / "calls.csv"), "--ledger", str(ledger)], claims=True)
        wait_until(lambda: not caller.is_running, what="every call was made", seconds=500)
        assert caller.events(event="all calls made"), caller.tail()
        wait_until(lambda: crm.landed() >= len(published(ledger)), what="every session landed")
        report = audit(published(ledger), crm.read())
    assert sum(tally.sessions for tally in report.by_disposition.values()) == 4
    assert report.right, report
