"""What performs the effects of the writer's engine in a test: one method for each. No broker, no socket, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from writer.core import messages
from writer.core.messages import Effect
from writer.core.reports import Count, Log, Observe, Show

EFFECTS: Mapping[type[Any], str] = {
    messages.Decode: "on_decode",
    messages.ReadResults: "on_read_results",
    messages.ForgetResults: "on_forget_results",
    messages.Verify: "on_verify",
    messages.Send: "on_send",
    messages.Publish: "on_publish",
    messages.Pause: "on_pause",
    messages.Released: "on_released",
    messages.Ended: "on_ended",
    messages.Fail: "on_fail",
    messages.Stopped: "on_stopped",
    messages.WakeAt: "on_wake_at",
    Log: "on_report",
    Count: "on_report",
    Observe: "on_report",
    Show: "on_report",
}


class EngineShell:
    """Its subclass has a method of each of these names; one that is missing is an error at once."""

    def __init__(self) -> None:
        self._handlers: dict[type[Any], Callable[[Any], None]] = {
            effect: getattr(self, name) for effect, name in EFFECTS.items()
        }

    def perform(self, effect: Effect) -> None:
        self._handlers[type(effect)](effect)

    def perform_all(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            self.perform(effect)
