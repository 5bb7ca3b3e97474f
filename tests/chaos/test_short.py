"""A few chaos runs with a new seed every time; a failing seed is printed and replays with `make chaos SEED=…`."""

from __future__ import annotations

import random
import signal
import subprocess
import sys

import pytest

from tests.chaos.plan import FAULTS, draw


def test_a_seed_always_gives_the_same_plans_and_every_fault_comes_up() -> None:
    assert draw(1, 50) == draw(1, 50)
    assert draw(1, 50) != draw(2, 50)
    assert {fault.kind for plan in draw(3, 30) for fault in plan.faults} == set(FAULTS)


@pytest.mark.timeout(300)
def test_nothing_is_stuck_lost_duplicated_or_different() -> None:
    """In a process of its own, as `make chaos` does it: only that may have disks of its own to fill."""
    seed = random.SystemRandom().randrange(2**32)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", str(seed), "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as campaign:
        try:
            said = campaign.communicate()[0]
        except BaseException:
            campaign.send_signal(signal.SIGINT)  # it takes its processes along
            raise
    print(said)
    assert campaign.returncode == 0, said
