from __future__ import annotations

import asyncio
import threading
import time

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.identity import CredentialUnavailableError

from ops.demo.waiting import HANGS_AFTER_S
from writer.dataverse.identity import EntraTokens, NoSignIn, credential, token_source
from writer.errors import SignInRefused, SignInUnavailable
from writer.settings import (
    CertificateIdentity,
    ClientSecretIdentity,
    ManagedIdentity,
    NoIdentity,
    SignInSettings,
    WorkloadIdentity,
)

SIGN_IN = SignInSettings.model_validate({})
PRIVATE = SignInSettings.model_validate({"authority": "https://localhost:1", "private_authority": True})


class FakeCredential:
    """Numbers its tokens across all instances that `make` builds."""

    def __init__(self, told: list[str], *, lives_s: float = 3600, error: Exception | None = None) -> None:
        self.told, self.lives_s, self.error = told, lives_s, error

    def get_token(self, *scopes: str) -> AccessToken:
        assert threading.current_thread() is not threading.main_thread()
        if self.error:
            raise self.error
        self.told.append(f"token-{len(self.told)}")
        return AccessToken(self.told[-1], int(time.time() + self.lives_s))

    def close(self) -> None:
        """Nothing is held."""


def tokens(told: list[str], **options: object) -> EntraTokens:
    return EntraTokens("me", "https://example/.default", lambda: FakeCredential(told, **options))  # type: ignore[arg-type]


def test_a_token_is_asked_for_once_and_off_the_loop() -> None:
    async def run() -> list[str | None]:
        source = tokens(told)
        return [await source.token() for _ in range(5)]

    told: list[str] = []
    assert set(asyncio.run(run())) == {"token-0"}
    assert told == ["token-0"]


def test_a_token_about_to_expire_is_asked_for_again() -> None:
    async def run() -> None:
        source = tokens(told, lives_s=100)
        await source.token()
        await source.token()

    told: list[str] = []
    asyncio.run(run())
    assert told == ["token-0", "token-1"]


def test_requests_that_fail_together_renew_once() -> None:
    async def run() -> list[str | None]:
        source = tokens(told)
        rejected = await source.token()
        return await asyncio.gather(*(source.renewed(rejected) for _ in range(10)))

    told: list[str] = []
    assert set(asyncio.run(run())) == {"token-1"}
    assert told == ["token-0", "token-1"]


@pytest.mark.parametrize(
    ("error", "told_as"),
    [
        (ClientAuthenticationError("AADSTS7000215: Invalid client secret hunter2"), SignInRefused),
        (CredentialUnavailableError("no identity endpoint for hunter2"), SignInUnavailable),
        (ServiceRequestError("hunter2"), SignInUnavailable),
        (OSError("hunter2"), SignInUnavailable),
    ],
)
def test_B1_a_failed_sign_in_says_who_must_act_and_nothing_secret(error: Exception, told_as: type[Exception]) -> None:
    async def run() -> None:
        await tokens([], error=error).token()

    with pytest.raises(told_as) as refused:
        asyncio.run(run())
    assert "hunter2" not in str(refused.value)
    if told_as is SignInRefused:
        assert "AADSTS7000215" in str(refused.value)


def test_no_sign_in_sends_no_token() -> None:
    source = token_source(NoIdentity(kind="none"), 0, scope="s", sign_in=SIGN_IN)
    assert isinstance(source, NoSignIn)
    assert asyncio.run(source.token()) is asyncio.run(source.renewed(None)) is None


def test_every_kind_becomes_azure_identitys_own_credential(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TENANT_ID", "11111111-aaaa-4bbb-8ccc-000000000001")
    monkeypatch.setenv("AZURE_CLIENT_ID", "22222222-aaaa-4bbb-8ccc-000000000001")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/token")
    secret = ClientSecretIdentity.model_validate(
        {"kind": "client_secret", "tenant_id": "t", "client_id": "c", "client_secret": "s"}
    )
    kinds = [
        type(credential(identity, PRIVATE)).__name__
        for identity in (
            secret,
            WorkloadIdentity.model_validate({"kind": "workload"}),
            ManagedIdentity.model_validate({"kind": "managed"}),
        )
    ]
    assert kinds == ["ClientSecretCredential", "WorkloadIdentityCredential", "ManagedIdentityCredential"]


def test_a_certificate_that_cannot_be_read_is_a_mistake_of_the_settings() -> None:
    identity = CertificateIdentity.model_validate(
        {"kind": "certificate", "tenant_id": "t", "client_id": "c", "certificate_file": "/nowhere.pem"}
    )
    with pytest.raises((ValueError, OSError)):
        credential(identity, SIGN_IN)


def test_B2_a_token_service_that_never_answers_holds_up_neither_the_loop_nor_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("writer.dataverse.identity._PATIENCE_S", 0.05)
    answers, asked = threading.Event(), []

    class Silent(FakeCredential):
        def get_token(self, *scopes: str) -> AccessToken:
            asked.append(scopes)
            answers.wait()
            return super().get_token(*scopes)

    async def run() -> None:
        source = EntraTokens("me", "scope", lambda: Silent([]))
        for _ in range(2):
            with pytest.raises(SignInUnavailable):
                await source.token()

    running = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    running.start()
    running.join(HANGS_AFTER_S)
    ended = not running.is_alive()
    answers.set()
    running.join(HANGS_AFTER_S)
    assert ended
    assert len(asked) == 1, "a question without an answer is not asked again beside it"


def test_a_certificate_that_is_gone_when_the_token_is_renewed_is_waited_for() -> None:
    made: list[str] = []

    def make() -> FakeCredential:
        if made:
            raise FileNotFoundError("/nowhere.pem")
        made.append("once")
        return FakeCredential([])

    async def run() -> None:
        source = EntraTokens("me", "scope", make)
        rejected = await source.token()
        with pytest.raises(SignInUnavailable):
            await source.renewed(rejected)

    asyncio.run(run())
