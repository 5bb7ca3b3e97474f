"""What lets an operation continue, and where it is kept. Imports neither torch nor numpy.

store       the artifact store's contract; open_store(url)
local, s3   its two kinds: a directory (or NFS), an S3 bucket
identity    the store's id, and which store a directory belongs to
artifacts   a directory of files under one manifest with SHA-256 digests; verified whole when read
exact       JSON that keeps every float, NaN and infinity included
snapshot    one moment of a run; the manifest of a checkpoint
pace        when a periodic save is due
writer      saves snapshots beside the run
final       what a run writes when it ends; waits for room in a full store
space       what a full store is
saver       the process that hashes and writes them, so that the run's own does neither
catalogue   load, verify, discover and delete checkpoints
tensors     torch tensors as safetensors (the one module that imports torch)

Each is imported when it is first used: the saver must start at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.checkpoints.artifacts import (
        Artifacts,
        Written,
        read_artifacts,
        write_artifacts,
    )
    from holdfast.checkpoints.catalogue import (
        LoadedCheckpoint,
        delete_checkpoint,
        discover_checkpoints,
        load_checkpoint,
        newest_attempt,
        verify_checkpoint,
    )
    from holdfast.checkpoints.final import (
        FinalWrites,
    )
    from holdfast.checkpoints.pace import (
        Pace,
    )
    from holdfast.checkpoints.snapshot import (
        Snapshot,
    )
    from holdfast.checkpoints.store import (
        Buffer,
        Store,
        StoredFile,
        open_store,
    )
    from holdfast.checkpoints.writer import (
        CheckpointWriter,
    )

_HOMES = {
    "Artifacts": "artifacts",
    "Buffer": "store",
    "CheckpointWriter": "writer",
    "FinalWrites": "final",
    "Pace": "pace",
    "LoadedCheckpoint": "catalogue",
    "Snapshot": "snapshot",
    "Store": "store",
    "StoredFile": "store",
    "Written": "artifacts",
    "delete_checkpoint": "catalogue",
    "discover_checkpoints": "catalogue",
    "load_checkpoint": "catalogue",
    "newest_attempt": "catalogue",
    "open_store": "store",
    "read_artifacts": "artifacts",
    "verify_checkpoint": "catalogue",
    "write_artifacts": "artifacts",
}

__all__ = [
    "Artifacts",
    "Buffer",
    "CheckpointWriter",
    "FinalWrites",
    "LoadedCheckpoint",
    "Pace",
    "Snapshot",
    "Store",
    "StoredFile",
    "Written",
    "delete_checkpoint",
    "discover_checkpoints",
    "load_checkpoint",
    "newest_attempt",
    "open_store",
    "read_artifacts",
    "verify_checkpoint",
    "write_artifacts",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
