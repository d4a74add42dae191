"""`python -m tests.proof.hunt START SEEDS`: the first seed that finds anything, and what; exits with 1."""

from __future__ import annotations

import sys

from tests.proof.world import Simulation, collect_seldom


def main() -> int:
    collect_seldom()
    start, seeds = int(sys.argv[1]), int(sys.argv[2])
    for seed in range(start, start + seeds):
        if findings := Simulation(seed).run():
            print(seed, findings[0])
            return 1
    print(f"nothing in {seeds} seeds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
