"""A coverage-guided fuzzer over everything that reads bytes from outside (`make fuzz`).

    python -m tests.fuzz                              every target, ten seconds each
    python -m tests.fuzz --seconds 600 outcome plan   these two, ten minutes each
    python -m tests.fuzz --replay FILE outcome        one input again, with its traceback

It starts from the inputs in tests/fuzz/corpus/ and from examples. `--keep` names a folder for inputs that reach new
code.
An input that crashes, takes longer than a minute or needs more than 1 GiB is written to bench/out/fuzz/, and the exit
code is 1. Needs `atheris`, which has binaries for Linux on x86; the extra `test` installs it there.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

if "--one" in sys.argv:  # the fuzzer follows the modules that it loads itself
    import atheris

    with atheris.instrument_imports(include=["schemas", "runtime", "planner", "writer"]):
        from tests.fuzz.targets import TARGETS
else:
    from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
FOUND = Path(__file__).parents[2] / "bench" / "out" / "fuzz"
HANGS_AFTER_S = 60
MOST_MIB = 1024
LONGEST = 16 * 1024
_STATISTICS = re.compile(r"stat::(\w+):\s+(\d+)")


def main() -> int:
    asked = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    asked.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all if none is named")
    asked.add_argument("--seconds", type=int, default=10, help="for each target (10)")
    asked.add_argument("--seed", type=int, default=0, help="of the fuzzer's dice; 0 takes a new one each time")
    asked.add_argument("--keep", type=Path, default=None, help="folder for inputs that reach new code")
    asked.add_argument("--found", type=Path, default=FOUND, help="folder for findings (bench/out/fuzz)")
    asked.add_argument("--replay", type=Path, default=None, help="one input, for the one target that is named")
    asked.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = asked.parse_args()
    if unknown := [name for name in given.targets if name not in TARGETS]:
        asked.error(f"no target is called {unknown[0]}; there are {', '.join(TARGETS)}")
    wanted = given.targets or list(TARGETS)
    if given.replay is not None:
        TARGETS[wanted[0]].reads(given.replay.read_bytes())
        return 0
    if given.one:
        _fuzz(wanted[0], given)
    failed = [name for name in wanted if _in_a_process(name, given) != 0]
    for name in failed:
        sys.stdout.write(f"{name}: a finding, in {given.found / name}; run it again with --replay FILE {name}\n")
    return 1 if failed else 0


def _in_a_process(name: str, given: argparse.Namespace) -> int:
    """A target may end its process, so each has one of its own."""
    options = ["--seconds", str(given.seconds), "--seed", str(given.seed), "--found", str(given.found)]
    keep = ["--keep", str(given.keep)] if given.keep else []
    command = [sys.executable, "-m", "tests.fuzz", "--one", *options, *keep, name]
    ended = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True, errors="replace")
    numbers = dict(_STATISTICS.findall(ended.stderr))
    tried, kept, mib = (
        int(numbers.get(key, 0)) for key in ("number_of_executed_units", "new_units_added", "peak_rss_mb")
    )
    sys.stdout.write(f"{name}: {tried:,} inputs, {kept:,} of them reached new code, {mib:,} MiB at most\n")
    if ended.returncode:
        sys.stdout.write(ended.stderr[-6000:] + "\n")
    sys.stdout.flush()
    return ended.returncode


def _fuzz(name: str, given: argparse.Namespace) -> None:
    """Never returns: the fuzzer ends the process."""
    target, found = TARGETS[name], given.found / name
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        new = Path(scratch, "new") if given.keep is None else given.keep / name
        examples, known = Path(scratch, "examples"), CORPUS / name
        for folder in (new, examples):
            folder.mkdir(parents=True, exist_ok=True)
        for number, example in enumerate(target.seeds()):
            examples.joinpath(str(number)).write_bytes(example)
        folders = [str(folder) for folder in (new, examples, known) if folder.is_dir()]
        atheris.Setup(
            [
                name, *folders, f"-max_total_time={given.seconds}", f"-timeout={HANGS_AFTER_S}", f"-seed={given.seed}",
                f"-rss_limit_mb={MOST_MIB}", f"-max_len={LONGEST}", f"-artifact_prefix={found}/", "-verbosity=0",
                "-print_final_stats=1",
            ],
            target.reads,
        )  # fmt: skip
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
