"""What happens in a chaos run, drawn from a seed. Pure: the same seed always gives the same plan."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

FAULTS = (
    "kill worker",
    "kill run",
    "kill coordinator",
    "restart postgres",
    "kill postgres",
    "sigterm worker",
    "freeze worker briefly",
    "freeze worker past the timeout",
    "cancel",
    "cut stream",
    "half-open stream",
    "kill coordinator and worker",
    "freeze run briefly",
    "freeze run until it has stalled",
    "store full",
    "database full",
    "future message",
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
    # Started and resumed by the `holdfast` command instead of the SDK.
    by_command: bool


def draw(seed: int, runs: int, kinds: Sequence[str] = FAULTS) -> list[Plan]:
    """The plans of a campaign. Every one of the `kinds` of fault comes up in turn; the rest is chance."""
    generator = random.Random(seed)
    deck: list[str] = []
    plans = []
    for number in range(runs):
        faults = []
        for _ in range(generator.choice((1, 1, 2, 3))):
            if not deck:
                deck = generator.sample(kinds, len(kinds))
            faults.append(Fault(deck.pop(), generator.random() * 0.9, generator.random() * 1.5))
        faults.sort(key=lambda fault: fault.at)
        workload, max_attempts = generator.choice(WORKLOADS), generator.choice((1, 1, 8))
        plans.append(Plan(number, workload, tuple(faults), max_attempts, generator.random() < 0.3))
    return plans
