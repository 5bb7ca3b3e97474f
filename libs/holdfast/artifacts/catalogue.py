"""Finds, loads, verifies and deletes checkpoints in a store. Owns the reading side; never touches PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import structlog

from holdfast.artifacts import exact
from holdfast.artifacts.checkpoint import STATE, attempt_of, checkpoint_from_manifest, is_checkpoint_id, path_of
from holdfast.artifacts.manifest import find_problems, read_artifacts, read_manifest
from holdfast.artifacts.store import MANIFEST, Store
from holdfast.errors import Corrupted, HoldfastError, InvalidRequest
from holdfast.v1 import checkpoint_pb2

__all__ = [
    "LoadedCheckpoint",
    "delete_checkpoint",
    "discover_checkpoints",
    "load_checkpoint",
    "newest_attempt",
    "verify_checkpoint",
]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A checkpoint whose every byte was verified: its entry, its state, its files and where it was made."""

    checkpoint: checkpoint_pb2.Checkpoint
    state: dict[str, Any]
    files: dict[str, bytes] = field(repr=False)
    fingerprint: dict[str, str]


def load_checkpoint(store: Store, ref: checkpoint_pb2.CheckpointRef, *, operation_id: str) -> LoadedCheckpoint:
    """Reads and verifies the checkpoint that `ref` names.

    Raises NotFound, Corrupted (naming the file), or InvalidRequest when it belongs to another operation.
    """
    identifier = path_of(ref)
    artifacts = read_artifacts(store, identifier, ref.manifest_digest)
    try:
        checkpoint = checkpoint_from_manifest(
            artifacts.manifest,
            identifier=identifier,
            manifest_digest=artifacts.manifest_digest,
            size_bytes=artifacts.size_bytes,
        )
        state = exact.loads(artifacts.files[STATE])
        fingerprint = artifacts.manifest["fingerprint"]
        if not isinstance(state, dict) or not _is_text_map(fingerprint):
            raise ValueError("its state is not a mapping")
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupted(
            f"{MANIFEST} or {STATE} in {identifier} cannot be used: {error}. "
            "Resume from an older checkpoint (`holdfast checkpoints list`) or start over.",
            metadata={"checkpoint_id": identifier},
        ) from error
    if checkpoint.operation_id != operation_id:
        raise InvalidRequest(
            f"The checkpoint {identifier} belongs to operation {checkpoint.operation_id}, not to {operation_id}.",
            reason="CHECKPOINT_OF_ANOTHER_OPERATION",
            metadata={"operation_id": operation_id, "checkpoint_id": identifier},
        )
    files = {name: content for name, content in artifacts.files.items() if name != STATE}
    return LoadedCheckpoint(checkpoint, state, files, fingerprint)


def verify_checkpoint(store: Store, ref: checkpoint_pb2.CheckpointRef) -> tuple[list[str], int]:
    """Every problem, one line each, and the bytes read; no problem means that it can be resumed from."""
    return find_problems(store, path_of(ref), ref.manifest_digest)


def discover_checkpoints(store: Store, operation_id: str) -> list[checkpoint_pb2.Checkpoint]:
    """The complete checkpoints of an operation that lie in the store, newest progress first.

    Includes any that no coordinator was told of because the worker died first. Manifests are read, artifacts are not.
    """
    found = list(_discover(store, operation_id))
    found.sort(key=lambda item: (item.attempt, item.unit, item.step, item.create_time.ToNanoseconds()), reverse=True)
    return found


def newest_attempt(store: Store, operation_id: str) -> int:
    """The greatest attempt that has left anything in an operation's directory, whole or not; 0: none has."""
    names = {file.path.split("/")[1] for file in store.list(operation_id) if file.path.count("/") > 1}
    return max((attempt for name in names if (attempt := attempt_of(name)) is not None), default=0)


def delete_checkpoint(store: Store, checkpoint_id: str) -> int:
    """Deletes a checkpoint's directory and returns the bytes freed; 0 when it was gone.

    The id alone says where it lies: no stored or sent address leads a deletion elsewhere.
    """
    return store.delete(path_of(checkpoint_pb2.CheckpointRef(checkpoint_id=checkpoint_id)))


def _discover(store: Store, operation_id: str) -> Iterator[checkpoint_pb2.Checkpoint]:
    files = list(store.list(operation_id))
    for file in files:
        directory, _, name = file.path.rpartition("/")
        # Beside its checkpoints lie an operation's models and results.
        if name != MANIFEST or not is_checkpoint_id(directory):
            continue
        try:
            manifest, digest, size = read_manifest(store, directory)
            size += sum(row["size"] for row in manifest["artifacts"].values())
            yield checkpoint_from_manifest(manifest, identifier=directory, manifest_digest=digest, size_bytes=size)
        except (HoldfastError, ValueError) as error:
            # A broken directory must not hide the good ones beside it.
            log.warning("Checkpoint passed over", checkpoint=directory, problem=str(error))


def _is_text_map(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for pair in value.items() for item in pair)
