"""A directory of artifacts is whole or not there; a changed byte anywhere is refused by name."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.artifacts import exact
from holdfast.artifacts.manifest import find_problems, read_artifacts, write_artifacts
from holdfast.artifacts.store import open_store
from holdfast.errors import Corrupted, InvalidRequest, NotFound

FILES = {"model.safetensors": bytes(range(256)) * 8, "state.json": b"{}", "empty.bin": b""}


def written(root: Path, prefix: str = "op-1/1-5") -> tuple[Path, str, str]:
    result = write_artifacts(open_store(str(root)), prefix, FILES, {"kind": "test", "loss": float("nan")})
    return root / prefix, result.path, result.manifest_digest


def test_what_was_written_is_read(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    big = os.urandom(3 << 20)
    result = write_artifacts(
        store, "op-1/1-5", {**FILES, "big": [big[:7], memoryview(big)[7:]], "lazy": lambda: b"x"}, {}
    )
    artifacts = read_artifacts(store, result.path, result.manifest_digest)
    assert artifacts.files == {**FILES, "big": big, "lazy": b"x"}
    assert artifacts.content_digest == result.content_digest
    assert artifacts.size_bytes == result.size_bytes == sum(file.size for file in store.list("op-1"))


def test_content_digest_ignores_the_times_and_ids_of_the_manifest(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    one = write_artifacts(store, "a/1", FILES, {"time": 1})
    two = write_artifacts(store, "a/2", FILES, {"time": 2})
    assert one.content_digest == two.content_digest
    assert one.manifest_digest != two.manifest_digest


def test_nothing_is_written_over(tmp_path: Path) -> None:
    directory, path, digest = written(tmp_path)
    with pytest.raises(FileExistsError, match="ever written over"):
        write_artifacts(open_store(str(tmp_path)), "op-1/1-5", {"model.safetensors": b"other"}, {})
    assert read_artifacts(open_store(str(tmp_path)), path, digest).files == FILES
    assert directory.is_dir()


def test_any_single_changed_byte_is_refused_by_the_name_of_its_file(tmp_path: Path) -> None:
    directory, written_path, digest = written(tmp_path)
    store = open_store(str(tmp_path))
    for path in sorted(directory.iterdir()):
        original = path.read_bytes()
        for position in range(len(original)):
            changed = bytearray(original)
            changed[position] ^= 1 << (position % 8)
            path.write_bytes(changed)
            with pytest.raises(Corrupted) as caught:
                read_artifacts(store, written_path, digest)
            assert caught.value.metadata["artifact"] == path.name
        path.write_bytes(original)
    assert read_artifacts(store, written_path, digest).files == FILES


def test_a_changed_artifact_is_refused_without_the_references_digest_too(tmp_path: Path) -> None:
    directory, path, _ = written(tmp_path)
    (directory / "state.json").write_bytes(b"[]")
    with pytest.raises(Corrupted, match="SHA-256"):
        read_artifacts(open_store(str(tmp_path)), path)


@pytest.mark.parametrize("size", [0, 100, 4096])
def test_a_truncated_or_grown_file_is_refused(tmp_path: Path, size: int) -> None:
    directory, path, _ = written(tmp_path)
    (directory / "model.safetensors").write_bytes(bytes(size))
    with pytest.raises(Corrupted, match=r"model\.safetensors"):
        read_artifacts(open_store(str(tmp_path)), path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    directory, path, _ = written(tmp_path)
    (directory / "state.json").unlink()
    with pytest.raises(Corrupted, match=r"state\.json .* missing"):
        read_artifacts(open_store(str(tmp_path)), path)
    problems, _ = find_problems(open_store(str(tmp_path)), path)
    assert problems == ["state.json: it is missing"]


def test_a_directory_without_a_manifest_is_nothing(tmp_path: Path) -> None:
    directory, path, _ = written(tmp_path)
    (directory / "manifest.json").unlink()
    with pytest.raises(NotFound):
        read_artifacts(open_store(str(tmp_path)), path)


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    directory, path, _ = written(tmp_path / "store")
    store = open_store(str(tmp_path / "store"))
    outside = tmp_path / "secret"
    outside.write_bytes(b"{}")
    (directory / "state.json").unlink()
    (directory / "state.json").symlink_to(outside)
    with pytest.raises(Corrupted, match="symbolic link"):
        read_artifacts(store, path)
    (directory / "state.json").unlink()
    os.mkfifo(directory / "state.json")
    with pytest.raises(Corrupted, match="not a plain file"):
        read_artifacts(store, path)
    directory.rename(tmp_path / "moved")
    directory.symlink_to(tmp_path / "moved")
    with pytest.raises(Corrupted, match="symbolic link"):
        read_artifacts(store, path)


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "a/b", ".", "..", "", "a\0b", ".hidden", "x" * 300])
def test_names_that_leave_the_directory_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="plain name"):
        write_artifacts(open_store(str(tmp_path / "store")), "op/1-1", {name: b""}, {})
    directory, path, _ = written(tmp_path / "store")
    manifest = exact.loads((directory / "manifest.json").read_bytes())
    manifest["artifacts"][name] = manifest["artifacts"]["empty.bin"]
    (directory / "manifest.json").write_bytes(exact.dumps(manifest))
    with pytest.raises(Corrupted):
        read_artifacts(open_store(str(tmp_path / "store")), path)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "op-1/../../etc", "s3://other/x", "", "/", "file:///tmp/../etc", "op//1-1"]
)
def test_only_paths_relative_to_the_store_are_taken(tmp_path: Path, path: str) -> None:
    with pytest.raises(InvalidRequest, match="relative to the store"):
        read_artifacts(open_store(str(tmp_path)), path)


def test_an_absolute_path_inside_the_store_is_refused_too(tmp_path: Path) -> None:
    directory, _, _ = written(tmp_path)
    with pytest.raises(InvalidRequest, match="relative to the store"):
        read_artifacts(open_store(str(tmp_path)), str(directory))


def test_a_moved_store_holds_what_it_held(tmp_path: Path) -> None:
    _, path, digest = written(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert read_artifacts(open_store(str(tmp_path / "b")), path, digest).files == FILES


@pytest.mark.parametrize("url", ["ftp://host/x", "", "s3://", "file://"])
def test_an_unknown_store_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="HOLDFAST_STORE_URL"):
        open_store(url)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.sampled_from(["format", "artifacts", "row", "size", "sha256", "extra"]), value=json_values)
def test_a_hostile_manifest_is_refused_and_never_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, where: str, value: object
) -> None:
    directory, path, _ = written(tmp_path_factory.mktemp("store"))
    manifest = exact.loads((directory / "manifest.json").read_bytes())
    row = manifest["artifacts"]["state.json"]
    if where in ("format", "artifacts"):
        manifest[where] = value
    elif where == "row":
        manifest["artifacts"]["state.json"] = value
    elif where == "extra":
        manifest["artifacts"][str(value)] = row
    else:
        row[where] = value
    try:
        record = exact.dumps(manifest)
    except ValueError:
        return  # the reserved key: no manifest can hold it
    (directory / "manifest.json").write_bytes(record)
    # Refused as Corrupted, or read because the change made no difference; anything else fails the test by itself.
    with suppress(Corrupted):
        artifacts = read_artifacts(open_store(str(directory.parent.parent)), path)
        assert set(artifacts.files.values()) <= set(FILES.values())


def test_thousands_of_random_damages_are_refused(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    generator = random.Random(seed)
    directory, path, digest = written(tmp_path)
    store = open_store(str(tmp_path))
    originals = {path.name: path.read_bytes() for path in directory.iterdir()}
    for _ in range(3000):
        name = generator.choice([name for name, content in originals.items() if content])
        content = bytearray(originals[name])
        kind = generator.randrange(4)
        start = generator.randrange(len(content))
        end = generator.randrange(start, len(content)) + 1
        if kind == 0:
            content[start:end] = generator.randbytes(end - start)
        elif kind == 1:
            del content[start:end]
        elif kind == 2:
            content[start:start] = generator.randbytes(generator.randrange(1, 64))
        else:
            content[start:end] = content[start:end][::-1]
        if content == originals[name]:
            continue
        (directory / name).write_bytes(content)
        with pytest.raises(Corrupted) as caught:
            read_artifacts(store, path, digest)
        assert caught.value.metadata["artifact"] == name
        (directory / name).write_bytes(originals[name])


def test_delete_frees_what_was_written(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    result = write_artifacts(store, "op-1/1-5", FILES, {})
    assert store.delete("op-1/1-5") == result.size_bytes
    assert store.delete("op-1/1-5") == 0
    assert list(store.list()) == []
