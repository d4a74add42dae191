"""Processes that cannot outlive the one that started them, not even if that one is killed."""

import os
import sys
from collections.abc import Sequence

# A launcher, not a preexec_fn: Python 3.12 warns of forking a process with threads, and librdkafka has many.
# PR_SET_PDEATHSIG is 1 and survives exec. A parent that died before the call is noticed by the changed parent id.
_LAUNCH = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def tied(command: Sequence[str]) -> list[str]:
    """`command`, killed by the kernel when the thread that starts it ends (Linux; elsewhere it just runs).

    Same pid as the launcher's. Start it from the main thread: the end of the starting thread counts as the death.
    """
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *command]
