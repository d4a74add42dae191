"""A file system of a few megabytes that a test fills for real: a write to it fails with ENOSPC at the system call.

It is a tmpfs in a mount namespace of its own, so that no other process of the machine sees it. It is gone when the last
process in it has ended, however that ends. Root needs CAP_SYS_ADMIN for it, and anybody else a kernel that gives users
namespaces; most CI containers have neither, and there `small_disk` says why.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.demo.lifetime import tied

_ROOT = Path(__file__).parents[2]
_MOUNT = 'mount -t tmpfs -o "size=$1,mode=700" small-disk "$2" && echo mounted && exec cat'
_WAYS: Sequence[Sequence[str]] = ((), ("--user", "--map-root-user"))
"""Namespaces besides that of mounts: none as root, else one in which we may mount."""


class SmallDisk:
    """`folder` is where it is mounted, for processes that are started with `inside`."""

    def __init__(self, holder: subprocess.Popen[str], way: Sequence[str], folder: Path) -> None:
        self.folder = folder
        self._holder, self._way = holder, way
        self._there = Path(f"/proc/{holder.pid}/root{folder}")
        self._ballast = self._there / "ballast"

    def inside(self, command: Sequence[str]) -> list[str]:
        """`command`, run where it sees the disk, in the project's folder."""
        user = ("--user", "--preserve-credentials") if self._way else ()
        enter = ["nsenter", "--target", str(self._holder.pid), "--mount", *user, "--"]
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(_ROOT), *command]

    def fill(self) -> None:
        """Until there is no block left, whatever others write or delete meanwhile."""
        with self._ballast.open("ab") as ballast:
            while left := self._left():
                try:
                    os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), left)
                except OSError:  # somebody else has taken some of it
                    continue

    def free(self) -> None:
        """As an operator does: what is in the way is deleted."""
        self._ballast.unlink()

    def _left(self) -> int:
        found = os.statvfs(self._there)
        return found.f_bavail * found.f_frsize


@contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[SmallDisk]:
    """An empty disk at `folder`. Skips the test where nothing can be mounted."""
    folder.mkdir(parents=True)
    refusals: list[str] = []
    for way in _WAYS:
        mount = ["sh", "-c", _MOUNT, "sh", f"{megabytes}m", str(folder)]
        holder = subprocess.Popen(
            tied(["unshare", "--mount", *way, *mount]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert holder.stdout is not None
        if holder.stdout.readline() == "mounted\n":
            try:
                yield SmallDisk(holder, way, folder)
            finally:
                holder.communicate()  # it ends with its input
            return
        refusals.append(holder.communicate()[1].strip())
    pytest.skip(f"no file system of a test's own can be mounted here: {'; '.join(refusals)}")
