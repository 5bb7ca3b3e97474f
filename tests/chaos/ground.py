"""The cluster that a campaign attacks: how many of what, its settings, its relays and disks. Does no fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast.market.sample import install_sample
from holdfast.market.store import MarketStore
from tests.chaos.disks import NEEDS_DISK, Disk, small_disks
from tests.chaos.plan import FAULTS
from tests.support.cluster import Cluster, free_port
from tests.support.proxy import Proxy
from tests.support.workloads import write_synthetic_bars

ORPHAN_TIMEOUT = 3.0  # seconds
STALLED_AFTER = 6.0  # seconds
ENVIRONMENT = {
    "ORPHAN_TIMEOUT_SECONDS": str(ORPHAN_TIMEOUT),
    "ORPHAN_CHECK_INTERVAL_SECONDS": "0.3",
    "HEARTBEAT_INTERVAL_SECONDS": "0.3",
    "HOLDFAST_GRACE_SECONDS": "8",
    "RUN_STALLED_SECONDS": str(STALLED_AFTER),
}
# A small disk must not fill with write-ahead log that nobody needs any more.
POSTGRES = {"max_wal_size": "128MB", "min_wal_size": "32MB"}


@dataclass(frozen=True)
class Ground:
    """Where a campaign takes place."""

    cluster: Cluster
    proxies: dict[str, Proxy]
    disks: dict[str, Disk]

    @property
    def kinds(self) -> list[str]:
        """The faults that can be done here."""
        return [kind for kind in FAULTS if kind not in NEEDS_DISK or self.disks]

    @property
    def left_out(self) -> str:
        """What cannot be done here, and why; empty when all can."""
        missing = [kind for kind in FAULTS if kind not in self.kinds]
        return f"not done here, because this process may mount no disks: {', '.join(missing)}" if missing else ""


@contextmanager
def ground(root: Path) -> Iterator[Ground]:
    """Two trainers and two backtesters, each reached through a proxy that can cut its stream, on small disks."""
    market = root / "market"
    install_sample(MarketStore(market))
    write_synthetic_bars(market)
    with ExitStack() as stack:
        disks = stack.enter_context(small_disks(root))
        environment = dict(ENVIRONMENT)
        if disks:
            environment["HOLDFAST_STORE_URL"] = str(disks["store"].directory)
        cluster = Cluster(
            root / "cluster",
            trainers=2,
            backtesters=2,
            environment=environment,
            market=market,
            database=disks["database"].directory if disks else None,
            postgres_settings=POSTGRES,
        )
        proxies = {}
        for name in cluster.worker_names:
            port = free_port()
            proxies[name] = stack.enter_context(Proxy(("127.0.0.1", port)))
            cluster.overrides[name] = {
                "HOLDFAST_LISTEN": f"127.0.0.1:{port}",
                "HOLDFAST_ADVERTISE": proxies[name].address,
            }
        stack.enter_context(cluster)
        yield Ground(cluster, proxies, disks)
