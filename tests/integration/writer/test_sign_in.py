"""azure-identity's real classes over TLS against the simulator's token endpoint."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.demo.embedded_broker import EmbeddedBroker
from ops.demo.processes import Service, module
from ops.demo.waiting import wait_until
from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.integration.writer.inprocess import running_writer
from tests.integration.writer.kit import Desk, Topic, seed_item, writer_env
from tests.support.checker import findings
from writer.dataverse.identity import token_source
from writer.errors import SignInRefused
from writer.settings import ClientSecretIdentity, SignInSettings

IDENTITIES = [
    {"kind": "client_secret", "tenant_id": tenant.TENANT_ID, "client_id": client, "client_secret": tenant.CLIENT_SECRET}
    for client in (tenant.CLIENT_ID, tenant.SECOND_CLIENT_ID)
]


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[RunningSimulator]:
    with running_simulator(auth="entra", tls_dir=tmp_path, token_seconds=3599) as simulator:
        yield simulator


def sign_in(simulator: RunningSimulator) -> SignInSettings:
    settings = {"authority": simulator.authority, "ca_file": str(simulator.ca_file), "private_authority": True}
    return SignInSettings.model_validate(settings)


def env(simulator: RunningSimulator, topic: Topic, identities: list[dict[str, str]]) -> dict[str, str]:
    return writer_env(
        simulator,
        topic.bootstrap,
        WRITER_IDENTITIES=json.dumps(identities),
        WRITER_SIGN_IN__AUTHORITY=str(simulator.authority),
        WRITER_SIGN_IN__CA_FILE=str(simulator.ca_file),
        WRITER_SIGN_IN__PRIVATE_AUTHORITY="true",
    )


def test_the_real_credential_gets_a_token_over_tls_and_renews_it(signed: RunningSimulator) -> None:
    async def run() -> list[str | None]:
        identity = ClientSecretIdentity.model_validate(IDENTITIES[0])
        source = token_source(identity, 0, scope=f"{signed.base_url}/.default", sign_in=sign_in(signed))
        first = await source.token()
        tokens = [first, await source.token(), await source.renewed(first)]
        assert source.expires_at is not None
        source.close()
        return tokens

    first, again, renewed = asyncio.run(run())
    assert first == again
    assert renewed not in (None, first)


def test_B1_a_wrong_secret_is_refused_and_never_shown(signed: RunningSimulator) -> None:
    identity = ClientSecretIdentity.model_validate(IDENTITIES[0] | {"client_secret": "hunter2"})
    source = token_source(identity, 0, scope=f"{signed.base_url}/.default", sign_in=sign_in(signed))
    with pytest.raises(SignInRefused, match="AADSTS7000215") as refused:
        asyncio.run(source.token())
    assert "hunter2" not in str(refused.value)
    source.close()


def test_W2_an_expired_token_is_renewed_and_every_plan_lands_once(signed: RunningSimulator, topic: Topic) -> None:
    desk = Desk(signed)
    plans = [desk.plan(seed_item(signed)) for _ in range(20)]
    with running_writer(env(signed, topic, IDENTITIES[:1])) as writer:
        topic.publish(*plans[:10])
        topic.wait_for_committed(10)
        expiry = lambda: writer.metric("writeback_token_expiry_timestamp_seconds", identity="client_secret-0")  # noqa: E731
        wait_until(lambda: expiry() > 0, what="the token's expiry is shown")
        signed.fault(do=[{"kind": "expire_tokens"}])
        topic.publish(*plans[10:])
        topic.wait_for_committed(20)
    assert findings(signed.oplog(), plans, topic.results()) == []


def test_several_application_users_share_the_load_each_at_its_own_pace(signed: RunningSimulator, topic: Topic) -> None:
    desk = Desk(signed)
    plans = [desk.plan(seed_item(signed)) for _ in range(60)]
    settings = env(signed, topic, IDENTITIES) | {"WRITER_FLOW__MAX_PLANS_PER_REQUEST": "1"}
    hold = {"kind": "throttle", "facet": "requests", "seconds": 60.0}
    with running_writer(settings) as writer:
        wait_until(lambda: all(c.signed_in for c in pool(writer)), what="both are signed in")
        topic.publish(*plans[:30])
        topic.wait_for_committed(30)
        signed.fault(when={"path": r"\$batch", "user": tenant.APPLICATION_USER}, do=[hold])
        topic.publish(*plans[30:])
        topic.wait_for_committed(60)
        assert writer.metric("writeback_throttle_wait_seconds_total", identity="client_secret-0") > 30
    assert findings(signed.oplog(), plans, topic.results()) == []
    users = [entry["user"] for entry in signed.oplog(actor="application") if entry["outcome"] == "committed"]
    assert set(users) == {tenant.APPLICATION_USER, tenant.SECOND_APPLICATION_USER}


def pool(writer: object) -> tuple[object, ...]:
    return writer.service.parts.pool.channels  # type: ignore[attr-defined,no-any-return]


def test_one_identity_that_is_refused_does_not_stop_the_other(signed: RunningSimulator, topic: Topic) -> None:
    desk = Desk(signed)
    plans = [desk.plan(seed_item(signed)) for _ in range(10)]
    broken = IDENTITIES[1] | {"client_secret": "hunter2"}
    topic.publish(*plans)
    with running_writer(env(signed, topic, [broken, IDENTITIES[0]])):
        topic.wait_for_committed(10)
    assert findings(signed.oplog(), plans, topic.results()) == []


def test_check_says_what_is_wrong_with_topics_sign_in_and_metadata(
    signed: RunningSimulator, topic: Topic, embedded: EmbeddedBroker, tmp_path: Path
) -> None:
    def check(name: str, identities: list[dict[str, str]], **more: str) -> tuple[int, str]:
        service = Service(module("writer", "check"), env=env(signed, topic, identities) | more, output=tmp_path / name)
        return service.start().wait(), service.tail()

    status, said = check("good", IDENTITIES)
    assert status == 0, said
    assert "3 partitions" in said
    status, said = check("bad", [IDENTITIES[0] | {"client_secret": "hunter2"}])
    assert status == 69
    assert "FAIL client_secret-0" in said
    assert "hunter2" not in said
    status, said = check("prefix", IDENTITIES, WRITER_BROKER__TOPIC_PREFIX="east.")
    assert status == 78
    assert said.count("does not exist") == 3
