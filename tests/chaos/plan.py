"""What happens in a chaos run, drawn from a seed. Pure: the same seed always gives the same plan."""

from __future__ import annotations

import random
from dataclasses import dataclass

FAULTS = (
    "kill worker",
    "kill run",
    "kill coordinator",
    "restart postgres",
    "sigterm worker",
    "freeze worker briefly",
    "freeze worker past the timeout",
    "cancel",
    "cut stream",
    "half-open stream",
    "kill coordinator and worker",
)
WORKLOADS = ("mlp", "gru", "backtest")


@dataclass(frozen=True)
class Fault:
    """One fault, done when the run's progress has reached a fraction of the whole."""

    kind: str
    at: float
    # Seconds that the victim stays away.
    pause: float


@dataclass(frozen=True)
class Plan:
    """One chaos run: what works, what hits it, in order of progress, and who resumes it."""

    number: int
    workload: str
    faults: tuple[Fault, ...]
    # More than 1: the coordinator resumes by itself.
    max_attempts: int


def draw(seed: int, runs: int) -> list[Plan]:
    """The plans of a campaign. Every kind of fault comes up in turn; the rest is chance."""
    generator = random.Random(seed)
    deck: list[str] = []
    plans = []
    for number in range(runs):
        faults = []
        for _ in range(generator.choice((1, 1, 2, 3))):
            if not deck:
                deck = generator.sample(FAULTS, len(FAULTS))
            faults.append(Fault(deck.pop(), generator.random() * 0.9, generator.random() * 1.5))
        faults.sort(key=lambda fault: fault.at)
        plans.append(Plan(number, generator.choice(WORKLOADS), tuple(faults), generator.choice((1, 1, 8))))
    return plans
