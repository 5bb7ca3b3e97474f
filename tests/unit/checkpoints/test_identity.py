"""A store gets one id, whoever asks first; whatever is written into it says from its first moment whose it is."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from holdfast.artifacts import exact
from holdfast.artifacts.catalogue import newest_attempt
from holdfast.artifacts.checkpoint import attempt_of, position_of
from holdfast.artifacts.identity import IDENTITY, claim_store, owner_of, read_store_id
from holdfast.artifacts.manifest import read_artifacts, write_artifacts
from holdfast.artifacts.store import open_store
from holdfast.errors import Corrupted
from tests.unit.checkpoints.test_crash_points import die_before

ONE, TWO = "1" * 32, "2" * 32


def test_the_first_id_stays(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "new"))
    assert read_store_id(store) == ""
    assert claim_store(store, ONE) == ONE
    assert claim_store(store, TWO) == ONE
    assert read_store_id(store) == ONE
    assert [path.name for path in (tmp_path / "new").iterdir()] == [IDENTITY]


def test_of_many_at_once_one_id_wins(tmp_path: Path) -> None:
    identifiers = [f"{number:032x}" for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda one: claim_store(open_store(str(tmp_path)), one), identifiers))
    assert set(told) == {read_store_id(open_store(str(tmp_path)))}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format":2,"store_id":"x"}', b'{"format":1,"store_id":"../x"}']
)
def test_a_damaged_store_file_is_told_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / IDENTITY).write_bytes(content)
    with pytest.raises(Corrupted, match="holdfast store adopt") as caught:
        read_store_id(open_store(str(tmp_path)))
    assert caught.value.reason == "STORE_ID_CORRUPTED"


def test_manifests_carry_the_id_and_contents_do_not_depend_on_it(tmp_path: Path) -> None:
    first, second = open_store(str(tmp_path / "a")), open_store(str(tmp_path / "b"))
    claim_store(first, ONE)
    claim_store(second, TWO)
    written = [write_artifacts(store, "op-1/1-5", {"a": b"x"}, {}) for store in (first, second)]
    assert written[0].content_digest == written[1].content_digest
    assert owner_of(first, "op-1/1-5") == (ONE, True)
    assert read_artifacts(second, "op-1/1-5").manifest["store_id"] == TWO
    assert sorted(path.name for path in (tmp_path / "a/op-1/1-5").iterdir()) == ["a", "manifest.json"]


def test_a_writer_that_was_killed_leaves_what_says_whose_it_is(tmp_path: Path) -> None:
    for boundary in range(1000):
        root = tmp_path / str(boundary)
        store = open_store(str(root))
        claim_store(store, ONE)
        child = os.fork()
        if child == 0:
            try:
                die_before(boundary)
                write_artifacts(store, "op-1/1-5", {"a": b"x" * 5000, "b": b"y"}, {})
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        directory = root / "op-1" / "1-5"
        if any((directory / name).exists() for name in ("a", "b", "manifest.json")):
            assert owner_of(store, "op-1/1-5")[0] == ONE, f"after system call {boundary}"
        if not os.WIFSIGNALED(status):
            assert owner_of(store, "op-1/1-5") == (ONE, True)
            break
        assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("content", [b"{", b"[]", exact.dumps({"store_id": 7}), exact.dumps({"kind": "checkpoint"})])
def test_what_does_not_say_whose_it_is_is_nobodys(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "op-1" / "1-5").mkdir(parents=True)
    (tmp_path / "op-1" / "1-5" / "manifest.json").write_bytes(content)
    assert owner_of(open_store(str(tmp_path)), "op-1/1-5") == ("", True)
    assert owner_of(open_store(str(tmp_path)), "op-1/1-6") == ("", False)


def test_attempts_and_positions_are_read_from_names() -> None:
    assert [attempt_of(name) for name in ("3-20", "3-20.7-failure", "model-4", "result-5")] == [3, 3, 4, 5]
    assert [attempt_of(name) for name in ("text", "model-x", "3", "chapter-1", "1" * 12 + "-1", "٣-١")] == [None] * 6
    assert position_of("op/3-20.7-failure") == (3, 20, 7)
    assert position_of("op/model-3") is None


def test_the_newest_attempt_counts_whatever_lies_there(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert newest_attempt(store, "op-1") == 0
    for name in ("1-5", "4-6", "model-7", "notes"):
        write_artifacts(store, f"op-1/{name}", {"a": b""}, {})
    assert newest_attempt(store, "op-1") == 7
