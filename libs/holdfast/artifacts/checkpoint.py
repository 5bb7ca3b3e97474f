"""One moment of a run, and the manifest that describes it. Owns names and fields; does no input or output."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from holdfast.artifacts.manifest import Content
from holdfast.errors import InvalidRequest
from holdfast.v1 import checkpoint_pb2

__all__ = [
    "KIND",
    "STATE",
    "Snapshot",
    "attempt_of",
    "checkpoint_from_manifest",
    "checkpoint_id",
    "is_checkpoint_id",
    "is_id_of",
    "manifest_fields",
    "path_of",
    "position_of",
    "type_name",
]

KIND = "checkpoint"
STATE = "state.json"

_ID = re.compile(
    r"(?P<operation>[A-Za-z0-9][A-Za-z0-9._-]*)/(?P<attempt>\d+)-(?P<unit>\d+)(\.(?P<step>\d+))?(-[a-z]+)?",
    re.ASCII,
)
# Nine digits: more is no attempt, and would not fit into PostgreSQL's integer.
_OF_ATTEMPT = re.compile(r"(?P<checkpoint>\d{1,9})-\d+(\.\d+)?(-[a-z]+)?|(model|result)-(?P<result>\d{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a run needs to continue, copied so that the run may go on changing its own.

    `unit` and `step` are finished ones; `state` is exact JSON (see `exact`); `artifacts` are contents by file name, or
    callables that pack them on the writer's thread; `data_digest` is the market data's.
    """

    unit: int
    unit_name: str
    state: Mapping[str, Any]
    artifacts: Mapping[str, Content] = field(default_factory=dict)
    step: int = 0
    data_digest: str = ""


def checkpoint_id(operation_id: str, attempt: int, unit: int, step: int, kind: checkpoint_pb2.CheckpointType) -> str:
    """The directory of a checkpoint, relative to the store: "<operation>/<attempt>-<unit>[.<step>][-<type>]".

    The type is part of it unless periodic: a cancel right after a periodic save must not meet that one's directory.
    """
    steps = f".{step}" if step else ""
    suffix = "" if kind == checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC else f"-{type_name(kind)}"
    return f"{operation_id}/{attempt}-{unit}{steps}{suffix}"


def is_checkpoint_id(text: str) -> bool:
    """Whether `text` has the form of a checkpoint's id."""
    return _ID.fullmatch(text) is not None


def is_id_of(identifier: str, checkpoint: checkpoint_pb2.Checkpoint) -> bool:
    """Whether the id is made of the checkpoint's own fields. A type that only a newer version knows has any word."""
    found = _ID.fullmatch(identifier)
    if found is None:
        return False
    if checkpoint.type != checkpoint_pb2.CHECKPOINT_TYPE_UNSPECIFIED:
        return identifier == checkpoint_id(
            checkpoint.operation_id, checkpoint.attempt, checkpoint.unit, checkpoint.step, checkpoint.type
        )
    named = (found["operation"], found["attempt"], found["unit"], found["step"] or "0")
    return named == (checkpoint.operation_id, str(checkpoint.attempt), str(checkpoint.unit), str(checkpoint.step))


def path_of(ref: checkpoint_pb2.CheckpointRef) -> str:
    """The directory, relative to the store, that a reference means: the checkpoint's id, which `uri` only repeats.

    Raises InvalidRequest when it has not the form of an id, or when the two differ.
    """
    path = ref.checkpoint_id or ref.uri
    if not is_checkpoint_id(path) or ref.uri not in ("", path):
        named = path if ref.uri in ("", path) else f"{path!r} at {ref.uri!r}"
        raise InvalidRequest(
            f"{named} is no reference to a checkpoint. Its id, such as training-3f9c1b2a7d4e/1-20, is also its path in "
            "the artifact store. See `holdfast checkpoints list`.",
            reason="INVALID_CHECKPOINT_REFERENCE",
            metadata={"checkpoint_id": ref.checkpoint_id, "uri": ref.uri},
        )
    return path


def position_of(checkpoint_id: str) -> tuple[int, int, int] | None:
    """Attempt, unit and step that a checkpoint's id names: the order in which checkpoints follow each other."""
    found = _ID.fullmatch(checkpoint_id)
    return None if found is None else (int(found["attempt"]), int(found["unit"]), int(found["step"] or 0))


def attempt_of(name: str) -> int | None:
    """The attempt that wrote a directory of an operation ("3-20", "model-3", "result-3"); None: the name is no such."""
    found = _OF_ATTEMPT.fullmatch(name)
    return None if found is None else int(found["result"] or found["checkpoint"])


def type_name(kind: checkpoint_pb2.CheckpointType) -> str:
    """ "periodic", "cancellation", "failure" or "shutdown"."""
    return checkpoint_pb2.CheckpointType.Name(kind).removeprefix("CHECKPOINT_TYPE_").lower()


def _type_value(name: object) -> checkpoint_pb2.CheckpointType:
    """UNSPECIFIED for a type that only a newer version writes: its bytes are as good."""
    word = f"CHECKPOINT_TYPE_{str(name).upper()}"
    known = word in checkpoint_pb2.CheckpointType.keys()  # noqa: SIM118 - it is no mapping
    return getattr(checkpoint_pb2, word) if known else checkpoint_pb2.CHECKPOINT_TYPE_UNSPECIFIED


def manifest_fields(checkpoint: checkpoint_pb2.Checkpoint, fingerprint: Mapping[str, str]) -> dict[str, Any]:
    """What the manifest says besides the list of artifacts."""
    return {
        "kind": KIND,
        "operation_id": checkpoint.operation_id,
        "attempt": checkpoint.attempt,
        "type": type_name(checkpoint.type),
        "unit_name": checkpoint.unit_name,
        "unit": checkpoint.unit,
        "step": checkpoint.step,
        "data_digest": checkpoint.data_digest,
        "create_time": checkpoint.create_time.ToDatetime(tzinfo=UTC).isoformat(),
        "fingerprint": dict(fingerprint),
    }


def checkpoint_from_manifest(
    manifest: Mapping[str, Any], *, identifier: str, manifest_digest: str, size_bytes: int
) -> checkpoint_pb2.Checkpoint:
    """The catalogue's entry for a stored manifest.

    Raises ValueError when a field is missing, of a wrong type, or contradicts the directory's name.
    """
    if manifest.get("kind") != KIND:
        raise ValueError("it is not a checkpoint's manifest")
    try:
        checkpoint = checkpoint_pb2.Checkpoint(
            checkpoint_id=identifier,
            operation_id=manifest["operation_id"],
            attempt=manifest["attempt"],
            type=_type_value(manifest["type"]),
            unit_name=manifest["unit_name"],
            unit=manifest["unit"],
            step=manifest["step"],
            uri=identifier,
            manifest_digest=manifest_digest,
            size_bytes=size_bytes,
            data_digest=manifest["data_digest"],
        )
        checkpoint.create_time.FromDatetime(datetime.fromisoformat(manifest["create_time"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"its fields are not a checkpoint's ({error})") from error
    if not is_id_of(identifier, checkpoint):
        described = f"attempt {checkpoint.attempt} of {checkpoint.operation_id}, {checkpoint.unit}.{checkpoint.step}"
        raise ValueError(f"it describes {described}: it was moved here from another place")
    return checkpoint
