"""The blocking client, for scripts and notebooks. Derived: every method is the asyncio one, run on the background loop.

Signatures, docstrings and types come from `_async` and `_operation`; a test checks that no method is missing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import closing
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, overload

from holdfast.sdk._async import AsyncClient
from holdfast.sdk._loop import iterate, run
from holdfast.sdk._operation import AsyncOperation, Snapshot
from holdfast.sdk._resources import Update
from holdfast.v1 import operation_pb2

__all__ = ["Client", "Operation", "connect"]

P = ParamSpec("P")
T = TypeVar("T")
AsyncT = TypeVar("AsyncT", AsyncClient, AsyncOperation)


@overload
def _derive(
    method: Callable[Concatenate[AsyncT, P], Coroutine[Any, Any, AsyncOperation]],
) -> Callable[Concatenate[Any, P], Operation]: ...
@overload
def _derive(
    method: Callable[Concatenate[AsyncT, P], Coroutine[Any, Any, list[AsyncOperation]]],
) -> Callable[Concatenate[Any, P], list[Operation]]: ...
@overload
def _derive(
    method: Callable[Concatenate[AsyncT, P], AsyncIterator[Update[AsyncOperation]]],
) -> Callable[Concatenate[Any, P], Generator[Update[Operation], None, None]]: ...
@overload
def _derive(
    method: Callable[Concatenate[AsyncT, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Any, P], T]: ...
def _derive(method: Callable[..., Any]) -> Callable[..., Any]:
    """The blocking form of an asyncio method: same arguments, handles wrapped, iterators stepped."""

    @functools.wraps(method)
    def blocking(self: Client | Operation, /, *arguments: Any, **options: Any) -> Any:
        # This only makes the coroutine or iterator; gRPC's asyncio objects must be touched on their own loop, by run().
        result = method(self._wrapped, *arguments, **options)
        if isinstance(result, AsyncIterator):
            return _steps(result)
        return _wrap(run(result))

    signature = inspect.signature(method)
    returns = str(signature.return_annotation).replace("Async", "")
    blocking.__signature__ = signature.replace(return_annotation=returns)  # type: ignore[attr-defined]
    blocking.__doc__ = (method.__doc__ or "").replace("async context manager", "context manager")
    return blocking


def _steps(iterator: AsyncIterator[Any]) -> Iterator[Any]:
    # Closing this one, or dropping it, closes the stream at once.
    with closing(iterate(iterator)) as steps:
        for item in steps:
            yield _wrap(item)


def _wrap(value: Any) -> Any:
    match value:
        case AsyncOperation():
            return Operation(value)
        case Update():
            return Update(Operation(value.operation), value.event, value.progress)
        case list():
            return [_wrap(item) for item in value]
        case _:
            return value


class Operation(Snapshot):
    """The handle of one operation: `.id .status .progress .checkpoint .failure .result`, and its verbs."""

    def __init__(self, wrapped: AsyncOperation) -> None:
        self._wrapped = wrapped

    @property
    def message(self) -> operation_pb2.Operation:
        return self._wrapped.message

    refresh = _derive(AsyncOperation.refresh)
    wait = _derive(AsyncOperation.wait)
    watch = _derive(AsyncOperation.watch)
    cancel = _derive(AsyncOperation.cancel)
    resume = _derive(AsyncOperation.resume)


class Client:
    """A connection to a coordinator, for scripts and notebooks. Connects at the first call; `close()` it or use `with`.

    `target` is host:port; without it HOLDFAST_COORDINATOR, then what `holdfast up` started in the data directory, then
    127.0.0.1:7400. `patience` is for how many seconds a call goes on trying while the coordinator or its database is
    unavailable. Every method raises holdfast.errors.
    """

    def __init__(self, target: str | None = None, *, patience: float = 10.0) -> None:
        async def make() -> AsyncClient:
            return AsyncClient(target, patience=patience)

        self._wrapped = run(make())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.target}>"

    @property
    def target(self) -> str:
        """The coordinator's host:port."""
        return self._wrapped.target

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    close = _derive(AsyncClient.close)
    train = _derive(AsyncClient.train)
    backtest = _derive(AsyncClient.backtest)
    operation = _derive(AsyncClient.operation)
    operations = _derive(AsyncClient.operations)
    events = _derive(AsyncClient.events)
    models = _derive(AsyncClient.models)
    checkpoint = _derive(AsyncClient.checkpoint)
    checkpoints = _derive(AsyncClient.checkpoints)
    verify_checkpoint = _derive(AsyncClient.verify_checkpoint)
    delete_checkpoint = _derive(AsyncClient.delete_checkpoint)
    clean_up_checkpoints = _derive(AsyncClient.clean_up_checkpoints)
    checkpoint_stats = _derive(AsyncClient.checkpoint_stats)
    workers = _derive(AsyncClient.workers)
    drain_worker = _derive(AsyncClient.drain_worker)
    system_status = _derive(AsyncClient.system_status)


def connect(target: str | None = None, *, patience: float = 10.0) -> Client:
    """Connects and asks for the system's status, so that a wrong address is told at once.

    Raises Unavailable when nobody answers.
    """
    client = Client(target, patience=patience)
    try:
        client.system_status()
    except BaseException:
        client.close()
        raise
    return client
