"""Times several ways of doing one thing, interleaved, and prints their ratios. Owns no subject."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def interleave(ways: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Seconds per call by name: every round runs every way once, so that a slow moment hits all of them.

    The first round is not counted: it fills caches.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            elapsed = time.perf_counter() - start
            if number:
                times[name].append(elapsed)
    return times


def print_table(title: str, times: Mapping[str, list[float]], *, base: str, amount: float = 0, unit: str = "") -> None:
    """Medians, spread, throughput and the ratio to `base`; `amount` of `unit` is done per call."""
    print(f"\n{title}")
    reference = statistics.median(times[base])
    for name, values in times.items():
        median = statistics.median(values)
        rate = f"{amount / median:10.1f} {unit}/s" if amount else ""
        print(
            f"  {name:<44} {median * 1000:10.2f} ms  (best {min(values) * 1000:.2f}) {rate}  {median / reference:6.3f} x"
        )
