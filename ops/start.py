"""The console command `writeback`: says which libraries are missing where the extra `ops` was left out."""

import sys

MISCONFIGURED = 78


def main() -> None:
    try:
        from ops.cli import main as run
    except ModuleNotFoundError as missing:
        sys.stderr.write(
            f"The library {missing.name} is not installed; in a checkout:"
            " pip install --no-deps --require-hashes -r requirements/ops.txt\n"
        )
        sys.exit(MISCONFIGURED)
    run()


if __name__ == "__main__":
    main()
