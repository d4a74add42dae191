"""docs/incident.md, section by section: its commands alone see, explain and repair each trouble, on real services."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer

from ops.demo.processes import Service
from ops.demo.waiting import wait_until
from schemas.codec import single_object
from schemas.records import CallOutcome, Disposition
from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.broker.planner.conftest import start_planner
from tests.broker.writer.conftest import Writers, prefix_of
from tests.integration.ops.kit import Ran, writeback
from tests.integration.planner.harness import AN_HOUR_AGO
from tests.integration.writer.kit import Desk, Topic, baseline_of, seed_item
from tests.support.factories import an_id
from writer.core.sign_in import SENTENCES, SignInTrouble

__all__ = ["start_planner"]

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "incident.md").read_text()
BLOCK = re.compile(r"<!-- incident -->\n```sh\n(.*?)```", re.DOTALL)
EVERYTHING = {"when": {"path": ".*"}, "times": None, "do": [{"kind": "status", "status": 503}]}
ITEMS = "medx_callqueueitems"
Planner = Callable[..., Service]


class Section:
    """The commands of one section of the page, called one after the other."""

    def __init__(self, number: int) -> None:
        text = PAGE.split("\n## ")[number]
        lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
        self.left = [shlex.split(line, comments=True) for line in lines]

    def run(self, *words: str, code: int = 0, said: str = "", **places: str) -> Ran:
        """The next command, which has to begin with these words; places that the page writes in capitals are filled."""
        program, *arguments = self.left.pop(0)
        assert (program, tuple(arguments[: len(words)])) == ("writeback", words)
        ran = writeback(*(places.get(each, each) for each in arguments))
        assert ran.code == code, (arguments, ran.out, ran.err)
        assert said in ran.out, (arguments, ran.out)
        return ran


class Night:
    """Both services, the CRM, and a call system."""

    def __init__(
        self, simulator: RunningSimulator, topic: Topic, start: Planner, writers: Writers, folder: Path
    ) -> None:
        self.simulator, self.topic, self.prefix = simulator, topic, prefix_of(topic)
        self.desk, self.secret = Desk(simulator), folder / "secret"
        self._start, self._writers, self._planners = start, writers, 0
        self._producer = Producer({"bootstrap.servers": topic.bootstrap, "partitioner": "murmur2_random"})

    def planner(self, mapping: Path | str = "mapping.json") -> Service:
        self._planners += 1
        file = str(Path(mapping).resolve())
        return self._start(self.prefix, f"planner-{self._planners}", PLANNER_MAPPING_FILE=file)

    def writer(self) -> Service:
        signed_in = {
            f"WRITER_{name.removeprefix('WRITEBACK_')}": value for name, value in sign_in(self.simulator, self.secret)
        }
        return self._writers("writer-0", self.prefix, **signed_in).start()

    def outcome(
        self, session: str, disposition: Disposition = Disposition.CALL_BACK_LATER, **changed: Any
    ) -> CallOutcome:
        item = seed_item(self.simulator)
        return self.desk.outcome(
            item, disposition, session_id=session, started_at=AN_HOUR_AGO,
            ended_at=AN_HOUR_AGO + timedelta(seconds=30),
            baseline=baseline_of(self.desk.row(item), captured_at=AN_HOUR_AGO), **changed,
        )  # fmt: skip

    def publish(self, *outcomes: CallOutcome, key: str | None = None) -> None:
        for each in outcomes:
            value = single_object(CallOutcome).encode(each)
            name = self.topic.topics.call_outcomes.name
            self._producer.produce(name, value, (key or each.queue_item_id).encode(), headers=[("client-id", b"eu-1")])
        assert self._producer.flush(20) == 0

    def until(self, what: str, *arguments: str, is_: Callable[[list[dict[str, Any]]], bool]) -> None:
        wait_until(lambda: is_(writeback(*arguments, "--json").json), what=what, every=0.5)

    def until_landed(self, sessions: int) -> None:
        done = ("list", "--status", "completed", "--settled")
        self.until(f"{sessions} have landed", *done, is_=lambda rows: len(rows) == sessions)

    def until_waiting(self, sessions: int) -> None:
        asked = ("list", "--status", "resume_needed")
        self.until("they wait, and their results say why", *asked, is_=lambda rows: len(rows) == sessions)


def sign_in(simulator: RunningSimulator, secret: Path) -> list[tuple[str, str]]:
    identity = {
        "kind": "client_secret", "tenant_id": tenant.TENANT_ID, "client_id": tenant.CLIENT_ID,
        "client_secret_file": str(secret),
    }  # fmt: skip
    return [
        ("WRITEBACK_DATAVERSE__URL", simulator.base_url),
        ("WRITEBACK_IDENTITIES", json.dumps([identity])),
        ("WRITEBACK_SIGN_IN__AUTHORITY", str(simulator.authority)),
        ("WRITEBACK_SIGN_IN__CA_FILE", str(simulator.ca_file)),
        ("WRITEBACK_SIGN_IN__PRIVATE_AUTHORITY", "true"),
    ]


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[RunningSimulator]:
    with running_simulator(auth="entra", tls_dir=tmp_path, token_seconds=3599) as simulator:
        yield simulator


@pytest.fixture
def night(
    simulator: RunningSimulator, topic: Topic, start_planner: Planner, writers: Writers, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Night:  # fmt: skip
    """With a mapping that was discovered and approved."""
    found = Night(simulator, topic, start_planner, writers, tmp_path)
    found.secret.write_text(tenant.CLIENT_SECRET)
    monkeypatch.setenv("WRITEBACK_BROKER__TOPIC_PREFIX", found.prefix)
    for name, value in sign_in(simulator, found.secret):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    scaffold = str(ROOT / "planner" / "mapping.example.json")
    assert writeback("mapping", "discover", "--scaffold", scaffold).code == 0
    assert writeback("mapping", "approve", "mapping.json", "--by", "Ada Admin").code == 0
    return found


def test_a_crm_that_is_down_is_waited_for_and_nobody_has_to_act(night: Night) -> None:
    section = Section(1)
    night.planner()
    night.writer()
    night.publish(night.outcome("sess-before"))
    night.until_landed(1)
    down = night.simulator.fault(**EVERYTHING)
    night.publish(*(night.outcome(f"sess-{number}") for number in range(3)))
    night.until_waiting(3)

    section.run("status", code=2, said="resume_needed")
    section.run("list", "--unsettled", code=2, said="sess-2")
    section.run("doctor", code=1, said="503")
    night.simulator.call(lambda core: core.rules.remove(down))
    night.until_landed(4)
    section.run("status")
    assert section.left == []
    assert len(night.simulator.rows("phonecalls")) == 4, "each once"


def test_a_mapping_gap_is_named_corrected_and_what_it_blocked_lands(night: Night) -> None:
    section = Section(2)
    mapping = Path("mapping.json")
    right = mapping.read_text()
    wrong = json.loads(right.replace('"medx_lasterror"', '"medx_latesterror"'))
    del wrong["_meta"]["approved_fingerprint"]
    mapping.write_text(json.dumps(wrong))
    planner = night.planner()
    night.writer()
    night.publish(*(night.outcome(f"sess-{number}") for number in range(3)))
    blocked = ("list", "--status", "blocked", "--settled")
    night.until("they are blocked", *blocked, is_=lambda rows: len(rows) == 3)

    section.run("list", "--status", code=1, said="medx_latesterror")
    section.run("mapping", "verify", code=1, said="medx_latesterror")
    mapping.rename("old.json")
    mapping.write_text(right.replace('"approved": true', '"approved": false'))
    shown = section.run("mapping", "diff", said="0 unsettled and 3 blocked")
    [old] = re.findall(r"planned with ([0-9a-f]{12})", shown.out)
    section.run("mapping", "approve", said="approved by Ada Admin")
    assert planner.stop() == 0
    night.planner()
    section.run("replan", "--all", said="replan: 3 sessions", OLD=old)
    section.run("replan", "--all", said="3 planned anew: completed", OLD=old)
    night.until_landed(3)
    section.run("status")
    assert section.left == []


def test_a_conflict_with_an_opt_out_in_it_is_decided_both_ways(night: Night) -> None:
    section = Section(3)
    opted_out = night.outcome("sess-optout", Disposition.DO_NOT_CALL)
    callback = night.outcome("sess-callback")
    for each in (opted_out, callback):
        night.simulator.edit(ITEMS, each.queue_item_id, {"medx_notes": "asked for the other clinic"})
    night.planner()
    night.writer()
    night.publish(opted_out, callback)
    night.until("both wait for a person", "resolve", is_=lambda rows: len(rows) == 2)

    assert "sess-" not in section.run("list", "--opt-out").out, "it reached the row"
    assert night.desk.row(opted_out.queue_item_id)["medx_donotcall"] is True
    section.run("resolve", code=1, said="sess-optout")
    looked = section.run("resolve", "sess-optout", code=1, said="medx_notes")
    [seen] = re.findall(r"version (\d+)", looked.out)
    section.run("resolve", "sess-optout", "--apply", SEEN=seen)
    section.run("resolve", "sess-callback", "--leave")
    night.until("both are decided", "list", "--settled", is_=lambda rows: len(rows) == 2)
    section.run("status")
    section.run("trace", "sess-optout")
    assert section.left == []
    assert night.desk.row(opted_out.queue_item_id)["medx_callstatus"] == 4
    left = night.desk.row(callback.queue_item_id)
    assert (left["medx_callstatus"], left["medx_lastsessionid"]) == (1, None), "as the person has it"


def test_an_expired_secret_is_named_and_a_new_one_is_read_without_a_restart(night: Night) -> None:
    section = Section(4)
    night.planner()
    night.writer()
    night.publish(night.outcome("sess-before"))
    night.until_landed(1)

    def secret(text: str, *, expired: bool) -> None:
        body = {"client_id": tenant.CLIENT_ID, "secret": text, "expired": expired}
        assert httpx.put(f"{night.simulator.control_url}/applications", json=body).status_code == 200

    secret(tenant.CLIENT_SECRET, expired=True)
    assert httpx.post(f"{night.simulator.control_url}/expire-tokens").status_code == 200
    night.publish(*(night.outcome(f"sess-{number}") for number in range(2)))
    night.until_waiting(2)

    section.run("status", code=2)
    said = SENTENCES[SignInTrouble.SECRET_EXPIRED].replace("WRITER_", "WRITEBACK_")
    section.run("doctor", code=1, said=said)
    secret("another-secret", expired=False)
    night.secret.write_text("another-secret")
    section.run("doctor", said="is signed in")
    night.until_landed(3)
    section.run("status")
    assert section.left == []


def test_malformed_outcomes_are_found_and_what_can_be_repaired_lands(night: Night) -> None:
    section = Section(5)
    night.planner()
    night.writer()
    rekeyed = [night.outcome("sess-optout", Disposition.DO_NOT_CALL), night.outcome("sess-callback")]
    night.publish(*rekeyed, key=an_id("another item"))
    night.publish(night.outcome("sess-wrong", failing_rules=("d",)))
    by_reason = ("rejected", "list")
    night.until("three are rejected", *by_reason, is_=lambda rows: sum(each["records"] for each in rows) == 3)

    section.run("rejected", "list", code=1, said="key_disagrees")
    section.run("rejected", "list", "--opt-out", code=1, said="sess-optout")
    [record] = writeback("rejected", "list", "--opt-out", "--records", "--json").json
    section.run("rejected", "show", said="key_disagrees", PLACE=str(record["place"]))
    section.run("rejected", "redrive", said="redrive: 2 rejected outcomes")
    section.run("rejected", "redrive", said="2 planned")
    night.until_landed(2)
    section.run("list", "--opt-out", "yes", said="sess-optout")
    assert "sess-" not in section.run("list", "--opt-out", "open").out
    assert section.left == []
    assert night.desk.row(rekeyed[0].queue_item_id)["medx_callstatus"] == 4


def test_every_section_is_reproduced_and_names_its_alert() -> None:
    sections = re.findall(r"^## (\d)\. (.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert [number for number, _ in sections] == ["1", "2", "3", "4", "5"]
    alerts = (ROOT / "docs" / "operators.md").read_text()
    for number, text in sections:
        named = re.findall(r"[Aa]lert `(Writeback\w+)`", text)
        assert named, f"section {number} says how it is noticed"
        assert all(each in alerts for each in named)
