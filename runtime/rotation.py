"""Notices that a file of certificates or secrets has changed, and ends the service for a new start.

librdkafka reads a certificate, a key and a password when a client is made, and a service has many clients. So the
service ends in its usual stop order, with 70, and its supervisor starts it again with the new files: seconds, in which
nothing is lost. Rules:

- Files that are read each time that they are needed (the secret and the assertion behind a token) end nothing.
- A change counts when it was seen twice: Kubernetes and others replace several files one after the other.
- If the new files cannot be used, the service goes on with what it has, and says so once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from runtime.threads import in_daemon_thread

Content = Mapping[str, bytes | None]
"""Digests, by variable; None for a file that cannot be read."""


class RotationWatch:
    """`files`: variable to path. `unusable`: what is wrong with the files now. `on_change` is called once."""

    def __init__(
        self,
        files: Mapping[str, str],
        *,
        service: str,
        unusable: Callable[[], list[str]],
        on_change: Callable[[], None],
        every_s: float,
    ) -> None:
        self._files = files
        self._unusable = unusable
        self._on_change = on_change
        self._every_s = every_s
        self._log = structlog.get_logger(service)
        self._at_start = content_of(files)
        self._seen = self._at_start
        self._said: list[str] = []
        self.changed: tuple[str, ...] = ()
        """The variables of the files whose change ended the service."""

    async def run(self) -> None:
        """Until the change, or until cancelled."""
        while not self.changed:
            await asyncio.sleep(self._every_s)
            await in_daemon_thread(self.look, name="secrets")
            if self.changed:
                self._log.warning("secrets.rotated", files=list(self.changed), next="ends, to be started again")
                self._on_change()

    def look(self) -> None:
        before, self._seen = self._seen, content_of(self._files)
        changed = rotated(self._at_start, before, self._seen)
        if changed and (problems := self._unusable()):
            if problems != self._said:
                self._log.error("secrets.unusable", problems=problems)
            self._said = problems
            return
        self.changed = changed


def rotated(at_start: Content, before: Content, now: Content) -> tuple[str, ...]:
    """The variables whose files have changed since the start, once that was seen twice. `before`: the look before."""
    return tuple(sorted(name for name in now if now[name] != at_start[name])) if now == before else ()


def content_of(files: Mapping[str, str]) -> Content:
    return {variable: _digest(path) for variable, path in files.items()}


def _digest(path: str) -> bytes | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError:
        return None
