"""The small disk of tests: a write to it fails as on a full disk, nobody else sees it, and it leaves nothing behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

from tests.support.small_disk import SmallDisk, small_disk

WRITES = "import sys; open(sys.argv[1], 'ab').write(bytes(100_000))"


def write_inside(disk: SmallDisk) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WRITES, str(disk.folder / "file")]
    return subprocess.run(disk.inside(command), capture_output=True, text=True, check=False)


def test_a_write_to_a_small_disk_fails_while_it_is_full_and_works_again_when_space_is_freed(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        assert write_inside(disk).returncode == 0
        disk.fill()
        assert f"OSError: [Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}" in write_inside(disk).stderr
        disk.free()
        assert write_inside(disk).returncode == 0
        assert list(disk.folder.iterdir()) == [], "outside, its folder stays empty"
        assert str(disk.folder) not in Path("/proc/self/mounts").read_text()
