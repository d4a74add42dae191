"""Where a real server for the broker tier comes from. A pure choice from facts about this machine."""

import enum
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from ops.demo.waiting import HANGS_AFTER_S

OLDEST_JAVA = 17


class Source(enum.StrEnum):
    GIVEN = "given"  # runs already, at an address from the environment
    DOCKER = "docker"
    MAVEN = "maven"


@dataclass(frozen=True)
class Absent:
    """No server: the tier is skipped with `reason`, or fails with it."""

    reason: str
    fails: bool


@dataclass(frozen=True)
class Facts:
    variable: str
    """name of the environment variable that may give an address"""
    given: str | None
    docker: bool
    """an engine answers, not just a command line that is there"""
    java: int | None
    """major version"""
    mvn: bool
    ci: bool


def choose(server: str, facts: Facts) -> Source | Absent:
    """The first of: the given address, Docker, Maven. `server` is its name in the reason if there is none."""
    if facts.given:
        return Source.GIVEN
    if facts.docker:
        return Source.DOCKER
    maven_lacks = []
    if facts.java is None or facts.java < OLDEST_JAVA:
        seen = "none" if facts.java is None else str(facts.java)
        maven_lacks.append(f"Java {OLDEST_JAVA} or later is needed and {seen} is here")
    if not facts.mvn:
        maven_lacks.append("mvn is not on PATH")
    if not maven_lacks:
        return Source.MAVEN
    lacks = [f"{facts.variable} is not set", "no Docker engine answers", *maven_lacks]
    return Absent(f"no {server} for the broker tier: {'; '.join(lacks)}", fails=facts.ci)


def gather(variable: str, environment: Mapping[str, str] = os.environ) -> Facts:
    """Looks at this machine; asks Docker and Java only if no address is given."""
    given = environment.get(variable) or None
    return Facts(
        variable=variable,
        given=given,
        docker=given is None and _docker_answers(),
        java=None if given else _java_major(),
        mvn=shutil.which("mvn") is not None,
        ci=runs_under_ci(environment),
    )


def runs_under_ci(environment: Mapping[str, str] = os.environ) -> bool:
    """What a tier needs and this machine lacks skips it on a laptop, and fails it there."""
    return environment.get("CI", "").lower() in {"1", "true", "yes"}


def java_major(version_text: str) -> int | None:
    """17 from `openjdk version "17.0.15" ...`, 8 from `java version "1.8.0_402"`."""
    found = re.search(r'version "(?:1\.)?(\d+)', version_text)
    return int(found[1]) if found else None


def _java_major() -> int | None:
    try:
        run = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=HANGS_AFTER_S, check=False)
    except OSError:
        return None
    return java_major(run.stderr)


def _docker_answers() -> bool:
    if not shutil.which("docker"):
        return False
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    try:
        return subprocess.run(command, capture_output=True, timeout=HANGS_AFTER_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
