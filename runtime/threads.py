"""Blocking calls beside the event loop, which end when they must."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, cast

T = TypeVar("T")


def in_daemon_thread(call: Callable[[], T], *, name: str) -> asyncio.Future[T]:
    """The process would wait at its end for a thread of the event loop's pool, so a broker or a token service that does
    not answer would delay the stop."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def end(found: T | None, failure: BaseException | None) -> None:
        if done.done():
            return
        if failure is None:
            done.set_result(cast("T", found))
        else:
            done.set_exception(failure)
            done.exception()  # nobody may be waiting any more

    def run() -> None:
        found, failure = None, None
        try:
            found = call()
        except BaseException as error:  # noqa: BLE001  it is raised where the answer is waited for
            failure = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(end, found, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done


async def in_thread_until_done(call: Callable[[], T], *, give_up: Callable[[], None]) -> T:
    """If this is cancelled, `give_up` is called, and the call has ended when this ends."""
    running = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        give_up()
        await asyncio.wait([running])
        running.exception()  # retrieved, or asyncio would log it as never retrieved
        raise
