"""Takes out of a root file system what a running service does not need and an intruder would like: pip, the system's
package manager, and the right of programs to run as root. Debian's list of packages stays, because scanners read it.

    python -I strip.py /
"""

import shutil
import stat
import sys
from pathlib import Path

GONE = (
    "etc/apt",
    "usr/bin/apt*",
    "usr/bin/dpkg*",
    "usr/lib/apt",
    "usr/lib/dpkg",
    "usr/local/bin/pip*",
    "usr/local/lib/python3*/ensurepip",
    "usr/local/lib/python3*/site-packages/pip",
    "usr/local/lib/python3*/site-packages/pip-*",
    "usr/sbin/dpkg-*",
    "usr/share/dpkg",
    "var/cache/apt",
    "var/lib/apt",
)
UNWANTED = ("apt", "apt-get", "dpkg", "pip", "pip3", "cc", "gcc", "g++", "ld", "make", "uv", "apk")
AS_OWNER = stat.S_ISUID | stat.S_ISGID


def strip(root: Path) -> None:
    """Raises SystemExit if something is still there, under a name that a program would be called by."""
    for pattern in GONE:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    folders = [root / each for each in ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin")]
    for program in (each for folder in folders if folder.is_dir() for each in folder.iterdir()):
        if not program.is_symlink() and program.stat().st_mode & AS_OWNER:
            program.chmod(stat.S_IMODE(program.stat().st_mode) & ~AS_OWNER)
    left = [str(folder / name) for folder in folders for name in UNWANTED if (folder / name).exists()]
    if left:
        sys.exit(f"still in the image: {', '.join(left)}; name them in {Path(__file__).name}")


if __name__ == "__main__":
    strip(Path(sys.argv[1]))
