"""No component of a path in a store may be a symbolic link: nothing outside is read, written, listed or deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.artifacts.catalogue import delete_checkpoint, discover_checkpoints
from holdfast.artifacts.manifest import read_artifacts, write_artifacts
from holdfast.artifacts.store import Store, open_store
from holdfast.errors import Corrupted, InvalidRequest, NotPossible

CHECKPOINT = "op-1/1-5"
TREASURE = {"a": b"treasure"}


def outside(tmp_path: Path) -> Path:
    """A store-like tree that is none of ours: somebody's data, and where the link leads."""
    write_artifacts(open_store(str(tmp_path / "outside")), CHECKPOINT, TREASURE, {})
    return tmp_path / "outside"


def operation_linked(tmp_path: Path) -> Store:
    target, root = outside(tmp_path), tmp_path / "store"
    root.mkdir()
    (root / "op-1").symlink_to(target / "op-1")
    return open_store(str(root))


def checkpoint_linked(tmp_path: Path) -> Store:
    target, root = outside(tmp_path), tmp_path / "store"
    (root / "op-1").mkdir(parents=True)
    (root / "op-1" / "1-5").symlink_to(target / "op-1" / "1-5")
    return open_store(str(root))


def root_linked_later(tmp_path: Path) -> Store:
    """A part of the store's own path becomes a link after it was opened."""
    target, above = outside(tmp_path), tmp_path / "above"
    (above / "store").mkdir(parents=True)
    store = open_store(str(above / "store"))
    (above / "store").rmdir()
    (above / "store").symlink_to(target)
    return store


LINKED = pytest.mark.parametrize("linked", [operation_linked, checkpoint_linked, root_linked_later])


def untouched(tmp_path: Path) -> None:
    """What lies outside is as it was."""
    files = {path.name: path.read_bytes() for path in (tmp_path / "outside" / CHECKPOINT).iterdir()}
    assert files.pop("manifest.json")
    assert files == TREASURE


@LINKED
def test_deletion_stays_inside(tmp_path: Path, linked: Callable[[Path], Store]) -> None:
    store = linked(tmp_path)
    for path in (CHECKPOINT, "op-1"):
        if linked is checkpoint_linked and path == "op-1":
            continue  # a real directory: the link in it goes, what it leads to stays
        with pytest.raises(NotPossible, match="symbolic link"):
            store.delete(path)
    with pytest.raises(NotPossible, match="symbolic link"):
        delete_checkpoint(store, CHECKPOINT)
    untouched(tmp_path)


@LINKED
def test_writing_stays_inside(tmp_path: Path, linked: Callable[[Path], Store]) -> None:
    store = linked(tmp_path)
    with pytest.raises((NotPossible, Corrupted), match="symbolic link"):
        write_artifacts(store, CHECKPOINT, {"b": b"x"}, {})
    with pytest.raises(NotPossible, match="symbolic link"):
        store.move(CHECKPOINT, "quarantine/2026-01-01/op-1/1-5")
    untouched(tmp_path)


@LINKED
def test_reading_and_finding_stay_inside(tmp_path: Path, linked: Callable[[Path], Store]) -> None:
    store = linked(tmp_path)
    with pytest.raises(Corrupted, match="symbolic link"):
        read_artifacts(store, CHECKPOINT)
    with pytest.raises(NotPossible, match="symbolic link"):
        list(store.list(CHECKPOINT))
    if linked is not root_linked_later:
        assert list(store.list()) == []
    if linked is operation_linked:
        with pytest.raises(NotPossible, match="symbolic link"):
            discover_checkpoints(store, "op-1")


def test_a_link_inside_a_deleted_directory_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    store = checkpoint_linked(tmp_path)
    assert store.delete("op-1") == 0
    assert not (tmp_path / "store" / "op-1").exists()
    untouched(tmp_path)


def test_a_linked_quarantine_takes_nothing_out_of_the_store(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    write_artifacts(store, CHECKPOINT, TREASURE, {})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store" / "quarantine").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotPossible, match="symbolic link"):
        store.move(CHECKPOINT, "quarantine/2026-01-01/op-1/1-5")
    assert read_artifacts(store, CHECKPOINT).files == TREASURE
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_store_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    store = open_store(str(tmp_path / "store"))
    write_artifacts(store, CHECKPOINT, TREASURE, {})
    assert read_artifacts(store, CHECKPOINT).files == TREASURE
    assert store.delete(CHECKPOINT) > 0


@pytest.mark.parametrize("identifier", ["models", "op-1", "op-1/model-1", "/op-1/1-5", "../op-1/1-5", "op-1/1-5/x", ""])
def test_only_a_checkpoints_id_leads_a_deletion(tmp_path: Path, identifier: str) -> None:
    store = open_store(str(tmp_path))
    write_artifacts(store, "op-1/model-1", TREASURE, {})
    with pytest.raises(InvalidRequest, match="no reference to a checkpoint"):
        delete_checkpoint(store, identifier)
    assert read_artifacts(store, "op-1/model-1").files == TREASURE
