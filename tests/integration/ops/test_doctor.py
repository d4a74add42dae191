"""`doctor`: one verdict over everything; each trouble has a sentence of its own that says who must do what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.core.health import CheckResult, Part, clock_finding
from ops.demo.embedded_broker import EmbeddedBroker
from planner.mapping import environment_mark
from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.ops.kit import Ran, writeback
from tests.support.ports import free_ports
from writer.core.sign_in import SENTENCES, SignInTrouble

ROOT = Path(__file__).parents[3]
MAPPING = str(ROOT / "ops" / "demo" / "mapping.json")
SECRET = {"kind": "client_secret", "tenant_id": tenant.TENANT_ID, "client_id": tenant.CLIENT_ID}
GOOD = SECRET | {"client_secret": tenant.CLIENT_SECRET}
NOBODY = "99999999-aaaa-4bbb-8ccc-000000000009"


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    with running_simulator(auth="entra", tls_dir=tmp_path_factory.mktemp("tls")) as simulator:
        yield simulator


@pytest.fixture
def crm(signed: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> RunningSimulator:
    for name, value in {
        "DATAVERSE__URL": signed.base_url,
        "IDENTITIES": json.dumps([GOOD]),
        "SIGN_IN__AUTHORITY": str(signed.authority),
        "SIGN_IN__CA_FILE": str(signed.ca_file),
        "SIGN_IN__PRIVATE_AUTHORITY": "true",
    }.items():
        monkeypatch.setenv(f"WRITEBACK_{name}", value)
    return signed


@pytest.fixture
def mapping(crm: RunningSimulator, tmp_path: Path) -> str:
    """Made for this very environment."""
    return changed_mapping(
        tmp_path, lambda content: content["_meta"].update(environment=environment_mark(crm.base_url))
    )


def found(ran: Ran, verdict: CheckResult) -> dict[str, list[str]]:
    """Part to what was found of this verdict."""
    parts: dict[str, list[str]] = {}
    for each in ran.json[:-1]:
        if each["verdict"] == verdict:
            parts.setdefault(each["part"], []).append(each["text"])
    return parts


def test_everything_in_place_is_one_good_verdict(crm: RunningSimulator, mapping: str) -> None:
    ran = writeback("doctor", "--mapping", mapping, "--json")
    assert ran.code == 0, ran.out
    assert found(ran, CheckResult.WRONG) == {}
    assert set(found(ran, CheckResult.OK)) == set(Part) - {Part.REGISTRY, Part.SERVICES}, (
        "the embedded broker lists no groups"
    )
    assert ran.json[-1] == {
        "well": True,
        "summary": "everything that was checked is right; not checked: registry, services",
    }
    shown = writeback("doctor", "--mapping", mapping)
    assert shown.out.splitlines()[-1] == "everything that was checked is right; not checked: registry, services"
    for text in (ran.out, shown.out):
        assert tenant.CLIENT_SECRET not in text


TROUBLES: dict[SignInTrouble, tuple[dict[str, str], dict[str, str]]] = {
    SignInTrouble.SECRET_EXPIRED: (GOOD, {}),
    SignInTrouble.SECRET_WRONG: (SECRET | {"client_secret": "hunter2"}, {}),
    SignInTrouble.TENANT_UNKNOWN: (GOOD | {"tenant_id": NOBODY}, {}),
    SignInTrouble.APPLICATION_UNKNOWN: (GOOD | {"client_id": NOBODY}, {}),
    SignInTrouble.UNREACHABLE: (GOOD, {"WRITEBACK_SIGN_IN__AUTHORITY": "https://localhost:{closed}"}),
    SignInTrouble.CERTIFICATE_UNTRUSTED: (GOOD, {"WRITEBACK_SIGN_IN__CA_FILE": ""}),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_each_trouble_with_the_sign_in_has_a_sentence_of_its_own(
    trouble: SignInTrouble, crm: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity, more = TROUBLES[trouble]
    [closed] = free_ports(1)
    monkeypatch.setenv("WRITEBACK_IDENTITIES", json.dumps([identity]))
    for name, value in more.items():
        if value:
            monkeypatch.setenv(name, value.format(closed=closed))
        else:
            monkeypatch.delenv(name)
    _expire(crm, expired=trouble is SignInTrouble.SECRET_EXPIRED)
    try:
        ran = writeback("doctor", "--only", "sign-in", "--json")
    finally:
        _expire(crm, expired=False)
    assert ran.code == 1
    [said] = found(ran, CheckResult.WRONG)["sign-in"]
    assert SENTENCES[trouble].replace("WRITER_", "WRITEBACK_") in said
    assert "hunter2" not in ran.out


def _expire(simulator: RunningSimulator, *, expired: bool) -> None:
    body = {"client_id": tenant.CLIENT_ID, "secret": tenant.CLIENT_SECRET, "expired": expired}
    assert httpx.put(f"{simulator.control_url}/applications", json=body).status_code == 200


def test_an_application_user_that_dataverse_does_not_know_is_told_as_that(
    crm: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = "88888888-aaaa-4bbb-8ccc-000000000008"
    body = {"client_id": stranger, "secret": "s"}
    assert httpx.put(f"{crm.control_url}/applications", json=body).status_code == 200
    identities = [GOOD, SECRET | {"client_id": stranger, "client_secret": "s"}]
    monkeypatch.setenv("WRITEBACK_IDENTITIES", json.dumps(identities))
    ran = writeback("doctor", "--only", "sign-in", "--json")
    assert ran.code == 1
    [said] = found(ran, CheckResult.WRONG)["sign-in"]
    assert said.startswith(f"identity 1 (client_secret): {SENTENCES[SignInTrouble.NOT_ACCEPTED]}")
    assert len(found(ran, CheckResult.OK)["sign-in"]) == 1, "the other one may work"


def changed_mapping(tmp_path: Path, change: Any) -> str:
    content = json.loads(Path(MAPPING).read_text())
    change(content)
    file = tmp_path / "mapping.json"
    file.write_text(json.dumps(content))
    return str(file)


def test_every_gap_of_the_mapping_and_of_live_metadata_is_named_in_one_round(
    crm: RunningSimulator, tmp_path: Path
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["_meta"]["approved"] = False
        content["fields"]["queue.last_error"]["logical_name"] = "medx_gone"
        content["_meta"]["environment"] = "0" * 64

    ran = writeback("doctor", "--mapping", changed_mapping(tmp_path, change), "--json")
    assert ran.code == 1
    wrong = found(ran, CheckResult.WRONG)
    assert any("approved" in each for each in wrong["mapping"])
    assert any("medx_gone" in each for each in wrong["metadata"])
    assert any("another environment" in each and "WRITEBACK_DATAVERSE__URL" in each for each in wrong["metadata"])


def test_parts_can_be_checked_without_broker_or_without_crm(
    crm: RunningSimulator, mapping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRITEBACK_BROKER__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    ran = writeback("doctor", "--only", "metadata", "--only", "mapping", "--mapping", mapping, "--json")
    assert ran.code == 0, ran.out
    monkeypatch.delenv("WRITEBACK_DATAVERSE__URL")
    monkeypatch.setattr("ops.doctor.ASK_S", 0.5)
    ran = writeback("doctor", "--json")
    assert ran.code == 1
    assert set(found(ran, CheckResult.WRONG)) == {"broker"}
    assert {"sign-in", "metadata", "topics"} <= set(found(ran, CheckResult.NOT_CHECKED))


def test_a_missing_privilege_is_named_with_its_table_and_what_it_is_for(
    crm: RunningSimulator, mapping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any plan needs it."""

    def deny(table: str, *verbs: str) -> None:
        body = {"user": tenant.APPLICATION_USER, "table": table, "denied": list(verbs)}
        assert httpx.put(f"{crm.control_url}/privileges", json=body).status_code == 200

    try:
        deny("task", "create")
        deny("medx_callqueueitem", "write")
        ran = writeback("doctor", "--only", "privileges", "--mapping", mapping, "--json")
        operator = writeback("doctor", "--only", "privileges", "--mapping", mapping, "--role", "operator", "--json")
    finally:
        deny("task")
        deny("medx_callqueueitem")
    assert (ran.code, operator.code) == (1, 1)
    update, create = found(ran, CheckResult.WRONG)["privileges"]
    assert update.startswith(
        "identity 0 (client_secret) lacks Write on medx_callqueueitem (prvWriteMedx_callqueueitem)"
    )
    assert create.startswith("identity 0 (client_secret) lacks Create on task (prvCreateTask): let its security role")
    [only] = found(operator, CheckResult.WRONG)["privileges"]
    assert "Write on medx_callqueueitem" in only
    ran = writeback("doctor", "--only", "privileges", "--mapping", mapping, "--json")
    assert ran.code == 0
    assert "medx_callqueueitem: Read, Write" in found(ran, CheckResult.OK)["privileges"][0]


PEOPLE = {
    "caller": {"id": tenant.PERSON, "object_id": tenant.PERSON_OBJECT_ID, "name": "Pat Person"},
    "activity_parties": {"to": "account", "from": {"kind": "queue", "id": tenant.QUEUE, "name": "Outbound calls"}},
}


def tenants_mapping(crm: RunningSimulator, tmp_path: Path, **sections: Any) -> str:
    def change(content: dict[str, Any]) -> None:
        content["_meta"].update(environment=environment_mark(crm.base_url))
        content.update(PEOPLE | sections)

    return changed_mapping(tmp_path, change)


def test_what_a_caller_and_a_bypass_need_is_named_for_both_users(
    crm: RunningSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(what: str, **body: Any) -> None:
        assert httpx.put(f"{crm.control_url}/{what}", json=body).status_code == 200

    monkeypatch.setenv("WRITEBACK_DATAVERSE__BYPASS_BUSINESS_LOGIC", "CustomSync")
    file = tenants_mapping(crm, tmp_path)
    try:
        put("privileges", user=tenant.APPLICATION_USER, withheld=["prvBypassCustomBusinessLogic"])
        put("privileges", user=tenant.PERSON, table="phonecall", denied=["create"])
        ran = writeback("doctor", "--only", "privileges", "--mapping", file, "--json")
        operator = writeback("doctor", "--only", "privileges", "--mapping", file, "--role", "operator", "--json")
        put("delegates", user=tenant.APPLICATION_USER)
    finally:
        put("privileges", user=tenant.APPLICATION_USER, withheld=[])
        put("privileges", user=tenant.PERSON, table="phonecall", denied=[])
    bypass, behalf, create = found(ran, CheckResult.WRONG)["privileges"]
    assert bypass.startswith("identity 0 (client_secret) lacks prvBypassCustomBusinessLogic: let its security role")
    assert "bypass_business_logic" in bypass
    assert behalf.startswith("identity 0 (client_secret) lacks prvActOnBehalfOfAnotherUser: let its security role")
    assert "directly" in behalf
    assert create.startswith(f"the user {tenant.PERSON} of the mapping's caller lacks Create on phonecall")
    assert [each.split(":")[0] for each in found(operator, CheckResult.WRONG)["privileges"]] == [bypass.split(":")[0]]
    ran = writeback("doctor", "--only", "privileges", "--only", "metadata", "--mapping", file, "--json")
    assert ran.code == 0, ran.out
    assert "prvActOnBehalfOfAnotherUser" in found(ran, CheckResult.OK)["privileges"][0]
    assert "queue: Read" in found(ran, CheckResult.OK)["privileges"][0]


def test_a_caller_who_is_not_there_is_a_gap_of_the_metadata(crm: RunningSimulator, tmp_path: Path) -> None:
    gone = {"id": NOBODY, "object_id": tenant.PERSON_OBJECT_ID}
    ran = writeback("doctor", "--mapping", tenants_mapping(crm, tmp_path, caller=gone), "--json")
    assert ran.code == 1
    assert [each for each in found(ran, CheckResult.WRONG)["metadata"] if each.startswith("caller: needs a user")]
    assert not [each for each in found(ran, CheckResult.WRONG).get("privileges", ()) if NOBODY in each]


def test_what_is_asked_for_by_name_has_to_be_set_up() -> None:
    ran = writeback("doctor", "--only", "sign-in", "--json")
    assert ran.code == 1
    assert "WRITEBACK_DATAVERSE__URL" in found(ran, CheckResult.WRONG)["sign-in"][0]


def test_a_missing_topic_is_named_with_its_remedy(start_embedded_kafka: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    broker: EmbeddedBroker = start_embedded_kafka({"call-outcomes": 3})
    monkeypatch.setenv("WRITEBACK_BROKER__BOOTSTRAP_SERVERS", broker.bootstrap)
    ran = writeback("doctor", "--only", "topics", "--json")
    assert ran.code == 1
    assert (
        "topic planned-writebacks does not exist; create it with: writeback topics create"
        in found(ran, CheckResult.WRONG)["topics"]
    )


def test_a_wrong_setting_is_a_finding_like_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRITEBACK_BROKER__TSL", "true")
    ran = writeback("doctor", "--json")
    assert ran.code == 1
    assert found(ran, CheckResult.WRONG)["settings"][0].endswith("did you mean WRITEBACK_BROKER__TLS?")


@pytest.mark.parametrize(("skew", "verdict"), [(0, "ok"), (-60, "ok"), (61, "wrong"), (-300, "wrong")])
def test_a_clock_that_is_off_is_said_with_the_direction(skew: float, verdict: str) -> None:
    finding = clock_finding(skew)
    assert finding.verdict == verdict
    if verdict == "wrong":
        assert ("ahead of" if skew > 0 else "behind") in finding.text
