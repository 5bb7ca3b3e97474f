"""The sweep takes what is ours, old and needed by nobody, through a quarantine; and nothing else by its looks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast.artifacts import exact
from holdfast.artifacts.identity import claim_store, mark, read_store_id
from holdfast.artifacts.local import LocalStore
from holdfast.artifacts.manifest import write_artifacts
from holdfast.artifacts.store import UNFINISHED, Store, open_store
from holdfast.services.coordinator.catalogue.sweep import LED_BEFORE, Sweep
from holdfast.v1 import checkpoint_service_pb2 as pb
from tests.integration.test_store_identity import crashed, resumed, tree
from tests.support.coordinator import Caller, running_coordinator
from tests.support.scripted_worker import ScriptedWorker

DAY = 86400.0
HOUR = 3600.0
NOW = 1_800_000_000.0  # 2027-01-15


class Clocks:
    """What the sweep is told the time is."""

    def __init__(self) -> None:
        self.wall = NOW
        self.led = 0.0


def sweep_of(caller: Caller, clocks: Clocks) -> Sweep:
    """The coordinator's sweep with clocks of its own."""
    return Sweep(
        caller.rooms.store,
        caller.rooms.database,
        caller.rooms.sweep.checkpoints,
        read_store_id(store_of(caller)),
        max_age_days=100_000,
        quarantine_days=7,
        interval=DAY,
        clock=lambda: clocks.wall,
        led_clock=lambda: clocks.led,
    )


def store_of(caller: Caller) -> Store:
    """Its artifact store."""
    return open_store(str(caller.home / "store"))


def age(root: Path, seconds: float = 2 * HOUR) -> None:
    """Everything in the store was last changed so long ago."""
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (NOW - seconds, NOW - seconds))


def interrupted(store: Store, path: str) -> None:
    """What a writer leaves that was killed before its manifest (tests/unit/checkpoints/test_identity.py kills one)."""
    directory = Path(store.url) / path
    directory.mkdir(parents=True)
    (directory / UNFINISHED).write_bytes(exact.dumps(mark(store)))
    (directory / "a").write_bytes(b"half")


async def test_nothing_that_is_not_ours_is_touched(database_url: str, tmp_path: Path) -> None:
    root = tmp_path / "store"
    foreign = [
        "thesis/chapter1/text.txt",
        "thesis/1-1/text.txt",
        "thesis/1-1/manifest.json",
        "photos/model-1/me.jpg",
        "quarantine/2020-01-01/mail/inbox",
        "quarantine/2020-01-01/mail/1-1/letter",
        "notes.txt",
    ]
    for name in foreign:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("mine")
    (root / "empty").mkdir()
    other = open_store(str(tmp_path / "other"))
    claim_store(other, "f" * 32)
    write_artifacts(other, "training-other/1-1", {"a": b"x"}, {})
    (tmp_path / "other" / "training-other").rename(root / "training-other")
    async with running_coordinator(database_url, tmp_path) as caller:
        clocks = Clocks()
        sweep = sweep_of(caller, clocks)
        before = tree(root)
        age(root)
        for days in range(0, 60, 10):
            clocks.led += HOUR
            clocks.wall = NOW + days * DAY
            swept = await sweep.once()
            assert (swept.quarantined, swept.deleted, swept.failures) == ([], [], [])
        assert tree(root) == before >= set(foreign)
        assert (root / "empty").is_dir()


async def test_what_does_not_carry_our_id_stays_in_our_own_operation_too(database_url: str, tmp_path: Path) -> None:
    async with running_coordinator(database_url, tmp_path) as caller, ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation_id = await crashed(caller, worker, 4, 5)
        clocks, root = Clocks(), tmp_path / "store"
        sweep = sweep_of(caller, clocks)
        clocks.led = LED_BEFORE
        other = open_store(str(tmp_path / "other"))
        claim_store(other, "f" * 32)
        write_artifacts(other, f"{operation_id}/1-1", {"a": b"x"}, {})
        (tmp_path / "other" / operation_id / "1-1").rename(root / operation_id / "1-1")
        (root / operation_id / "1-2").mkdir()
        (root / operation_id / "1-2" / "thesis.txt").write_text("mine")
        caller.write_checkpoint(operation_id, 1, 3)
        age(root)
        swept = await sweep.once()
        # The third is as old and as unknown to every row as the others; it alone is ours.
        assert [path.rpartition("/")[2] for path in swept.quarantined] == ["1-3"]
        assert (root / operation_id / "1-1" / "manifest.json").exists()
        assert (root / operation_id / "1-2" / "thesis.txt").exists()


async def test_what_is_ours_goes_into_the_quarantine_first_and_not_in_the_first_hour(
    database_url: str, tmp_path: Path
) -> None:
    async with running_coordinator(database_url, tmp_path) as caller, ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation_id = await crashed(caller, worker, 4, 5)
        clocks, root = Clocks(), tmp_path / "store"
        sweep = sweep_of(caller, clocks)
        caller.write_checkpoint(operation_id, 1, 1)
        age(root, 0.5 * HOUR)
        swept = await sweep.once()
        assert "led for an hour" in swept.note
        clocks.led = LED_BEFORE
        assert not (await sweep.once()).quarantined  # too young
        age(root)
        dry = await sweep.once(dry_run=True)
        assert (root / operation_id / "1-1").is_dir()
        swept = await sweep.once()
        assert swept.quarantined == dry.quarantined == [f"{operation_id}/1-1"]
        assert swept.bytes_freed == 0
        assert not (root / operation_id / "1-1").exists()
        held = root / "quarantine" / "2027-01-15" / operation_id / "1-1"
        assert (held / "manifest.json").exists()
        assert [entry.size_bytes for entry in await sweep.quarantined()] == [swept.bytes_quarantined]
        clocks.wall = NOW + 6 * DAY
        assert not (await sweep.once()).deleted
        clocks.wall = NOW + 7 * DAY
        swept = await sweep.once()
        assert swept.deleted == [f"quarantine/2027-01-15/{operation_id}/1-1"]
        assert swept.bytes_freed == dry.bytes_quarantined
        assert list((root / "quarantine").iterdir()) == []


async def test_what_the_database_does_not_know_stays_and_is_told(database_url: str, tmp_path: Path) -> None:
    async with running_coordinator(database_url, tmp_path) as caller:
        clocks, root = Clocks(), tmp_path / "store"
        sweep = sweep_of(caller, clocks)
        clocks.led = LED_BEFORE
        caller.write_checkpoint("training-lost", 1, 1)
        write_artifacts(store_of(caller), "training-lost/model-1", {"m": b"1"}, {})
        age(root)
        before = tree(root)
        swept = await sweep.once()
        assert not swept.quarantined
        assert "2 directories stay" in swept.note
        assert "training-lost" in swept.note
        assert tree(root) == before


async def test_only_what_no_operation_needs_goes(database_url: str, tmp_path: Path) -> None:
    async with running_coordinator(database_url, tmp_path) as caller, ScriptedWorker(caller.address, slots=4) as worker:
        await worker.register()
        clocks, root, store = Clocks(), tmp_path / "store", store_of(caller)
        clocks.led = 0.0
        sweep = sweep_of(caller, clocks)
        clocks.led = LED_BEFORE
        # It completed under attempt 2: the bundle of attempt 1 was never reported.
        done = await crashed(caller, worker, 4, 5)
        write_artifacts(store, f"{done}/model-1", {"m": b"1"}, {})
        await resumed(caller, worker, done)
        worker.runs.clear()
        worker.fact(run_finished=caller.completed(done, 2))
        await caller.reaches(done, "COMPLETED")
        # It failed; its last checkpoint, and its model, may still be reported or found.
        failed = await crashed(caller, worker, 4, 5)
        caller.write_checkpoint(failed, 1, 6)
        caller.write_checkpoint(failed, 1, 3)
        write_artifacts(store, f"{failed}/model-1", {"m": b"1"}, {})
        interrupted(store, f"{failed}/1-7")
        # It runs, and it waits.
        live = (await caller.start()).operation_id
        await worker.given(live)
        caller.write_checkpoint(live, 1, 1)
        interrupted(store, f"{live}/1-2")
        age(root)
        swept = await sweep.once()
        assert swept.failures == []
        gone = set(swept.quarantined)
        assert {f"{done}/model-1", f"{failed}/1-3", f"{failed}/1-7"} <= gone
        # The checkpoints of the completed one may not have been deleted yet; nothing else goes.
        assert gone <= {f"{done}/model-1", f"{failed}/1-3", f"{failed}/1-7", f"{done}/1-4", f"{done}/1-5"}
        assert (root / done / "model-2").is_dir()
        assert {path.name for path in (root / failed).iterdir()} == {"1-4", "1-5", "1-6", "model-1"}
        assert {path.name for path in (root / live).iterdir()} == {"1-1", "1-2"}
        assert (await caller.resume(failed)).checkpoint.unit == 6


async def test_empty_directories_of_ended_operations_go(database_url: str, tmp_path: Path) -> None:
    async with running_coordinator(database_url, tmp_path) as caller, ScriptedWorker(caller.address, slots=2) as worker:
        await worker.register()
        clocks = Clocks()
        sweep = sweep_of(caller, clocks)
        clocks.led = LED_BEFORE
        ended = await crashed(caller, worker, 5)
        live = (await caller.start()).operation_id
        await worker.assigned(2)
        await caller.call("DeleteCheckpoint", pb.DeleteCheckpointRequest(checkpoint_id=f"{ended}/1-5"))
        root = tmp_path / "store"
        (root / live).mkdir()
        (root / "somebodys").mkdir()
        assert (root / ended).is_dir()
        await sweep.once()
        assert not (root / ended).exists()
        assert (root / live).is_dir()
        assert (root / "somebodys").is_dir()


async def test_one_directory_that_cannot_be_moved_stops_nothing(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_coordinator(database_url, tmp_path) as caller, ScriptedWorker(caller.address) as worker:
        await worker.register()
        operation_id = await crashed(caller, worker, 4, 5)
        clocks = Clocks()
        sweep = sweep_of(caller, clocks)
        clocks.led = LED_BEFORE
        for unit in (1, 2):
            caller.write_checkpoint(operation_id, 1, unit)
        age(tmp_path / "store")
        move = LocalStore.move

        def stuck(self: LocalStore, prefix: str, target: str) -> None:
            if prefix.endswith("1-1"):
                raise PermissionError(13, "Permission denied")
            move(self, prefix, target)

        monkeypatch.setattr(LocalStore, "move", stuck)
        swept = await sweep.once()
        assert swept.quarantined == [f"{operation_id}/1-2"]
        assert swept.failures == [f"{operation_id}/1-1: [Errno 13] Permission denied"]
