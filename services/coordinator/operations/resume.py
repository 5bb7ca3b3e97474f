"""Continues what FAILED or was CANCELLED from a checkpoint that verifies. Owns the choice of the checkpoint.

Of many concurrent calls for one operation one wins: the losers wait for its verification instead of repeating it, and
one compare-and-set decides.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from holdfast.artifacts.catalogue import load_checkpoint
from holdfast.artifacts.checkpoint import path_of
from holdfast.errors import Corrupted, HoldfastError, LostRace, NotFound, NotPossible
from holdfast.kinds import WORKER_KINDS, position
from holdfast.market.changes import DataChange
from holdfast.market.store import MarketStore
from holdfast.services.coordinator.catalogue.checkpoints import Checkpoint, Checkpoints
from holdfast.services.coordinator.operations.lifecycle import RESUMABLE, Status
from holdfast.services.coordinator.operations.records import (
    Operation,
    checkpoint_ref,
    serialized,
)
from holdfast.services.coordinator.operations.requests import answered
from holdfast.services.coordinator.operations.store import Store
from holdfast.services.coordinator.operations.transitions import Request, Transitions
from holdfast.strategy import parse_strategy
from holdfast.v1 import checkpoint_pb2

__all__ = ["CONCURRENT", "Resumed", "Resuming"]

log = structlog.get_logger()

# A call that comes so soon after another resume won was concurrent with it, as its caller sees it.
CONCURRENT = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class Resumed:
    """The operation under its new attempt, and what it continues from."""

    operation: Operation
    checkpoint: Checkpoint


class Resuming:
    """`resume` for callers and for the automatic resume."""

    def __init__(
        self, store: Store, transitions: Transitions, checkpoints: Checkpoints, market_directory: Path
    ) -> None:
        self._store = store
        self._transitions = transitions
        self._checkpoints = checkpoints
        self._market = MarketStore(market_directory)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def resume(
        self,
        operation_id: str,
        request: Request,
        *,
        named: checkpoint_pb2.CheckpointRef | None = None,
        allow_data_change: bool = False,
        automatic: bool = False,
    ) -> Resumed:
        """Raises NotFound, NotPossible (OPERATION_NOT_RESUMABLE, MARKET_DATA_CHANGED), LostRace, Corrupted."""
        repeated = await self._repeated(request)
        if repeated is not None:
            return repeated
        lock = self._locks[operation_id]
        try:
            async with lock:
                return await self._resume(operation_id, request, named, allow_data_change, automatic)
        finally:
            # Nobody waits: the next call makes a new one.
            if not lock.locked() and self._locks.get(operation_id) is lock:
                del self._locks[operation_id]

    async def _resume(
        self,
        operation_id: str,
        request: Request,
        named: checkpoint_pb2.CheckpointRef | None,
        allow_data_change: bool,
        automatic: bool,
    ) -> Resumed:
        operation = await self._store.get(operation_id)
        if operation.status not in RESUMABLE or operation.kind not in WORKER_KINDS:
            return await self._repeated_or(request, _not_resumable(operation))
        # Once allowed, at the start or by a resume, it stays so: the automatic resume asks nobody.
        allow_data_change = allow_data_change or operation.run_spec.allow_data_change
        checkpoint = await self._choose(operation, named)
        changed = await self._check_market(operation, checkpoint, allow_data_change)
        step = f"Resumed from {position(checkpoint)} (attempt {checkpoint.attempt})"
        message = f"{step}{'; the market data has changed since, as allowed' if changed else ''}"
        try:
            moved = await self._transitions.resume(
                operation,
                checkpoint.checkpoint_id,
                _spec(operation, allow_data_change),
                message,
                automatic=automatic,
                request=request,
                above=await self._checkpoints.newest_attempt(operation.id),
            )
        except LostRace as error:
            return await self._repeated_or(request, error)
        if moved is None:
            return await self._repeated_or(request, _lost_race(operation_id))
        log.info(
            "Operation resumed",
            operation=moved.id,
            attempt=moved.attempt,
            checkpoint=checkpoint.checkpoint_id,
            automatic=automatic,
        )
        return Resumed(moved, checkpoint)

    async def _repeated_or(self, request: Request, error: HoldfastError) -> Resumed:
        # The winner of a race may be this very request, sent twice.
        repeated = await self._repeated(request)
        if repeated is None:
            raise error
        return repeated

    async def _repeated(self, request: Request) -> Resumed | None:
        answer = await answered(self._store, request)
        if answer is None:
            return None
        operation = await self._store.get(answer.operation_id)
        try:
            checkpoint = await self._checkpoints.get(answer.checkpoint_id)
        except NotFound:
            # It has done its work and is gone; its name is all that the caller gets.
            checkpoint = Checkpoint(checkpoint_id=answer.checkpoint_id, operation_id=operation.id)
        return Resumed(operation, checkpoint)

    async def _choose(self, operation: Operation, named: checkpoint_pb2.CheckpointRef | None) -> Checkpoint:
        """The named one if it verifies, else the newest that does; what does not is marked and recorded."""
        if named is not None and (named.checkpoint_id or named.uri):
            return await self._named(operation, named)
        await self._checkpoints.discover(operation)
        candidates = await self._checkpoints.of_operation(operation.id)
        if not candidates:
            raise _nothing_saved(operation)
        problem: HoldfastError | None = None
        # Those known to be corrupt come last: a repaired file gets its chance when there is no better one.
        for checkpoint, corrupt in sorted(candidates, key=lambda pair: pair[1]):
            try:
                await self._verify(operation, checkpoint)
            except (Corrupted, NotFound) as error:
                problem = error
                if not corrupt:
                    await self._checkpoints.mark_corrupt(checkpoint.checkpoint_id)
                    await self._store.record_event(
                        operation.id,
                        "CHECKPOINT_CORRUPTED",
                        f"The checkpoint at {position(checkpoint)} is passed over: {error.message}",
                        {"checkpoint_id": checkpoint.checkpoint_id},
                    )
                    log.warning("Checkpoint passed over", checkpoint=checkpoint.checkpoint_id, error=error.message)
                continue
            return checkpoint
        assert problem is not None
        raise Corrupted(
            f"None of the {len(candidates)} checkpoints of {operation.id} can be used. The last problem: "
            f"{problem.message} Start the operation over.",
            metadata={"operation_id": operation.id},
        ) from problem

    async def _named(self, operation: Operation, named: checkpoint_pb2.CheckpointRef) -> Checkpoint:
        identifier = path_of(named)
        for checkpoint, _ in await self._checkpoints.of_operation(operation.id):
            if checkpoint.checkpoint_id == identifier:
                break
        else:
            raise NotFound(
                f"The operation {operation.id} has no checkpoint {identifier}. "
                f"See `holdfast checkpoints list {operation.id}`.",
                reason="CHECKPOINT_NOT_FOUND",
                metadata={"operation_id": operation.id, "checkpoint_id": identifier},
            )
        try:
            await self._verify(operation, checkpoint)
        except (Corrupted, NotFound) as error:
            await self._checkpoints.mark_corrupt(checkpoint.checkpoint_id)
            raise Corrupted(
                f"The checkpoint {checkpoint.checkpoint_id} cannot be used: {error.message} Resume without naming one: "
                "the newest that verifies is taken.",
                metadata={"operation_id": operation.id, "checkpoint_id": checkpoint.checkpoint_id},
            ) from error
        return checkpoint

    async def _verify(self, operation: Operation, checkpoint: Checkpoint) -> None:
        await asyncio.to_thread(
            load_checkpoint, self._checkpoints.artifacts, checkpoint_ref(checkpoint), operation_id=operation.id
        )

    async def _check_market(self, operation: Operation, checkpoint: Checkpoint, allowed: bool) -> bool:
        """Whether the data has changed since, which has to be allowed. Where no market lies here, the worker looks."""
        text = operation.run_spec.strategy
        if not checkpoint.data_digest or not text or not self._market.directory.is_dir():
            return False
        strategy = await asyncio.to_thread(parse_strategy, text)
        try:
            digest = await asyncio.to_thread(self._market.digest, strategy.data.symbols, strategy.data.timeframes)
        except (NotFound, Corrupted, OSError) as error:
            log.warning("Market data not compared", operation=operation.id, error=str(error))
            return False
        if digest == checkpoint.data_digest:
            return False
        if not allowed:
            change = DataChange(", ".join(strategy.data.symbols), checkpoint.data_digest, digest)
            raise change.refuse(position(checkpoint), operation_id=operation.id, checkpoint_id=checkpoint.checkpoint_id)
        return True


def _spec(operation: Operation, allow_data_change: bool) -> bytes:
    spec = operation.run_spec
    spec.allow_data_change = allow_data_change
    return serialized(spec) or b""


def _not_resumable(operation: Operation) -> HoldfastError:
    recent = operation.resume_time is not None and (
        (datetime.now(UTC) - operation.resume_time).total_seconds() < CONCURRENT
    )
    if operation.status is Status.RESUMING or (operation.status is Status.RUNNING and recent):
        return _lost_race(operation.id)
    if operation.kind not in WORKER_KINDS:
        what = "A research and its children are resumed by the research service."
    elif operation.status is Status.COMPLETED:
        what = "It has completed: there is nothing left to do."
    else:
        what = "It has not ended: cancel it first, or wait."
    return NotPossible(
        f"The operation {operation.id} is {operation.status.value} and cannot be resumed. {what}",
        reason="OPERATION_NOT_RESUMABLE",
        metadata={"operation_id": operation.id, "status": operation.status.value},
    )


def _lost_race(operation_id: str) -> LostRace:
    return LostRace(
        f"Another resume of {operation_id} was first. Watch it with `holdfast operations watch {operation_id}`.",
        reason="RESUME_LOST_RACE",
        metadata={"operation_id": operation_id},
    )


def _nothing_saved(operation: Operation) -> NotFound:
    return NotFound(
        f"The operation {operation.id} has no checkpoint to resume from. It {operation.status.value.lower()} before "
        "its first save, its checkpoints have expired, or they were deleted. Start it over.",
        reason="CHECKPOINT_NOT_FOUND",
        metadata={"operation_id": operation.id},
    )
