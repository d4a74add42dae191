"""Where only a proxy leads out, Dataverse and the token service are reached through it, and through nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator import tenant
from simulator.testing import RunningSimulator, running_simulator
from tests.support.forward_proxy import forward_proxy
from writer.dataverse.client import WHO_AM_I, DataverseClient
from writer.dataverse.identity import token_source
from writer.errors import NeverSent
from writer.settings import ClientSecretIdentity, DataverseSettings, SignInSettings

IDENTITY = ClientSecretIdentity.model_validate(
    {
        "kind": "client_secret",
        "tenant_id": tenant.TENANT_ID,
        "client_id": tenant.CLIENT_ID,
        "client_secret": tenant.CLIENT_SECRET,
    }
)


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[RunningSimulator]:
    with running_simulator(auth="entra", tls_dir=tmp_path) as simulator:
        yield simulator


def a_client(simulator: RunningSimulator, proxy: str) -> DataverseClient:
    sign_in = SignInSettings.model_validate(
        {
            "authority": simulator.authority,
            "ca_file": str(simulator.ca_file),
            "private_authority": True,
            "proxy": proxy,
        }
    )
    dataverse = DataverseSettings.model_validate({"url": simulator.base_url, "proxy": proxy})
    assert "canary" not in f"{sign_in!r} {dataverse!r}"
    tokens = token_source(IDENTITY, 0, scope=f"{simulator.base_url}/.default", sign_in=sign_in)
    return DataverseClient(dataverse, tokens)


async def test_dataverse_and_the_token_service_are_reached_through_the_proxy(signed: RunningSimulator) -> None:
    with forward_proxy() as proxy:
        client = a_client(signed, proxy.url)
        reply = await client.send(WHO_AM_I)
        await client.close()
    assert reply.status == 200
    by_method = {method: place for method, place, _ in proxy.asked}
    assert str(signed.authority).startswith(f"https://{by_method['CONNECT']}")
    assert signed.base_url == f"http://{by_method['GET']}"
    assert {credentials for _, _, credentials in proxy.asked} == {"Basic dXNlcjpjYW5hcnk="}


async def test_B1_a_proxy_that_is_away_is_trouble_and_its_credentials_are_not_shown(signed: RunningSimulator) -> None:
    with forward_proxy() as proxy:
        client = a_client(signed, proxy.url)
        await client.tokens.token()
    with pytest.raises(NeverSent) as raised:
        await client.send(WHO_AM_I)
    await client.close()
    assert "canary" not in str(raised.value)
