"""Which death ends the process, and which ends alone."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.services.coordinator.postgres.patience import PATIENCE, REQUEST_PATIENCE, patient
from holdfast.services.coordinator.tasks import FIRST_PAUSE, LONGEST_PAUSE, Tasks


async def die() -> None:
    raise RuntimeError("a defect")


async def test_an_essential_task_takes_the_others_down() -> None:
    ended = asyncio.Event()

    async def other() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = Tasks(group)
            tasks.start("other", other())
            tasks.essential("leadership", die())

    with pytest.raises(ExceptionGroup) as group:
        await run()
    assert group.group_contains(RuntimeError, match="a defect")
    assert ended.is_set()


async def test_a_contained_task_dies_alone() -> None:
    async with asyncio.TaskGroup() as group:
        tasks = Tasks(group)
        await tasks.start("deliver op-1", die())
        survivor = tasks.start("deliver op-2", asyncio.sleep(0))
    assert not survivor.cancelled()


async def test_housekeeping_begins_again_later_each_time() -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 12:
            raise asyncio.CancelledError

    async with asyncio.TaskGroup() as group:
        Tasks(group, sleep).housekeeping("sweep", die)
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


async def test_a_background_task_waits_for_ever_and_the_call_that_starts_it_does_not() -> None:
    seen: list[float | None] = []

    async def look() -> None:
        seen.append(PATIENCE.get())
        with patient(REQUEST_PATIENCE):
            seen.append(PATIENCE.get())
        async with asyncio.TaskGroup() as inner:
            inner.create_task(note())

    async def note() -> None:
        seen.append(PATIENCE.get())

    async with asyncio.TaskGroup() as group:
        tasks = Tasks(group)
        assert PATIENCE.get() == REQUEST_PATIENCE
        await tasks.start("cancel op-1", look())
        assert PATIENCE.get() == REQUEST_PATIENCE
        with patient():
            await note()
    assert PATIENCE.get() == REQUEST_PATIENCE
    assert seen == [None, REQUEST_PATIENCE, None, None]
