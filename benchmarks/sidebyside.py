"""Times several ways of doing one thing, interleaved, and prints their ratios. Owns no subject.

Beside the wall's time stands the CPU time of this process, all its threads: on a busy machine the wall measures the
neighbours, the CPU time still measures the way.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Timing:
    """Seconds of each counted call."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def interleave(ways: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, Timing]:
    """Timings by name: every round runs every way once, each time another one first, so that a slow moment hits all.

    The first round is not counted: it fills caches.
    """
    timings = {name: Timing() for name in ways}
    for number in range(rounds + 1):
        order = list(ways)
        for name in order[number % len(order) :] + order[: number % len(order)]:
            way = ways[name]
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if number:
                timings[name].wall.append(wall)
                timings[name].cpu.append(cpu)
    return timings


def print_table(title: str, timings: Mapping[str, Timing], *, base: str, amount: float = 0, unit: str = "") -> None:
    """Best and median wall time, best CPU time, each with its ratio to `base`; `amount` of `unit` is done per call.

    The median's ratio is the median of the rounds' own ratios: neighbours in time share their slow moments.
    """
    print(f"\n{title}")
    print(f"  {'':<40} {'best ms':>9} {'ratio':>6} {'median ms':>10} {'ratio':>6} {'CPU ms':>9} {'ratio':>6}")
    reference = timings[base]
    for name, timing in timings.items():
        paired = statistics.median(own / other for own, other in zip(timing.wall, reference.wall, strict=True))
        columns = [
            f"{min(timing.wall) * 1000:9.1f} {min(timing.wall) / min(reference.wall):6.3f}",
            f"{statistics.median(timing.wall) * 1000:10.1f} {paired:6.3f}",
            f"{min(timing.cpu) * 1000:9.1f} {min(timing.cpu) / min(reference.cpu):6.3f}",
        ]
        rate = f"  {amount / min(timing.wall):8.0f} {unit}/s" if amount else ""
        print(f"  {name:<40} {' '.join(columns)}{rate}", flush=True)
