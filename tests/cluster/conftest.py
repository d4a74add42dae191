"""The cluster tier: `make test-cluster`. It builds a Kubernetes first, in half an hour; `make test` leaves it out."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster, running
from tests.cluster.tools import custom_resources

collect_ignore_glob = [] if os.environ.get("WRITEBACK_TEST_CLUSTER") else ["test_*.py"]


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """An API server alone: it admits and keeps objects, and nothing acts on them."""
    with running(tmp_path_factory.mktemp("api-server"), controllers=False) as cluster:
        cluster.define(custom_resources())
        yield cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With controllers, a scheduler and kwok: pods are made, placed on made-up nodes and soon said to run."""
    with running(tmp_path_factory.mktemp("cluster"), controllers=True) as cluster:
        cluster.define(custom_resources())
        yield cluster
