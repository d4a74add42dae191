"""What to install where a part of the product is started without its libraries. Imports the standard library alone."""

from __future__ import annotations

import sys

from runtime.exit_codes import Exit

_OURS = frozenset({"schemas", "runtime", "planner", "writer", "ops", "simulator"})


def say_what_to_install(missing: ModuleNotFoundError, *, part: str, extra: str) -> int:
    """One line on stderr, and the exit code for it. Raises the error again if a module of ours is missing."""
    library = (missing.name or "").partition(".")[0]
    if not library or library in _OURS:
        raise missing
    sys.stderr.write(
        f"The library {missing.name} is not installed: this installation is without {part}. Use the image `{extra}`,"
        f" or in a checkout: pip install --no-deps --require-hashes -r requirements/{extra}.txt\n"
    )
    return Exit.MISCONFIGURED
