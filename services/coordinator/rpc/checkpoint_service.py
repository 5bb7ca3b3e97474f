"""CheckpointService: the catalogue of checkpoints for callers. Owns nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from holdfast.errors import NotFound
from holdfast.services.coordinator.catalogue.checkpoints import Checkpoints
from holdfast.services.coordinator.catalogue.sweep import Sweep
from holdfast.services.coordinator.operations.records import timestamp
from holdfast.services.coordinator.operations.store import Store
from holdfast.services.coordinator.rpc.pages import make_token, read_token
from holdfast.services.coordinator.rpc.validation import Fields
from holdfast.v1 import checkpoint_service_pb2 as pb
from holdfast.v1 import checkpoint_service_pb2_grpc

__all__ = ["DEFAULT_PAGE", "NAME", "CheckpointServicer"]

DEFAULT_PAGE = 100
NAME = "holdfast.v1.CheckpointService"


class CheckpointServicer(checkpoint_service_pb2_grpc.CheckpointServiceServicer):
    """Reads and deletes; resuming is CoordinatorService.ResumeOperation."""

    def __init__(self, store: Store, checkpoints: Checkpoints, sweep: Sweep) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._sweep = sweep

    async def GetCheckpoint(self, request: pb.GetCheckpointRequest, context: Any) -> pb.GetCheckpointResponse:  # noqa: N802
        with Fields() as fields:
            fields.checkpoint_id("checkpoint_id", request.checkpoint_id, optional=True)
            fields.identifier("operation_id", request.operation_id, optional=bool(request.checkpoint_id))
        if request.checkpoint_id:
            return pb.GetCheckpointResponse(checkpoint=await self._checkpoints.get(request.checkpoint_id))
        operation = await self._store.get(request.operation_id)
        if operation.checkpoint is None:
            raise NotFound(
                f"The operation {operation.id} has no checkpoint: it has not saved yet, it has completed, or they were "
                "deleted.",
                reason="CHECKPOINT_NOT_FOUND",
                metadata={"operation_id": operation.id},
            )
        return pb.GetCheckpointResponse(checkpoint=operation.checkpoint)

    async def ListCheckpoints(self, request: pb.ListCheckpointsRequest, context: Any) -> pb.ListCheckpointsResponse:  # noqa: N802
        with Fields() as fields:
            fields.identifier("operation_id", request.operation_id, optional=True)
            fields.page_size(request.page_size)
        below = read_token(request.page_token, request)
        size = request.page_size or DEFAULT_PAGE
        if request.operation_id:
            await self._store.get(request.operation_id)
        found = await self._checkpoints.page(request.operation_id or None, size + 1, below)
        token = ""
        if len(found) > size:
            last, time = found[size - 1]
            token = make_token((time, last.checkpoint_id), request)
        return pb.ListCheckpointsResponse(
            checkpoints=[checkpoint for checkpoint, _ in found[:size]], next_page_token=token
        )

    async def VerifyCheckpoint(self, request: pb.VerifyCheckpointRequest, context: Any) -> pb.VerifyCheckpointResponse:  # noqa: N802
        checkpoint_id = _checked(request.checkpoint_id)
        problems, size = await self._checkpoints.verify(await self._checkpoints.get(checkpoint_id))
        return pb.VerifyCheckpointResponse(valid=not problems, problems=problems, bytes_read=size)

    async def DeleteCheckpoint(self, request: pb.DeleteCheckpointRequest, context: Any) -> pb.DeleteCheckpointResponse:  # noqa: N802
        freed = await self._checkpoints.delete(_checked(request.checkpoint_id))
        return pb.DeleteCheckpointResponse(bytes_freed=freed)

    async def CleanUpCheckpoints(  # noqa: N802
        self, request: pb.CleanUpCheckpointsRequest, context: Any
    ) -> pb.CleanUpCheckpointsResponse:
        with Fields() as fields:
            fields.at_least("max_age_days", request.max_age_days, 0, 100_000)
        swept = await self._sweep.once(request.max_age_days, dry_run=request.dry_run)
        return pb.CleanUpCheckpointsResponse(
            deleted_checkpoint_ids=swept.checkpoint_ids,
            deleted_uris=swept.deleted,
            bytes_freed=swept.bytes_freed,
            failures=swept.failures,
            quarantined_uris=swept.quarantined,
            bytes_quarantined=swept.bytes_quarantined,
            note=swept.note,
        )

    async def GetCheckpointStats(  # noqa: N802
        self, request: pb.GetCheckpointStatsRequest, context: Any
    ) -> pb.GetCheckpointStatsResponse:
        total, by_type = await self._checkpoints.stats()
        held = await self._sweep.quarantined()
        last = self._sweep.last_time
        return pb.GetCheckpointStatsResponse(
            checkpoints=total["checkpoints"],
            operations=total["operations"],
            bytes=total["bytes"],
            checkpoints_by_type=by_type,
            oldest_age_seconds=total["oldest_age"],
            quarantined=len(held),
            quarantined_bytes=sum(entry.size_bytes for entry in held),
            last_sweep_time=timestamp(datetime.fromtimestamp(last, UTC) if last else None),
        )


def _checked(checkpoint_id: str) -> str:
    with Fields() as fields:
        fields.checkpoint_id("checkpoint_id", checkpoint_id)
    return checkpoint_id
