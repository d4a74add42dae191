"""The console command `writeback`: says what to install where the extra `ops` was left out."""

from __future__ import annotations

import sys

from runtime.exit_codes import Exit


def main() -> None:
    try:
        from ops.cli import main as run  # not before: what it needs may not be installed
    except ModuleNotFoundError as missing:
        sys.stderr.write(
            f"The library {missing.name} is not installed: this installation is without the operators' commands."
            " Use the image `ops`, or in a checkout:"
            " pip install --no-deps --require-hashes -r requirements/ops.txt\n"
        )
        sys.exit(Exit.MISCONFIGURED)
    run()


if __name__ == "__main__":
    main()
