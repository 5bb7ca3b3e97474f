"""Believes what a worker says of the artifact store only when the store says the same. Owns that look; writes nothing.

Whatever a fact names must lie in its own operation's directory, under the name that its operation and attempt make,
with a manifest of the stated digest that names the same operation. The manifest then speaks for all the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from holdfast.artifacts.checkpoint import checkpoint_from_manifest
from holdfast.artifacts.manifest import read_manifest
from holdfast.artifacts.store import Store as ArtifactStore
from holdfast.errors import HoldfastError, InvalidRequest, NotFound, Unavailable
from holdfast.services.coordinator.postgres.patience import PATIENCE
from holdfast.v1 import checkpoint_pb2, operation_pb2, worker_pb2

__all__ = ["FIRST_WAIT", "LONGEST_WAIT", "NOT_VERIFIED", "RESULT_NOT_VERIFIED", "Evidence", "Result"]

log = structlog.get_logger()

FIRST_WAIT, LONGEST_WAIT = 0.2, 10.0  # seconds between two looks at a store that is unavailable

NOT_VERIFIED = "CHECKPOINT_NOT_VERIFIED"
RESULT_NOT_VERIFIED = "RESULT_NOT_VERIFIED"

Result = operation_pb2.TrainingResult | operation_pb2.BacktestResult


class Evidence:
    """A patient task waits for a store that is unavailable, as for a lost database; a caller is told at once."""

    def __init__(
        self,
        artifacts: ArtifactStore,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._artifacts = artifacts
        self._sleep = sleep

    async def of_checkpoint(
        self, run: worker_pb2.RunRef, checkpoint: checkpoint_pb2.Checkpoint
    ) -> checkpoint_pb2.Checkpoint:
        """The checkpoint as its manifest describes it.

        Raises InvalidRequest (CHECKPOINT_NOT_VERIFIED), and Unavailable for a store that is unavailable.
        """
        identifier = checkpoint.checkpoint_id
        if checkpoint.uri != identifier:
            raise _not_verified(identifier, f"its address is {checkpoint.uri[:200]!r} and not its id")
        manifest, digest, size = await self._manifest(identifier, checkpoint.manifest_digest, NOT_VERIFIED)
        try:
            size += sum(row["size"] for row in manifest["artifacts"].values())
            stored = checkpoint_from_manifest(manifest, identifier=identifier, manifest_digest=digest, size_bytes=size)
        except ValueError as error:
            raise _not_verified(identifier, str(error)) from error
        if (stored.operation_id, stored.attempt) != (run.operation_id, run.attempt):
            raise _not_verified(identifier, f"its manifest names {stored.operation_id}, attempt {stored.attempt}")
        return stored

    async def of_result(self, run: worker_pb2.RunRef, kind: str, result: Result | None) -> None:
        """Raises InvalidRequest (RESULT_NOT_VERIFIED) unless the operation's model or result is where it has to be."""
        if isinstance(result, operation_pb2.TrainingResult) and kind == "TRAINING":
            path, found, digest, word = f"model-{run.attempt}", result.model_uri, result.model_digest, "model"
        elif isinstance(result, operation_pb2.BacktestResult) and kind == "BACKTEST":
            path, found, digest, word = f"result-{run.attempt}", result.result_uri, result.result_digest, "backtest"
        else:
            raise InvalidRequest(f"It brings no result of a {kind.lower()}.", reason=RESULT_NOT_VERIFIED)
        path = f"{run.operation_id}/{path}"
        if found != path:
            words = f"It names {found[:200]!r} as its result, which has to lie at {path}."
            raise InvalidRequest(words, reason=RESULT_NOT_VERIFIED)
        manifest, _, _ = await self._manifest(path, digest, RESULT_NOT_VERIFIED)
        if (manifest.get("kind"), manifest.get("operation_id")) != (word, run.operation_id):
            raise InvalidRequest(f"The manifest at {path} is not that of this result.", reason=RESULT_NOT_VERIFIED)

    async def _manifest(self, path: str, digest: str, reason: str) -> tuple[dict[str, Any], str, int]:
        if len(digest) != 64:
            raise InvalidRequest(f"The manifest's digest of {path} is missing.", reason=reason)
        wait = FIRST_WAIT
        while True:
            try:
                return await asyncio.to_thread(self._read, path, digest)
            except (OSError, Unavailable) as error:
                if PATIENCE.get() is not None:
                    raise _away(self._artifacts, error) from error
                if wait == FIRST_WAIT:
                    log.warning("Fact waits for the artifact store", path=path, error=str(error))
            except HoldfastError as error:
                raise InvalidRequest(error.message, reason=reason) from error
            await self._sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _read(self, path: str, digest: str) -> tuple[dict[str, Any], str, int]:
        try:
            return read_manifest(self._artifacts, path, digest)
        except NotFound as error:
            # A store that is not mounted is an empty directory. Ours never is empty: it holds at least its own id.
            if next(self._artifacts.list(), None) is None:
                raise _away(self._artifacts, error) from error
            raise


def _not_verified(identifier: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"The checkpoint {identifier} is not believed: {problem}.", reason=NOT_VERIFIED)


def _away(artifacts: ArtifactStore, error: Exception) -> Unavailable:
    return Unavailable(
        f"The artifact store {artifacts.url} cannot be read now ({error}). Check that it is mounted or reachable.",
        reason="STORE_UNAVAILABLE",
    )
