"""`python -m tests.chaos SEED RUNS [FAULT,…]`: a campaign; exit code 1 when anything was stuck, lost or different."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.campaign import Campaign
from tests.chaos.disks import enter_namespace
from tests.chaos.ground import ground
from tests.chaos.plan import FAULTS


def main() -> int:
    """Runs the campaign of the command line; without a seed, a new one, printed so that it can be replayed."""
    enter_namespace("tests.chaos", sys.argv[1:])
    seed = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] else random.SystemRandom().randrange(2**32)
    runs = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2] else 20
    only = sys.argv[3].split(",") if len(sys.argv) > 3 and sys.argv[3] else []
    if unknown := set(only) - set(FAULTS):
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}. There are: {', '.join(FAULTS)}")
    print(f"seed {seed}, {runs} runs", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-chaos-") as root,
        ground(Path(root)) as here,
    ):
        if here.left_out:
            print(here.left_out, flush=True)
        campaign = Campaign(here, [kind for kind in here.kinds if kind in only])
        campaign.prepare()
        verdict = campaign.run(seed, runs)
        if verdict.problems:
            print(here.cluster.logs())
    print(f"\nseed {seed}: {verdict.summary()}")
    for problem in verdict.problems:
        print(f"  {problem}")
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main())
