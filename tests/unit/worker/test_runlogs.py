"""A run's log is cut under the run that writes it; the tail spans the cut."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.worker import runlogs
from holdfast.worker.logkeeper import LogKeeper


def test_a_log_is_cut_under_its_writer_and_the_tail_spans_the_cut(tmp_path: Path) -> None:
    path = runlogs.path_of(tmp_path, "op", 1)
    with path.open("ab", buffering=0) as file:
        for number in range(1000):
            file.write(f"line {number}\n".encode())
        assert runlogs.rotate(path, 5000)
        assert path.stat().st_size == 0
        file.write(b"after the cut\n")
    assert path.read_bytes() == b"after the cut\n"
    assert path.with_name("op-1.log.1").stat().st_size == 5000
    tail = runlogs.tail(path)
    assert tail[-2:] == ["line 999", "after the cut"]
    assert len(tail) == runlogs.TAIL_LINES
    assert not runlogs.rotate(path, 5000)
    assert not runlogs.rotate(tmp_path / "nothing.log", 5000)


def test_old_parts_are_pruned_as_well(tmp_path: Path) -> None:
    for name in ("op-1.log", "op-1.log.1"):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (0, 0))
    assert runlogs.prune(tmp_path, 1) == 2


async def test_the_log_of_a_run_that_has_just_ended_is_cut_once_more(tmp_path: Path) -> None:
    path = runlogs.path_of(tmp_path, "op", 1)
    living = [path]
    keeper = LogKeeper(lambda: living, 2000)
    path.write_bytes(b"x" * 900)
    await keeper.look()
    assert path.stat().st_size == 900
    path.write_bytes(b"y" * 50_000)
    living.clear()
    await keeper.look()
    assert path.stat().st_size + path.with_name("op-1.log.1").stat().st_size <= 2000
