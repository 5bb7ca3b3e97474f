"""The S3 store against a real S3 server on loopback: the same promises as the directory's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from holdfast.artifacts import exact
from holdfast.artifacts.catalogue import delete_checkpoint, discover_checkpoints, load_checkpoint, verify_checkpoint
from holdfast.artifacts.checkpoint import Snapshot
from holdfast.artifacts.identity import claim_store, owner_of, read_store_id
from holdfast.artifacts.manifest import read_artifacts, write_artifacts
from holdfast.artifacts.store import Store, open_store
from holdfast.errors import Corrupted, InvalidRequest, NotFound, StoreFull, Unavailable
from holdfast.run.writer import CheckpointWriter
from holdfast.v1 import checkpoint_pb2
from tests.unit.checkpoints.support import ListeningRun

PERIODIC = checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    import obstore
    from obstore.store import HTTPStore

    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    server = HTTPStore.from_url(endpoint, client_options={"allow_http": True})
    obstore.put(server, "bucket", b"")  # PUT /bucket creates it
    return open_store("s3://bucket/quant")


def put_raw(store: Store, path: str, content: bytes) -> None:
    import obstore
    from obstore.store import S3Store

    bucket = S3Store("bucket", prefix="quant", client_options={"allow_http": True})
    obstore.put(bucket, path, content)


def test_a_checkpoint_comes_back_and_can_be_found_verified_and_deleted(store: Store) -> None:
    run = ListeningRun("op-s3")
    with CheckpointWriter(store, run) as writer:
        writer.save(Snapshot(1, "epoch", {"x": float("nan")}, {"a.bin": [b"a", b"b"]}), PERIODIC, wait=True)
        writer.save(Snapshot(2, "epoch", {"x": 2.5}, {"a.bin": b"abc"}), PERIODIC, wait=True)
    newest = run.saved[-1]
    assert newest.uri == "op-s3/1-2"
    ref = checkpoint_pb2.CheckpointRef(uri=newest.uri, manifest_digest=newest.manifest_digest)
    loaded = load_checkpoint(store, ref, operation_id="op-s3")
    assert (loaded.state, loaded.files) == ({"x": 2.5}, {"a.bin": b"abc"})
    assert discover_checkpoints(store, "op-s3") == run.saved[::-1]
    assert verify_checkpoint(store, ref) == ([], newest.size_bytes)
    assert delete_checkpoint(store, newest.checkpoint_id) == newest.size_bytes
    with pytest.raises(NotFound):
        load_checkpoint(store, ref, operation_id="op-s3")


def test_nothing_is_written_over(store: Store) -> None:
    write_artifacts(store, "op-over/1-1", {"a": b"first"}, {})
    with pytest.raises(FileExistsError):
        write_artifacts(store, "op-over/1-1", {"b": b"second"}, {})
    assert read_artifacts(store, "op-over/1-1").files == {"a": b"first"}


def test_the_bucket_has_one_id_and_everything_in_it_says_so(store: Store) -> None:
    assert read_store_id(store) == ""
    assert claim_store(store, "1" * 32) == claim_store(store, "2" * 32) == read_store_id(store) == "1" * 32
    written = write_artifacts(store, "op-mine/1-1", {"a": b"first"}, {})
    assert owner_of(store, "op-mine/1-1") == ("1" * 32, True)
    assert [file.path for file in store.list("op-mine")] == ["op-mine/1-1/a", "op-mine/1-1/manifest.json"]
    store.move("op-mine/1-1", "quarantine/2026-01-01/op-mine/1-1")
    assert list(store.list("op-mine")) == []
    assert read_artifacts(store, "quarantine/2026-01-01/op-mine/1-1", written.manifest_digest).files == {"a": b"first"}
    write_artifacts(store, "op-mine/1-1", {"a": b"again"}, {})
    with pytest.raises(FileExistsError):
        store.move("op-mine/1-1", "quarantine/2026-01-01/op-mine/1-1")
    put_raw(store, "op-mine/1-2/unfinished.json", exact.dumps({"store_id": "1" * 32}))
    assert owner_of(store, "op-mine/1-2") == ("1" * 32, False)


def test_a_bucket_that_does_not_answer_is_told_as_such(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = open_store("s3://no-such-bucket/quant")
    with pytest.raises(Unavailable) as caught:
        list(nowhere.list())
    assert caught.value.reason == "STORE_UNAVAILABLE"
    assert "s3://no-such-bucket/quant" in caught.value.message


class FullServer:
    """The real client, whose server has no room from the n-th object on; the words are MinIO's."""

    def __init__(self, client: Any, room: int, answer: str) -> None:
        self._client, self._room, self._answer = client, room, answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put(self, *args: Any, **kwargs: Any) -> Any:
        from obstore.exceptions import GenericError

        self._room -= 1
        if self._room < 0:
            raise GenericError(self._answer)
        return self._client.put(*args, **kwargs)


@pytest.mark.parametrize("room", [0, 1, 2])
def test_a_full_server_is_told_from_a_broken_one_and_nothing_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    full = "Server returned non-2xx status code: 507 Insufficient Storage: <Code>XMinioStorageFull</Code>"
    client = store._obstore  # type: ignore[attr-defined]
    for answer, error in ((full, StoreFull), ("Server returned 500 Internal Server Error", Exception)):
        monkeypatch.setattr(store, "_obstore", FullServer(client, room, answer))
        with pytest.raises(error) as caught:
            write_artifacts(store, f"op-full-{room}/1-1", {"a": b"first", "b": b"other"}, {})
        assert isinstance(caught.value, StoreFull) is (error is StoreFull)
        assert list(store.list(f"op-full-{room}")) == []
    monkeypatch.setattr(store, "_obstore", client)
    assert write_artifacts(store, f"op-full-{room}/1-1", {"a": b"first"}, {}).size_bytes


def test_what_stands_there_is_not_touched_by_a_second_write(store: Store) -> None:
    write_artifacts(store, "op-twice/1-1", {"a": b"first"}, {})
    with pytest.raises(FileExistsError):
        write_artifacts(store, "op-twice/1-1", {"a": b"second"}, {})
    assert read_artifacts(store, "op-twice/1-1").files == {"a": b"first"}


def test_a_changed_or_missing_object_is_refused(store: Store) -> None:
    path = write_artifacts(store, "op-bad/1-1", {"a": b"first", "b": b"other"}, {}).path
    put_raw(store, "op-bad/1-1/a", b"fi-st")
    with pytest.raises(Corrupted, match="a in op-bad/1-1"):
        read_artifacts(store, path)
    put_raw(store, "op-bad/1-1/a", b"first")
    import obstore
    from obstore.store import S3Store

    obstore.delete(S3Store("bucket", prefix="quant", client_options={"allow_http": True}), "op-bad/1-1/b")
    with pytest.raises(Corrupted, match="missing"):
        read_artifacts(store, path)


def test_only_paths_relative_to_the_store_are_taken(store: Store) -> None:
    for path in ("s3://other/x", "s3://bucket/quant/op-s3/1-2", "../x", "/etc/passwd"):
        with pytest.raises(InvalidRequest):
            read_artifacts(store, path)
