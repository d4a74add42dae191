"""The writer inside a test, on an event loop of a thread of its own, stopped when the block ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest import mock

from ops.demo.waiting import HANGS_AFTER_S
from runtime.logs import configure_logs
from tests.support.logs import logging_as_it_was
from writer.service import Service
from writer.settings import read_settings
from writer.wiring import running


class RunningWriter:
    def __init__(self) -> None:
        self.service: Service | None = None
        self.failure: BaseException | None = None
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, environ: Mapping[str, str]) -> None:
        self._thread = threading.Thread(target=self._live, args=(environ,), name="writer")
        self._thread.start()
        assert self._ready.wait(HANGS_AFTER_S)
        if self.failure:
            raise self.failure

    def _live(self, environ: Mapping[str, str]) -> None:
        async def serve() -> None:
            with mock.patch.dict("os.environ", environ):
                settings = read_settings()
            async with running(settings) as service:
                self.service = service
                self._ready.set()
                await service.run()

        try:
            self.loop.run_until_complete(serve())
        except BaseException as error:  # noqa: BLE001  handed to the test
            self.failure = error
        finally:
            self._ready.set()
            self.loop.close()

    def stop(self) -> None:
        if self.service and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.service.stop)
        if self._thread:
            self._thread.join(HANGS_AFTER_S)
            assert not self._thread.is_alive(), "the writer did not stop"

    def metric(self, name: str, **labels: str) -> float:
        assert self.service is not None
        return self.service.parts.metrics.registry.get_sample_value(name, labels) or 0.0


@contextmanager
def running_writer(environ: Mapping[str, str]) -> Iterator[RunningWriter]:
    writer = RunningWriter()
    with logging_as_it_was():
        configure_logs(service="writer", form="json")
        writer.start(environ)
        try:
            yield writer
        finally:
            writer.stop()
    if writer.failure:
        raise writer.failure
