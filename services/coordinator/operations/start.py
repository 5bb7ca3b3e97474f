"""Makes new operations: checks everything that can be checked before a row exists, and resolves models.

Reads strategies and the market's sidecars; never loads bars, never touches gRPC.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import date
from pathlib import Path

import structlog

from holdfast.errors import Corrupted, InvalidRequest, LostRace, NotFound, NotPossible, Violation
from holdfast.kinds import Kind
from holdfast.market.store import MarketStore
from holdfast.services.coordinator.operations.lifecycle import Status
from holdfast.services.coordinator.operations.records import Operation, serialized
from holdfast.services.coordinator.operations.requests import answered, asked
from holdfast.services.coordinator.operations.store import NewOperation, Store
from holdfast.services.coordinator.operations.transitions import Request
from holdfast.strategy import Strategy, parse_strategy
from holdfast.v1 import coordinator_service_pb2, operation_pb2

__all__ = ["MAX_ATTEMPTS", "Starting"]

log = structlog.get_logger()

MAX_ATTEMPTS = 1000


class Starting:
    """`training` and `backtest` return the new operation, or the one that the same request has made before."""

    def __init__(self, store: Store, market_directory: Path) -> None:
        self._store = store
        self._market = MarketStore(market_directory)

    async def training(self, message: coordinator_service_pb2.StartTrainingRequest) -> Operation:
        """Raises InvalidRequest with a violation per wrong field of request or strategy."""
        request = asked("StartTraining", message.request_id, message)
        repeated = await answered(self._store, request)
        if repeated is not None:
            return await self._store.get(repeated.operation_id)
        spec = operation_pb2.TrainingSpec()
        spec.CopyFrom(message.spec)
        strategy = await self._parse(spec.strategy)
        data = strategy.data
        await self._check_market(strategy, data.train.start, data.test.end)
        return await self._create(Kind.TRAINING, strategy, serialized(spec) or b"", message.max_attempts, request)

    async def backtest(self, message: coordinator_service_pb2.StartBacktestRequest) -> Operation:
        """Raises InvalidRequest, NotFound (MODEL_NOT_FOUND), NotPossible (MODEL_MISMATCH, MODEL_NOT_READY)."""
        request = asked("StartBacktest", message.request_id, message)
        repeated = await answered(self._store, request)
        if repeated is not None:
            return await self._store.get(repeated.operation_id)
        spec = operation_pb2.BacktestSpec()
        spec.CopyFrom(message.spec)
        if not spec.strategy and not spec.model_operation_id:
            raise InvalidRequest(
                "A backtest needs a strategy or a model: both are missing.",
                violations=[Violation("spec.strategy", "''", "a strategy, or a model_operation_id to take it from")],
            )
        given = await self._parse(spec.strategy) if spec.strategy else None
        model = await self._model(spec.model_operation_id, given)
        strategy = given or await self._parse(model.run_spec.strategy)
        if strategy.model_digest() != model.model_digest:
            raise NotPossible(
                f"The model of {model.id} was trained for the strategy {model.strategy_name!r}, whose indicators, "
                f"fuzzy sets, inputs, network or labels are not those of {strategy.name!r}. Train this strategy, or "
                "name a model of it (`holdfast models list`).",
                reason="MODEL_MISMATCH",
                metadata={"operation_id": model.id},
            )
        start, end = _span(spec, strategy)
        await self._check_market(strategy, start, end)
        spec.strategy = spec.strategy or model.run_spec.strategy
        spec.model_operation_id = model.id
        spec.model_uri = operation_pb2.TrainingResult.FromString(model.result or b"").model_uri
        return await self._create(Kind.BACKTEST, strategy, serialized(spec) or b"", message.max_attempts, request)

    async def _create(
        self, kind: str, strategy: Strategy, spec: bytes, max_attempts: int, request: Request
    ) -> Operation:
        new = NewOperation(
            id=f"{kind.lower()}-{secrets.token_hex(6)}",
            kind=kind,
            max_attempts=max_attempts or 1,
            spec=spec,
            strategy_name=strategy.name,
            model_digest=strategy.model_digest(),
        )
        message = f"{kind.capitalize()} of {strategy.name} accepted"
        try:
            operation = await self._store.create(new, request, message, {"strategy_digest": strategy.digest()})
        except LostRace as error:
            # A twin of this call was faster, or our own first try went through and only its answer was lost.
            if error.reason == "REQUEST_REPEATED":
                repeated = await answered(self._store, request)
                if repeated is not None:
                    return await self._store.get(repeated.operation_id)
            if error.reason == "OPERATION_EXISTS":
                return await self._store.get(new.id)
            raise
        log.info("Operation created", operation=operation.id, kind=kind, strategy=strategy.name)
        return operation

    async def _parse(self, text: str) -> Strategy:
        if "\x00" in text:
            raise InvalidRequest(
                "The strategy contains a NUL character.",
                violations=[Violation("spec.strategy", "'\\x00'", "text without NUL characters")],
            )
        # A long YAML takes its time; other calls must not wait for it.
        return await asyncio.to_thread(parse_strategy, text)

    async def _model(self, operation_id: str, strategy: Strategy | None) -> Operation:
        if operation_id:
            model = await self._store.find(operation_id)
            if model is None or model.kind is not Kind.TRAINING:
                raise _no_model(f"There is no training {operation_id}.", operation_id)
            if model.status is not Status.COMPLETED:
                raise NotPossible(
                    f"The training {operation_id} is {model.status.value}: it has no model yet. Wait until it is "
                    "COMPLETED, or name another (`holdfast models list`).",
                    reason="MODEL_NOT_READY",
                    metadata={"operation_id": operation_id},
                )
            return model
        assert strategy is not None  # checked by `backtest`
        newest = await self._store.newest_model(strategy.model_digest())
        if newest is None:
            raise _no_model(f"No completed training has a model for the strategy {strategy.name!r}.", "")
        return newest

    async def _check_market(self, strategy: Strategy, start: date, end: date) -> None:
        """Workers check again: here only, so that a wrong symbol is refused before anything is written."""
        data = strategy.data
        if not self._market.directory.is_dir():
            return
        try:
            await asyncio.to_thread(self._market.check, data.symbols, data.timeframes, start, end)
        except (OSError, Corrupted) as error:
            log.warning("Market data not checked", error=str(error))


def _span(spec: operation_pb2.BacktestSpec, strategy: Strategy) -> tuple[date, date]:
    test = strategy.data.test
    start = date.fromisoformat(spec.start_date) if spec.start_date else test.start
    end = date.fromisoformat(spec.end_date) if spec.end_date else test.end
    if start > end:
        raise InvalidRequest(
            f"The backtest would start on {start}, after its end on {end}.",
            violations=[Violation("spec.start_date", str(start), f"a day not after {end}")],
        )
    return start, end


def _no_model(why: str, operation_id: str) -> NotFound:
    return NotFound(
        f"{why} Train one first (`holdfast train`), or see `holdfast models list`.",
        reason="MODEL_NOT_FOUND",
        metadata={"operation_id": operation_id} if operation_id else {},
    )
