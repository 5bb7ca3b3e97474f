"""A short form of `make exact`: two kills each, on real processes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from holdfast.market import MarketStore
from holdfast.market.sample import install_sample
from tests.exact.campaign import Exactness
from tests.support.cluster import Cluster
from tests.support.workloads import write_synthetic_bars


@pytest.mark.timeout(240)
def test_killed_and_resumed_runs_equal_the_uninterrupted_ones(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    install_sample(MarketStore(tmp_path / "market"))
    write_synthetic_bars(tmp_path / "market", bars=30_000)
    with Cluster(tmp_path / "cluster", trainers=1, backtesters=1, market=tmp_path / "market") as cluster:
        exactness = Exactness(cluster, seed, kills=2)
        comparisons = [exactness.training("gru", epochs=8), exactness.backtest(bars=30_000)]
    for comparison in comparisons:
        print(comparison.line())
    assert [comparison.different for comparison in comparisons] == [[], []]
