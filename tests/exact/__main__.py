"""`make exact`: trainings and a backtest killed ten times each, compared byte by byte with the uninterrupted ones."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from holdfast.market import MarketStore
from holdfast.market.sample import install_sample
from tests.exact.campaign import NETWORKS, Exactness
from tests.support.cluster import Cluster
from tests.support.workloads import write_synthetic_bars

KILLS = 10


def main() -> int:
    """Prints one line per workload; 1 when any file differs. A seed may be given to replay."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}, {KILLS} kills each", flush=True)
    broken = False
    with tempfile.TemporaryDirectory(prefix="holdfast-exact-") as name:
        root = Path(name)
        install_sample(MarketStore(root / "market"))
        write_synthetic_bars(root / "market")
        with Cluster(root / "cluster", trainers=1, backtesters=1, market=root / "market") as cluster:
            exactness = Exactness(cluster, seed, KILLS)
            for network in NETWORKS:
                comparison = exactness.training(network)
                print(comparison.line(), flush=True)
                broken |= bool(comparison.different)
            comparison = exactness.backtest()
            print(comparison.line(), flush=True)
            broken |= bool(comparison.different)
    print("A resumed run did NOT equal the uninterrupted one." if broken else "Every resumed run is equal to the bit.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
