"""When a periodic save is due: every attempt makes progress, saving costs little, nothing asked for is lost."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from holdfast.run.pace import Pace


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def save(pace: Pace, clock: Clock, seconds: float) -> None:
    pace.begun()
    clock.now += seconds
    pace.ended(seconds)


def test_the_first_unit_of_an_attempt_is_saved_whatever_the_spacing_and_the_interval(clock: Clock) -> None:
    pace = Pace(3600.0, clock)
    assert not pace.due(asked=False, unit_ended=False)
    assert pace.due(asked=False)
    save(pace, clock, 0.01)
    assert not pace.due(asked=False)


def test_a_step_that_is_asked_for_may_be_the_first(clock: Clock) -> None:
    assert Pace(3600.0, clock).due(asked=True, unit_ended=False)


def test_one_that_came_too_early_is_done_as_soon_as_it_may_be(clock: Clock) -> None:
    pace = Pace(1.0, clock)
    assert pace.due(asked=True)
    save(pace, clock, 0.01)
    assert not pace.due(asked=True)
    clock.now += 0.5
    assert not pace.due(asked=False)
    clock.now += 0.5
    # Steps as well as units: it is owed since.
    assert pace.due(asked=False, unit_ended=False)
    save(pace, clock, 0.01)
    clock.now += 5.0
    assert not pace.due(asked=False)


@pytest.mark.parametrize(("took", "wait"), [(0.01, 1.0), (0.5, 5.0), (3.0, 30.0), (40.0, 60.0), (90.0, 90.0)])
def test_the_distance_is_ten_times_what_the_last_save_took_but_a_minute_at_most(
    clock: Clock, took: float, wait: float
) -> None:
    pace = Pace(1.0, clock)
    save(pace, clock, took)
    clock.now = began = clock.now + 1000.0
    save(pace, clock, took)
    clock.now = began + wait - 0.001
    assert pace.due(asked=True) is (took > 60.0)
    clock.now = began + wait
    assert pace.due(asked=True)


def test_a_young_attempt_saves_when_its_age_has_doubled(clock: Clock) -> None:
    pace, began, saves = Pace(0.1, clock), clock.now, []
    while clock.now < began + 30.0:
        if pace.due(asked=True):
            saves.append(clock.now - began)
            save(pace, clock, 0.4)
        clock.now += 0.01
    assert saves[:5] == pytest.approx([0.0, 0.8, 1.6, 3.2, 6.4], abs=0.05)
    assert saves[5:] == pytest.approx([10.4, 14.4, 18.4, 22.4, 26.4], abs=0.1), "ten times from then on"


def test_a_save_that_hangs_is_not_joined_by_another(clock: Clock) -> None:
    pace = Pace(1.0, clock)
    pace.begun()
    clock.now += 7200.0
    assert not pace.due(asked=True)
    pace.ended(7200.0)
    assert pace.due(asked=False)


def test_a_store_that_goes_on_failing_is_tried_less_and_less_often(clock: Clock) -> None:
    pace = Pace(0.25, clock)
    tries = []
    for _ in range(60_000):
        if pace.due(asked=False):
            tries.append(clock.now)
            pace.begun()
            pace.failed()
        clock.now += 0.01
    distances = [later - earlier for earlier, later in pairwise(tries)]
    assert len(tries) < 20
    assert distances == sorted(distances)
    assert max(distances) == pytest.approx(60.0, abs=0.1)
    clock.now += 60.0
    assert pace.due(asked=False), "what failed is still owed"
    save(pace, clock, 0.001)
    clock.now += 0.25
    assert pace.due(asked=True)


def test_without_spacing_each_is_saved_that_is_asked_for_and_no_other(clock: Clock) -> None:
    pace = Pace(0.0, clock)
    for asked in (False, True, True, False):
        assert pace.due(asked=asked) is asked
        if asked:
            pace.begun()
            assert pace.due(asked=True), "a newer one replaces the one that waits"


def killed_attempt(pace: Pace, clock: Clock, begin: int, *, until: float, took: float) -> int:
    """One attempt over blocks of 10 ms that dies at `until`; the last block whose save was durable."""
    saved, under_way = begin, (0.0, 0)
    block = begin
    while clock.now < until:
        clock.now += 0.01
        block += 1
        if under_way[1] and clock.now >= under_way[0]:
            saved, under_way = under_way[1], (0.0, 0)
            pace.ended(took)
        if pace.due(asked=block % 10 == 0):
            pace.begun()
            under_way = (clock.now + took, block)
    return saved


@pytest.mark.parametrize("make", [lambda clock: Pace(0.25, clock), lambda clock: Pace(60.0, clock)])
@pytest.mark.parametrize("took", [0.002, 0.1, 0.4])
def test_killed_every_two_seconds_every_attempt_makes_progress(
    clock: Clock, took: float, make: Callable[[Clock], Pace]
) -> None:
    """Loading takes 1.5 of them: what is left is shorter than the spacing or ten times a save."""
    reached = [0]
    for _ in range(20):
        begin = clock.now
        clock.now += 1.5
        reached.append(killed_attempt(make(clock), clock, reached[-1], until=begin + 2.0, took=took))
    assert all(later > earlier for earlier, later in pairwise(reached))


@pytest.mark.parametrize("took", [0.002, 0.1, 0.4, 8.0])
def test_a_crash_costs_at_most_what_is_documented(clock: Clock, took: float) -> None:
    pace, spacing, block, interval = Pace(0.25, clock), 0.25, 0.01, 0.1
    durable, under_way, worst = clock.now, (0.0, 0.0), 0.0
    for number in range(1, 6000):
        clock.now += block
        worst = max(worst, clock.now - durable)
        if under_way[0] and clock.now >= under_way[0]:
            durable, under_way = under_way[1], (0.0, 0.0)
            pace.ended(took)
        if pace.due(asked=number % 10 == 0):
            pace.begun()
            under_way = (clock.now + took, clock.now)
    # The distance, the interval that was asked for, and the save under way; two blocks of this clock's grain.
    assert worst <= max(spacing, min(10 * took, 60.0), took) + interval + took + 2 * block + 1e-6
