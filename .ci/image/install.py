"""Installs those of our packages that are in the working folder into an image's environment, and checks that the
environment holds all that they need. The wheel is built with the Python that runs this.

    python -I install.py /opt/writeback
"""

import subprocess
import sys
import tempfile
from pathlib import Path

PYTHON = (sys.executable, "-I", "-m")


def install(environment: Path) -> None:
    """Raises CalledProcessError."""
    pip = (*PYTHON, "pip", "--python", str(environment))
    with tempfile.TemporaryDirectory() as wheels:
        run(*PYTHON, "hatchling", "build", "--target", "wheel", "--directory", wheels)
        run(*pip, "install", "--no-deps", "--no-index", "--find-links", wheels, "dataverse-writeback")
    run(*pip, "check")
    if not Path("ops").exists():
        (environment / "bin/writeback").unlink()  # the wheel brings it, but it cannot start


def run(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603  our own steps, no shell


if __name__ == "__main__":
    install(Path(sys.argv[1]))
