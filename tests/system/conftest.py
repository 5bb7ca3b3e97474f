"""The market data that every cluster starts with, imported once; and a cluster for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.market.sample import install_sample
from holdfast.market.store import MarketStore
from tests.support.cluster import Cluster
from tests.system.running import ORPHAN_TIMEOUT


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market directory with the S&P 500 and the NASDAQ, daily, 1999-2018."""
    directory = tmp_path_factory.mktemp("market")
    install_sample(MarketStore(directory))
    return directory


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, market: Path) -> Iterator[Cluster]:
    environment = {"ORPHAN_TIMEOUT_SECONDS": str(ORPHAN_TIMEOUT)}
    root = tmp_path_factory.mktemp("cluster")
    with Cluster(root, trainers=2, market=market, environment=environment) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    """The shared cluster, whole again and with nothing running after every test."""
    shared.heal()
    yield shared
    shared.heal()
    for operation in shared.client.operations(statuses=["RUNNING", "PENDING", "RESUMING"]):
        operation.cancel()
        shared.await_status(operation, "CANCELLED", "COMPLETED", "FAILED")


@pytest.fixture
def patient(cluster: Cluster) -> Iterator[Cluster]:
    """With a coordinator that waits for a lost worker longer than any restart takes: FAILED sooner means proven."""
    quick = cluster.coordinator.environment
    for environment in ({**quick, "ORPHAN_TIMEOUT_SECONDS": "600"}, quick):
        cluster.coordinator.kill()
        cluster.coordinator.environment = environment
        cluster.restart_coordinator()
        if environment is not quick:
            yield cluster
