"""`python -m tests.chaos SEED RUNS`: a campaign; exit code 1 when anything was stuck, lost, duplicated or different."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.campaign import Campaign, cluster_with_proxies


def main() -> int:
    """Runs the campaign of the command line; without a seed, a new one, printed so that it can be replayed."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] else random.SystemRandom().randrange(2**32)
    runs = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2] else 20
    print(f"seed {seed}, {runs} runs", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-chaos-") as root,
        cluster_with_proxies(Path(root)) as (cluster, proxies),
    ):
        campaign = Campaign(cluster, proxies)
        campaign.prepare()
        verdict = campaign.run(seed, runs)
        if verdict.problems:
            print(cluster.logs())
    print(f"\nseed {seed}: {verdict.summary()}")
    for problem in verdict.problems:
        print(f"  {problem}")
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main())
