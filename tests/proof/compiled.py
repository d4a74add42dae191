"""The simulation compiled by mypyc, for the release counts: the same decisions in a fraction of the processor time.

`folder()` gives a folder that holds the compiled modules and the rest of what a run needs; a worker runs there (see
`runs.py`). It is made once for each state of the sources, and a build that does not succeed raises `NotBuilt`, in one
line. `difference()` runs the same seeds and pairs compiled and interpreted: only what tells the same stories is used.

A module is compiled if a run loads it. Its source is changed where mypyc needs that: `EDITS`, `_with_object`, and the
constructors of `native_classes.py`; `native_replace.py` saves time.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.proof.native_classes import classes_of, with_native_constructors
from tests.proof.paths import COMPILED, MAPPING, ROOT
from tests.proof.runs import STORIES, Workers

INTERPRETED = ("planner/mapping.py", "planner/core/redaction/", "tests/proof/runs.py")
"""pydantic fills the classes of the first as it runs; mypyc takes no literal with half a surrogate pair, which the
second has; the third is what a worker is started with.
"""
_REPLACE = "tests/proof/native_replace.py"
"""What no run loads as it is."""
_LIST = "compiled.json"
_LOADED = """
import json, sys
from tests.proof import runs
runs.seed(0), runs.pair(0, 0)
ours = {"schemas", "runtime", "planner", "writer", "tests"}
files = [getattr(one, "__file__", None) for name, one in sys.modules.items() if name.partition(".")[0] in ours]
print(json.dumps([file for file in files if file]))
"""
_CONFIG = "[mypy]\nstrict = True\nexplicit_package_bases = True\nignore_missing_imports = True\n"
"""The project's own has the plugin of pydantic, which mypyc has no use for."""


class NotBuilt(Exception):
    """Why there is no compiled simulation, in one line. The interpreted one does the same, more slowly."""


@dataclass(frozen=True, slots=True)
class Edit:
    path: str
    old: str
    new: str


EDITS: Sequence[Edit] = (
    # mypy takes it for None from here on, and mypyc relies on that; `faulty` has set it by the time that it is read.
    Edit(
        "tests/proof/world.py",
        "        self.crm.asked_silence_s = None\n",
        '        setattr(self.crm, "asked_silence_s", None)\n',
    ),
)


def prepared(sources: Mapping[str, str]) -> dict[str, str]:
    """The sources as mypyc gets them, by their paths. Raises NotBuilt if one is not what an edit expects."""
    classes = {name: node for source in sources.values() for name, node in classes_of(source).items()}
    changed = {
        path: with_native_constructors(_with_replace(_with_object(source)), classes) for path, source in sources.items()
    }
    for edit in EDITS:
        if changed.get(edit.path, "").count(edit.old) != 1:
            raise NotBuilt(f"{edit.path} does not have this line once any more, which mypyc needs changed: {edit.old}")
        changed[edit.path] = changed[edit.path].replace(edit.old, edit.new)
    return changed


def _with_object(source: str) -> str:
    """mypyc looks for the type of a dataclass's field among the names of the module, and `object` is a builtin."""
    if not re.search(r"^    \w+: object\b", source, re.MULTILINE):
        return source
    first = "from __future__ import annotations\n"
    return source.replace(first, f"{first}from builtins import object\n", 1)


def _with_replace(source: str) -> str:
    found = re.search(r"^from dataclasses import (.*\breplace\b.*)$", source, re.MULTILINE)
    if found is None:
        return source
    others = ", ".join(name for name in found[1].split(", ") if name != "replace")
    lines = f"from dataclasses import {others}\n" if others else ""
    return source.replace(found[0], f"{lines}from tests.proof.native_replace import replace", 1)


def loaded(root: Path = ROOT) -> list[str]:
    """The modules that a run loads, by their paths."""
    files = json.loads(_output(root, "-c", _LOADED))
    return sorted(str(Path(file).resolve().relative_to(root.resolve())) for file in files)


def sources() -> tuple[dict[str, str], dict[str, str]]:
    """Those that are compiled, and what a run needs beside them, as it is."""
    every = {name: (ROOT / name).read_text() for name in [*loaded(), _REPLACE, str(MAPPING.relative_to(ROOT))]}
    as_it_is = {
        name: text
        for name, text in every.items()
        if name.endswith(("__init__.py", ".json")) or name.startswith(INTERPRETED)
    }
    return {name: text for name, text in every.items() if name not in as_it_is}, as_it_is


def folder() -> Path:
    """Where it is; it is built if need be. Raises NotBuilt."""
    given, beside = sources()
    given = prepared(given)
    there = COMPILED / _key(given)
    COMPILED.mkdir(parents=True, exist_ok=True)
    with FileLock(COMPILED / "lock"):
        if not there.exists():
            for old in COMPILED.iterdir():
                if old.is_dir():
                    shutil.rmtree(old)
            unready = there.with_suffix(".new")
            write(unready, given | beside)
            (unready / _LIST).write_text(json.dumps(sorted(given)))
            compile_in(unready)
            _check(unready, given)
            unready.rename(there)
        write(there, beside)
    return there


def _key(files: Mapping[str, str]) -> str:
    tools = [sys.version, version("mypy"), sysconfig.get_platform()]
    return sha256(json.dumps([sorted(files.items()), tools]).encode()).hexdigest()[:16]


def write(there: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_text(text)


def compile_in(there: Path) -> None:
    """What the folder's list names. Raises NotBuilt."""
    ours = f"import sys; sys.path.append({str(ROOT)!r})"
    _output(there, "-c", f"{ours}; from tests.proof.compiled import compile_here; compile_here()")


def _check(there: Path, given: Iterable[str]) -> None:
    """It runs, and nothing of it is interpreted that should not be."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    missing = {name.removesuffix(".py") + suffix for name in given} - set(loaded(there))
    if missing:
        raise NotBuilt(f"these are not loaded compiled: {', '.join(sorted(missing))}")


def _output(at: Path, *command: str) -> str:
    ended = subprocess.run(
        [sys.executable, *command], cwd=at, env={**os.environ, "PYTHONPATH": str(at)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ended.returncode:
        lines = [line for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
        why = next((line for line in lines if "error:" in line), lines[-1] if lines else f"exit {ended.returncode}")
        raise NotBuilt(why[:300])
    return ended.stdout


# Whether it is the same.

SEEDS, PAIRS = 500, 200


def difference(compiled: Workers, interpreted: Workers) -> str | None:
    """The first run that tells another story compiled; None if all of them tell the same."""
    for name, runs in (("stories-of-seeds", SEEDS), ("stories-of-pairs", PAIRS)):
        numbers = range(runs // STORIES)
        for one, other in zip(compiled.map(name, numbers), interpreted.map(name, numbers), strict=True):
            if where := differs(one["stories"], other["stories"]):
                return where
    return None


def differs(stories: Mapping[str, str], others: Mapping[str, str]) -> str | None:
    return next((where for where in {**stories, **others} if stories.get(where) != others.get(where)), None)


# What is run in the new folder.


def compile_here() -> None:
    from mypyc.build import mypycify

    Path("mypy.ini").write_text(_CONFIG)
    names = json.loads(Path(_LIST).read_text())
    extensions = mypycify(["--config-file=mypy.ini", *names], opt_level="2", multi_file=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for extension in extensions:
            objects = list(pool.map(lambda source, of=extension: _object(source, of), extension.sources))
            target = extension.name.replace(".", "/") + sysconfig.get_config_var("EXT_SUFFIX")
            subprocess.run([*_words("LDSHARED"), *objects, "-o", target], check=True)
    shutil.rmtree("build")
    shutil.rmtree(".mypy_cache", ignore_errors=True)


def _object(source: str, extension: Any) -> str:
    target = f"build/{extension.name}.{source.replace('/', '.')}.o"
    places = [sysconfig.get_path("include"), *extension.include_dirs]
    flags = ["-DNDEBUG", "-fwrapv", *_words("CCSHARED"), *extension.extra_compile_args, "-w", "-g0"]
    subprocess.run([*_words("CC"), *flags, *(f"-I{place}" for place in places), "-c", source, "-o", target], check=True)
    return target


def _words(name: str) -> list[str]:
    return shlex.split(sysconfig.get_config_var(name) or "")
