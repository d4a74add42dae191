"""`python -m writer`: see `command`. Signals come first."""

from __future__ import annotations

import sys

from runtime.first_moments import end_on_signals
from runtime.installed import say_what_to_install


def _main() -> int:
    if "check" not in sys.argv[1:]:  # whose exit code is a verdict
        end_on_signals()
    try:
        from writer.command import main  # not before: its imports take a second
    except ModuleNotFoundError as missing:
        return say_what_to_install(missing, part="the writer", extra="writer")
    return main()


if __name__ == "__main__":
    sys.exit(_main())
