"""Six troubles with the sign-in, each told by its own sentence in the log, the result, `check` and the metrics; and a
renewed secret is picked up without a restart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.writer.inprocess import running_writer
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from tests.support.checker import findings
from tests.support.ports import free_ports
from writer.core.sign_in import SENTENCES, SignInTrouble

SECRET = {"kind": "client_secret", "tenant_id": tenant.TENANT_ID, "client_id": tenant.CLIENT_ID}
GOOD = SECRET | {"client_secret": tenant.CLIENT_SECRET}
NOBODY = "99999999-aaaa-4bbb-8ccc-000000000009"


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    with running_simulator(auth="entra", tls_dir=tmp_path_factory.mktemp("tls"), token_seconds=3599) as simulator:
        yield simulator


def env(simulator: RunningSimulator, topic: Topic, identity: dict[str, str], **more: str) -> dict[str, str]:
    given = {
        "WRITER_IDENTITIES": json.dumps([identity]),
        "WRITER_SIGN_IN__AUTHORITY": str(simulator.authority),
        "WRITER_SIGN_IN__CA_FILE": str(simulator.ca_file),
        "WRITER_SIGN_IN__PRIVATE_AUTHORITY": "true",
    }
    return {name: value for name, value in (writer_env(simulator, topic.bootstrap) | given | more).items() if value}


def expire(simulator: RunningSimulator, *, expired: bool) -> None:
    body = {"client_id": tenant.CLIENT_ID, "secret": tenant.CLIENT_SECRET, "expired": expired}
    assert httpx.put(f"{simulator.control_url}/applications", json=body).status_code == 200


TROUBLES: dict[SignInTrouble, tuple[dict[str, str], dict[str, str]]] = {
    SignInTrouble.SECRET_EXPIRED: (GOOD, {}),
    SignInTrouble.SECRET_WRONG: (SECRET | {"client_secret": "hunter2"}, {}),
    SignInTrouble.TENANT_UNKNOWN: (GOOD | {"tenant_id": NOBODY}, {}),
    SignInTrouble.APPLICATION_UNKNOWN: (GOOD | {"client_id": NOBODY}, {}),
    SignInTrouble.UNREACHABLE: (GOOD, {"WRITER_SIGN_IN__AUTHORITY": "https://localhost:{closed}"}),
    SignInTrouble.CERTIFICATE_UNTRUSTED: (GOOD, {"WRITER_SIGN_IN__CA_FILE": ""}),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_each_trouble_with_the_sign_in_has_a_sentence_of_its_own(
    trouble: SignInTrouble, signed: RunningSimulator, topic: Topic, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    identity, more = TROUBLES[trouble]
    [closed] = free_ports(1)
    more = {name: value.format(closed=closed) for name, value in more.items()}
    expire(signed, expired=trouble is SignInTrouble.SECRET_EXPIRED)
    try:
        settings = env(signed, topic, identity, **more)
        topic.publish(Desk(signed).plan(seed_item(signed)))
        with running_writer(settings) as writer:
            wait_until(
                lambda: any(SENTENCES[trouble] in str(result.message) for result in topic.results()),
                what=f"a result that says {trouble}", every=0.5,
            )  # fmt: skip
            assert writer.metric("writeback_signed_in", identity="client_secret-0") == 0
            samples = writer.service.parts.metrics.sign_in_failures.collect()[0].samples  # type: ignore[union-attr]
            causes = {s.labels["cause"] for s in samples if s.value and s.name.endswith("_total")}
            assert causes == {trouble}
        [result] = topic.results()
        assert result.last_reply is not None
        assert result.last_reply.kind == "transient"
        assert "nothing to do" not in str(result.message)
        checking = Service(module("writer", "check"), env=settings, output=tmp_path / "check")
        assert checking.start().wait() == 69
        assert SENTENCES[trouble] in checking.tail()
    finally:
        expire(signed, expired=False)
    said = capfd.readouterr()
    assert SENTENCES[trouble] in said.out + said.err
    assert "hunter2" not in said.out + said.err


def test_a_renewed_secret_is_picked_up_without_a_restart(
    signed: RunningSimulator, topic: Topic, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text("an old one\n")
    plan = Desk(signed).plan(seed_item(signed))
    topic.publish(plan)
    identity = SECRET | {"client_secret_file": str(file), "client_secret_expires_at": "2030-01-01T00:00:00Z"}
    with running_writer(env(signed, topic, identity, WRITER_FLOW__MAX_PAUSE_S="0.5")) as writer:
        wait_until(
            lambda: writer.metric(
                "writeback_sign_in_failures_total",
                identity="client_secret-0", cause="secret_wrong", code="AADSTS7000215",
            ) > 0, what="the old secret is refused",
        )  # fmt: skip
        file.write_text(tenant.CLIENT_SECRET)
        topic.wait_for_committed(1)
        assert writer.metric("writeback_signed_in", identity="client_secret-0") == 1
        name = "writeback_credential_expiry_timestamp_seconds"
        wait_until(lambda: writer.metric(name, identity="client_secret-0") == 1893456000, what="the expiry is shown")
    assert findings(signed.oplog(), [plan], topic.results()) == []


def test_a_token_that_dataverse_does_not_accept_is_told_as_that(
    signed: RunningSimulator, topic: Topic, tmp_path: Path
) -> None:
    stranger = "88888888-aaaa-4bbb-8ccc-000000000008"
    body = {"client_id": stranger, "secret": "s"}
    assert httpx.put(f"{signed.control_url}/applications", json=body).status_code == 200
    settings = env(signed, topic, SECRET | {"client_id": stranger, "client_secret": "s"})
    checking = Service(module("writer", "check"), env=settings, output=tmp_path / "check")
    assert checking.start().wait() == 69
    assert SENTENCES[SignInTrouble.NOT_ACCEPTED] in checking.tail()
