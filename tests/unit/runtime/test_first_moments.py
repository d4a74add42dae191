"""B2: before the service has begun anything, a signal ends the process at once, and well."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from runtime.first_moments import end_on_signals


class Ended(BaseException):
    """What `os._exit` does here: it gives the code away and goes no further."""


@pytest.fixture
def signals_as_they_were(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Stream:
    """`refusal` is raised by what is in the middle of a line, or closed."""

    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal = refusal
        self.flushed = False

    def flush(self) -> None:
        self.flushed = True
        if self.refusal:
            raise self.refusal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("refusal", [None, RuntimeError("reentrant call"), BrokenPipeError(), ValueError("closed")])
def test_B2_a_signal_ends_the_process_with_0_and_nothing_that_was_printed_is_lost(
    monkeypatch: pytest.MonkeyPatch, signals_as_they_were: None, number: int, refusal: Exception | None
) -> None:
    out, err = Stream(refusal), Stream()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    end_on_signals()
    with pytest.raises(Ended) as ended:
        signal.raise_signal(number)
    assert ended.value.args == (0,)
    assert (out.flushed, err.flushed) == (True, True)
