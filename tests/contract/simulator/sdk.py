"""Microsoft's SDK, sync and async, opened on a simulator; the async client is driven through the sync one's calls."""

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import pytest
from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from PowerPlatform.Dataverse.aio.async_client import AsyncDataverseClient
from PowerPlatform.Dataverse.client import DataverseClient

from simulator.testing import RunningSimulator


class Credential:
    """A credential that always has a token. Named by the SDK's duck typing, not by inheritance."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken("any", 4_000_000_000)


class AsyncCredential(AsyncTokenCredential):
    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        return AccessToken("any", 4_000_000_000)

    async def close(self) -> None:
        return

    async def __aexit__(self, *error: Any) -> None:
        return


class Waiting:
    """An object of the async client whose methods are called as if they were sync: awaitables are run to their end."""

    def __init__(self, inner: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._inner, self._loop = inner, loop

    def __getattr__(self, name: str) -> Any:
        return wait(getattr(self._inner, name), self._loop)

    def __enter__(self) -> Any:
        return wait(self._loop.run_until_complete(self._inner.__aenter__()), self._loop)

    def __exit__(self, *error: Any) -> None:
        self._loop.run_until_complete(self._inner.__aexit__(*error))


def wait(found: Any, loop: asyncio.AbstractEventLoop) -> Any:
    if inspect.isawaitable(found):
        return wait(loop.run_until_complete(found), loop)
    if inspect.isasyncgen(found):
        return list(loop.run_until_complete(_all(found)))
    if inspect.ismethod(found) or inspect.isfunction(found):
        return lambda *args, **kwargs: wait(found(*(_plain(a) for a in args), **kwargs), loop)
    if type(found).__module__.startswith("PowerPlatform.Dataverse.") and not _is_value(found):
        return Waiting(found, loop)
    return found


def _plain(argument: Any) -> Any:
    return argument._inner if isinstance(argument, Waiting) else argument


def _is_value(found: Any) -> bool:
    return type(found).__name__ in {
        "Record",
        "QueryResult",
        "TableInfo",
        "ColumnInfo",
        "RelationshipInfo",
        "AlternateKeyInfo",
        "BatchResult",
        "BatchItemResponse",
    }


async def _all(generator: Any) -> list[Any]:
    return [item async for item in generator]


@contextmanager
def opened(kind: str, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The client of this kind (sync or async) for the length of the block."""
    # requests asks the environment each time; aiohttp asked it (SSL_CERT_FILE) when it was imported.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(simulator.ca_file))
    aiohttp.connector._SSL_CONTEXT_VERIFIED.load_verify_locations(simulator.ca_file)
    if kind == "sync":
        with DataverseClient(str(simulator.authority), Credential()) as client:
            yield client
        return
    loop = asyncio.new_event_loop()
    waited_for = AsyncDataverseClient(str(simulator.authority), AsyncCredential())
    with Waiting(waited_for, loop) as entered:
        yield entered
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
