"""Entry point of the `writeback` script: an installation without the extra `ops` says so, and how to get it."""

from __future__ import annotations

import sys
from typing import NoReturn

from runtime.exit_codes import Exit


def main() -> NoReturn:
    try:
        from ops.cli import main as run  # not before: what it needs may not be installed
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"writeback: {error.name} is not installed, since this installation is without the operators' commands; "
            "install the extra `ops`: pip install 'dataverse-writeback[ops]', or use the image `ops`\n"
        )
        sys.exit(Exit.MISCONFIGURED)
    run()


if __name__ == "__main__":
    main()
