"""A few chaos runs with a new seed every time; a failing seed is printed and replays with `make chaos SEED=…`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.campaign import Campaign, cluster_with_proxies
from tests.chaos.plan import FAULTS, draw


def test_a_seed_always_gives_the_same_plans_and_every_fault_comes_up() -> None:
    assert draw(1, 50) == draw(1, 50)
    assert draw(1, 50) != draw(2, 50)
    assert {fault.kind for plan in draw(3, 30) for fault in plan.faults} == set(FAULTS)


@pytest.mark.timeout(300)
def test_nothing_is_stuck_lost_duplicated_or_different(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    with cluster_with_proxies(tmp_path) as (cluster, proxies):
        campaign = Campaign(cluster, proxies)
        campaign.prepare()
        verdict = campaign.run(seed, 3)
    print(verdict.summary())
    assert verdict.problems == []
