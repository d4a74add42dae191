from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
from opentelemetry.context import attach, detach

from runtime.tracing import context_of
from writer.core.replies import judge
from writer.dataverse.client import DataverseClient, HttpRequest
from writer.dataverse.identity import NoSignIn
from writer.errors import NeverSent, Unanswered
from writer.settings import DataverseSettings

Handler = Callable[[httpx2.Request], httpx2.Response]


class CountingTokens:
    name = "counted"
    expires_at = None

    def __init__(self) -> None:
        self.renewals = 0

    async def token(self) -> str | None:
        return f"token-{self.renewals}"

    async def renewed(self, rejected: str | None) -> str | None:
        assert rejected == f"token-{self.renewals}"
        self.renewals += 1
        return await self.token()

    def close(self) -> None:
        """Nothing is held."""


def client(
    handler: Handler, tokens: CountingTokens | NoSignIn | None = None, **settings_given: float
) -> DataverseClient:
    settings = DataverseSettings.model_validate({"url": "http://localhost:1", **settings_given})
    return DataverseClient(settings, tokens or NoSignIn("nobody"), transport=httpx2.MockTransport(handler))


def send_once(handler: Handler, request: HttpRequest | None = None, tokens: CountingTokens | None = None) -> None:
    async def run() -> None:
        dataverse = client(handler, tokens)
        try:
            await dataverse.send(request or HttpRequest("GET", "WhoAmI"))
        finally:
            await dataverse.close()

    asyncio.run(run())


@pytest.mark.parametrize("error", [httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout])
def test_W2_a_request_that_never_left_is_told_apart(error: type[httpx2.HTTPError]) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        raise error("+15305550101")

    with pytest.raises(NeverSent) as told:
        send_once(handler)
    assert str(told.value) == error.__name__


@pytest.mark.parametrize(
    "error", [httpx2.ReadTimeout, httpx2.ReadError, httpx2.RemoteProtocolError, httpx2.WriteError, httpx2.DecodingError]
)
def test_W2_a_request_that_may_have_landed_is_told_apart(error: type[httpx2.HTTPError]) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        raise error("+15305550101")

    with pytest.raises(Unanswered) as told:
        send_once(handler)
    assert str(told.value) == error.__name__


def test_a_401_renews_the_token_once_and_only_once() -> None:
    seen: list[str | None] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers.get("authorization"))
        return httpx2.Response(401)

    tokens = CountingTokens()
    send_once(handler, tokens=tokens)
    assert seen == ["Bearer token-0", "Bearer token-1"]
    assert tokens.renewals == 1


def test_cookies_are_not_sent_back() -> None:
    seen: list[str | None] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers.get("cookie"))
        return httpx2.Response(200, headers={"set-cookie": "ARRAffinity=abc; path=/"})

    async def run() -> None:
        dataverse = client(handler)
        for _ in range(3):
            await dataverse.send(HttpRequest("GET", "WhoAmI"))
        await dataverse.close()

    asyncio.run(run())
    assert seen == [None, None, None]


def test_a_request_carries_odata_versions_a_correlation_id_and_the_trace() -> None:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(204)

    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    token = attach(context_of(trace))
    try:
        send_once(handler, HttpRequest("POST", "$batch", {"Content-Type": "x"}, b"body"))
    finally:
        detach(token)
    [request] = seen
    assert str(request.url) == "http://localhost:1/api/data/v9.2/$batch"
    assert request.headers["odata-version"] == request.headers["odata-maxversion"] == "4.0"
    assert request.headers["x-ms-client-request-id"]
    assert request.headers["traceparent"] == trace.decode()
    assert "authorization" not in request.headers
    assert request.content == b"body"


def test_of_two_service_request_ids_the_last_one_counts() -> None:
    async def run() -> str | None:
        dataverse = client(
            lambda _: httpx2.Response(
                200, headers=[("x-ms-service-request-id", "aaaaaaaa-1"), ("x-ms-service-request-id", "aaaaaaaa-2")]
            )
        )
        reply = await dataverse.send(HttpRequest("GET", "WhoAmI"))
        await dataverse.close()
        return judge(reply.status, reply.headers, reply.body).request_id

    assert asyncio.run(run()) == "aaaaaaaa-2"


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    seen: list[httpx2.URL] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.url)
        return httpx2.Response(302, headers={"location": "https://elsewhere.example/"})

    send_once(handler)
    assert len(seen) == 1


def told_of(handler: Handler, **settings: float) -> str:
    """What is said of a request without an answer."""

    async def run() -> str:
        dataverse = client(handler, **settings)
        try:
            with pytest.raises(Unanswered) as told:
                await dataverse.send(HttpRequest("GET", "WhoAmI"))
            return str(told.value)
        finally:
            await dataverse.close()

    return asyncio.run(run())


def test_W5_an_answer_that_trickles_in_without_end_is_given_up() -> None:
    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.001)

    assert told_of(lambda _: httpx2.Response(200, content=trickle()), answer_within_s=0.2) == "TimeoutError"


@pytest.mark.parametrize("packed", [False, True])
def test_B3_an_answer_that_never_ends_is_not_kept(packed: bool) -> None:
    packer, sent = zlib.compressobj(wbits=31), 0

    async def pour() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 1_000:
            sent += 1
            yield packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_SYNC_FLUSH) if packed else bytes(100_000)

    headers = {"content-encoding": "gzip"} if packed else {}
    answer = httpx2.Response(200, content=pour(), headers=headers)
    assert told_of(lambda _: answer, max_answer_bytes=1_000_000) == "AnswerTooLarge"
    assert sent < 100
