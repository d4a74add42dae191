"""What planner and writer export, from their own metrics: names, types, labels and label values."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Set
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

import planner.metrics
import writer.metrics

TARGET = frozenset({"namespace", "service", "job", "instance"})
"""Labels that Prometheus adds to what it scrapes."""


@dataclass(frozen=True)
class Exported:
    """`kind`: counter, gauge, info, or histogram for the three series of one. `labels`: to the values seen."""

    kind: str
    family: str
    labels: Mapping[str, Set[str]]


def families() -> list[Metric]:
    """Of both services, with every label that they set once they run."""
    registry = CollectorRegistry()
    of_planner = planner.metrics.Metrics(registry)
    of_planner.build.info({"version": "0", "mapping": "0", "mode": "redaction on, transcript off"})
    of_writer = writer.metrics.Metrics(version="0", mode="write")
    of_writer.expect("client_secret-0")
    for gauge in (of_writer.credential_expiry, of_writer.token_expiry):
        gauge.labels("client_secret-0").set(0)
    for operation in writer.metrics.OPERATIONS:
        of_writer.request_seconds.labels(operation).observe(1)
    return [*registry.collect(), *of_writer.registry.collect()]


@functools.cache
def exported() -> Mapping[str, Exported]:
    """By the name of the series. `_created` is left out: it is the client library's."""
    found: dict[str, Exported] = {}
    for family in families():
        for sample in family.samples:
            if sample.name.endswith("_created"):
                continue
            before = found.get(sample.name, Exported(family.type, family.name, {})).labels
            both = {name: before.get(name, set()) | {value} for name, value in sample.labels.items()}
            found[sample.name] = Exported(family.type, family.name, {**before, **both})
    return found
