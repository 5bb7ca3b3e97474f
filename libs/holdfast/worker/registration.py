"""Tells the coordinator that this worker is here, for ever: at start, and whenever the Supervise stream is gone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import grpc
import structlog
import tenacity

from holdfast import __version__
from holdfast.errors import HoldfastError
from holdfast.rpc import create_channel, error_from_rpc
from holdfast.v1 import coordinator_service_pb2, coordinator_service_pb2_grpc, worker_pb2
from holdfast.worker.factqueue import FactQueue
from holdfast.worker.fence import Fence
from holdfast.worker.host.executor import Executor
from holdfast.worker.identity import Identity
from holdfast.worker.slots import Slots
from holdfast.worker.stream import SupervisionStream

__all__ = ["Registration"]

log = structlog.get_logger()

_CALL_SECONDS = 4.0
_DIAL_BACK_SECONDS = 4.0  # a coordinator that registered us and did not dial back is asked again
_BACKOFF_SECONDS = 2.0  # at most: workers are back within five seconds of a coordinator's restart
_SHORT_LIFE_SECONDS = 2.0  # a stream that ended sooner counts as dropped
_ENDS_BYTES = 2 * 1024 * 1024  # of a registration, which must fit into what a server takes
_LOG_EVERY = 10  # failures, after the first


class Registration:
    """The loop that keeps this worker known."""

    def __init__(
        self,
        coordinator: str,
        address: str,
        identity: Identity,
        slots: Slots,
        facts: FactQueue,
        fence: Fence,
        supervision: SupervisionStream,
        executor: Executor,
    ) -> None:
        self._coordinator = coordinator
        self._address = address
        self._identity = identity
        self._slots = slots
        self._facts = facts
        self._fence = fence
        self._supervision = supervision
        self._executor = executor

    async def keep(self) -> None:
        """Registers, waits for the stream, and registers again when the stream is lost. Until cancelled."""
        short_lived = 0
        while True:
            await self._register()
            try:
                async with asyncio.timeout(_DIAL_BACK_SECONDS):
                    await self._supervision.connected.wait()
            except TimeoutError:
                log.warning("Coordinator did not dial back; registering again", address=self._address)
                continue
            connected = asyncio.get_running_loop().time()
            await self._supervision.lost.wait()
            log.warning("Supervise stream lost; registering again")
            lived = asyncio.get_running_loop().time() - connected
            short_lived = short_lived + 1 if lived < _SHORT_LIFE_SECONDS else 0
            if short_lived > 1:
                # A coordinator that takes us in and drops us again must not be hammered.
                await asyncio.sleep(random.uniform(0.5, 1.0) * min(_BACKOFF_SECONDS, 0.1 * 2**short_lived))

    async def _register(self) -> None:
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(HoldfastError),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=_BACKOFF_SECONDS),
            before_sleep=self._complain,
        ):
            with attempt:
                await self._register_once()

    async def _register_once(self) -> None:
        # A new channel each time: no backoff of an old connection, no stale name resolution.
        channel = create_channel(self._coordinator, retries=False)
        stub = coordinator_service_pb2_grpc.CoordinatorServiceStub(channel)
        try:
            response = await stub.RegisterWorker(self._request(), timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from error
        finally:
            await channel.close()
        # Not yet the proof: the fence moves with the stream that this coordinator opens.
        self._fence.check(response.coordinator_term)
        self._facts.acknowledge_ends(response.acknowledged_runs)
        for run in response.stop_runs:
            self._slots.fence(run, "the coordinator does not want this run to go on")
        log.info(
            "Registered",
            coordinator=self._coordinator,
            term=response.coordinator_term,
            stopped=len(response.stop_runs),
            acknowledged=len(response.acknowledged_runs),
        )

    def _request(self) -> coordinator_service_pb2.RegisterWorkerRequest:
        reported, claimed = _fitting(self._facts.ends())
        return coordinator_service_pb2.RegisterWorkerRequest(
            worker_id=self._identity.worker_id,
            incarnation=self._identity.incarnation,
            kind=self._identity.kind,
            address=self._address,
            slots=self._slots.capacity,
            capabilities=self._executor.capabilities,
            current_runs=[*self._slots.states(), *claimed],
            finished_runs=reported,
            fingerprint=dict(self._executor.fingerprint),
            version=__version__,
            draining=self._slots.draining,
            nonce=self._fence.challenge(),
        )

    def _complain(self, state: tenacity.RetryCallState) -> None:
        if state.attempt_number % _LOG_EVERY == 1 and state.outcome is not None:
            error = state.outcome.exception()
            text = error.message if isinstance(error, HoldfastError) else repr(error)
            log.warning(
                "Not registered; trying on", coordinator=self._coordinator, tries=state.attempt_number, error=text
            )


def _fitting(ends: Sequence[worker_pb2.RunFinished]) -> tuple[list[worker_pb2.RunFinished], list[worker_pb2.RunState]]:
    """The ends that a registration tells, and the others as runs that it claims: those come with the stream.

    Neither reported nor claimed, they would be declared orphans before they are heard.
    """
    reported: list[worker_pb2.RunFinished] = []
    claimed: list[worker_pb2.RunState] = []
    size = 0
    for finished in ends:
        size += finished.ByteSize()
        if size <= _ENDS_BYTES:
            reported.append(finished)
        else:
            claimed.append(worker_pb2.RunState(run=finished.run))
    return reported, claimed
