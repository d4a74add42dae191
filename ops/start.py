"""The console command `writeback`: says what to install where the extra `ops` was left out."""

from __future__ import annotations

import re
import sys
from importlib.metadata import distribution, requires

from runtime.installed import say_what_to_install


def main() -> None:
    try:
        _look_for_libraries()
        from ops.cli import main as run  # not before: what it needs may not be installed
    except ModuleNotFoundError as missing:
        sys.exit(say_what_to_install(missing, part="the operators' commands", extra="ops"))
    run()


def _look_for_libraries() -> None:
    """Raises ModuleNotFoundError for the first that is missing of what pyproject.toml asks for. A command imports some
    only when it uses them, which is too late to say so.
    """
    for line in requires("dataverse-writeback") or ():
        if asked := re.fullmatch(r"([\w.-]+)[^;]*; extra == ['\"]ops['\"]", line):
            distribution(asked[1])


if __name__ == "__main__":
    main()
