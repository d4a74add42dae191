"""The simulator stops on SIGTERM and Ctrl-C, also where the event loop knows no signals, as on Windows."""

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from simulator.cli.signals import on_signals


class LoopWithoutSignals(asyncio.SelectorEventLoop):
    def add_signal_handler(self, *_: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("loop_type", [asyncio.SelectorEventLoop, LoopWithoutSignals])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops(handlers: Any, loop_type: Any, number: Any) -> None:
    async def serve() -> bool:
        stop = asyncio.Event()
        on_signals(asyncio.get_running_loop(), stop.set)
        signal.raise_signal(number)
        await asyncio.wait_for(stop.wait(), 60)
        return True

    with asyncio.Runner(loop_factory=loop_type) as runner:
        assert runner.run(serve())


def test_a_signal_after_the_end_is_harmless(handlers: Any) -> None:
    loop = LoopWithoutSignals()
    on_signals(loop, lambda: None)
    loop.close()
    signal.raise_signal(signal.SIGTERM)
