"""A real worker process, and the coordinator's side of its three conversations, for the worker's tests only."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from holdfast.rpc import Server, Service, create_channel, create_server
from holdfast.v1 import (
    checkpoint_pb2,
    coordinator_service_pb2,
    coordinator_service_pb2_grpc,
    operation_pb2,
    trainer_service_pb2_grpc,
    worker_pb2,
)
from tests.support.waiting import PATIENCE, until

HERE = Path(__file__).parent


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in {"Z", "X"}


class Stream:
    """One Supervise stream as the coordinator holds it."""

    def __init__(
        self, channel: grpc.aio.Channel, term: int, acknowledges: bool, nonce: str = "", *, speaks: bool = True
    ) -> None:
        self.term = term
        self.acknowledges = acknowledges
        self.nonce = nonce
        self.speaks = speaks
        self.received: list[worker_pb2.WorkerMessage] = []
        self.heard: Path | None = None  # where runs find out that their READY has come here
        self.over = asyncio.Event()
        self.code: grpc.StatusCode | None = None
        self._channel = channel
        self._writing = asyncio.Lock()  # one write at a time: gRPC breaks the call otherwise
        self._call = trainer_service_pb2_grpc.TrainerServiceStub(channel).Supervise()
        self._reader = asyncio.create_task(self._read(), name="test stream")

    async def send(self, **message: Any) -> None:
        """Writes one CoordinatorMessage."""
        outgoing = worker_pb2.CoordinatorMessage(coordinator_term=self.term, registration_nonce=self.nonce, **message)
        async with self._writing:
            await self._call.write(outgoing)

    async def send_raw(self, message: worker_pb2.CoordinatorMessage) -> None:
        """Writes a message as it stands."""
        async with self._writing:
            await self._call.write(message)

    async def acknowledge(self, *sequences: int) -> None:
        """Acknowledges durable facts."""
        await self.send(acknowledgement=worker_pb2.Acknowledgement(sequences=sequences))

    async def close(self) -> None:
        """Breaks the stream off."""
        self._call.cancel()
        self._reader.cancel()  # a write that waits for a connection does not see the call's own cancel
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._channel.close()

    def facts(self, name: str) -> list[Any]:
        """Received facts of one kind."""
        return [getattr(message, name) for message in self.received if message.WhichOneof("fact") == name]

    async def _read(self) -> None:
        try:
            if self.speaks:
                await self.acknowledge()  # the first word, by which the worker learns the term
            async for message in self._call:
                self.received.append(message)
                if self.heard is not None and message.notice.type == "READY":
                    (self.heard / f"{message.notice.run.operation_id}-{message.notice.run.attempt}").touch()
                if message.sequence and self.acknowledges:
                    await self.acknowledge(message.sequence)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            self.code = error.code() if isinstance(error, grpc.aio.AioRpcError) else None
        finally:
            self.over.set()


class Coordinator(coordinator_service_pb2_grpc.CoordinatorServiceServicer):
    """Answers RegisterWorker and dials back; keeps everything it hears."""

    def __init__(self) -> None:
        self.term = 1
        self.acknowledges = True
        self.dials_back = True
        self.refuses: Exception | None = None
        self.stop_runs: list[worker_pb2.RunRef] = []
        self.acknowledged_runs: list[worker_pb2.RunRef] = []
        self.registrations: list[coordinator_service_pb2.RegisterWorkerRequest] = []
        self.refused = 0
        self.streams: list[Stream] = []
        self.heard: Path | None = None
        self.server: Server | None = None

    async def start(self, listen: str = "127.0.0.1:0") -> None:
        """Binds and serves."""
        add = coordinator_service_pb2_grpc.add_CoordinatorServiceServicer_to_server
        self.server = create_server(listen, [Service(add, self, "holdfast.v1.CoordinatorService")])
        await self.server.start()

    async def stop(self) -> None:
        """Stops to answer and breaks every stream off; in this order, so that no registration opens another."""
        if self.server is not None:
            await self.server.stop(0)
            self.server = None
        for stream in self.streams:
            await stream.close()

    async def RegisterWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - a name of the protocol
        """Takes the worker in, unless told to refuse."""
        if self.refuses is not None:
            self.refused += 1
            raise self.refuses
        self.registrations.append(request)
        if self.dials_back:
            self.dial(request.address)
        return coordinator_service_pb2.RegisterWorkerResponse(
            coordinator_term=self.term, stop_runs=self.stop_runs, acknowledged_runs=self.acknowledged_runs
        )

    def dial(self, address: str) -> Stream:
        """Opens a Supervise stream that answers the newest registration."""
        stream = Stream(create_channel(address), self.term, self.acknowledges, self.registrations[-1].nonce)
        stream.heard = self.heard
        self.streams.append(stream)
        return stream

    @property
    def stream(self) -> Stream:
        """The newest stream."""
        return self.streams[-1]

    def facts(self, name: str) -> list[Any]:
        """Facts of one kind over all streams."""
        return [fact for stream in self.streams for fact in stream.facts(name)]

    def finished(self, operation_id: str) -> list[worker_pb2.RunFinished]:
        """Reported ends of one operation."""
        return [fact for fact in self.facts("run_finished") if fact.run.operation_id == operation_id]

    def notices(self, operation_id: str, kind: str) -> list[worker_pb2.RunNotice]:
        """Notices of one operation."""
        return [f for f in self.facts("notice") if f.run.operation_id == operation_id and f.type == kind]

    async def end_of(self, operation_id: str) -> worker_pb2.RunFinished:
        """Waits for an operation's end."""
        await until(lambda: self.finished(operation_id), f"the end of {operation_id}")
        return self.finished(operation_id)[0]

    async def ready(self, operation_id: str) -> worker_pb2.RunNotice:
        """Waits for a run to say READY."""
        await until(lambda: self.notices(operation_id, "READY"), f"{operation_id} ready")
        return self.notices(operation_id, "READY")[0]

    async def pid_of(self, operation_id: str) -> int:
        """Waits for a run's process; its number."""
        await until(lambda: self.notices(operation_id, "STARTED"), f"{operation_id} started")
        return int(self.notices(operation_id, "STARTED")[-1].details["pid"])


class Worker:
    """A trainer process with the tests' run kinds."""

    def __init__(self, home: Path, port: int, **settings: str) -> None:
        self.home = home
        self.log = home / "worker.log"
        self._environment = {
            **os.environ,
            "HOLDFAST_COORDINATOR": f"127.0.0.1:{port}",
            "HOLDFAST_DATA_DIR": str(home),
            "HOLDFAST_WORKER_ID": "w1",
            "HOLDFAST_SLOTS": "2",
            "HOLDFAST_GRACE_SECONDS": "10",
            "HEARTBEAT_INTERVAL_SECONDS": "0.1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
            **settings,
        }
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts the process."""
        program = (
            "import sys; from holdfast.worker import run_worker; "
            "sys.exit(run_worker('trainer', execute='worker_runs:execute', preload=['json']))"
        )
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, env=self._environment, stderr=log, stdout=log
            )

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self.process is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        """Signals the worker only."""
        assert self.process is not None
        self.process.send_signal(number)

    async def exit_code(self) -> int:
        """Waits for its end."""
        assert self.process is not None
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def kill(self) -> None:
        """SIGKILL, and waits."""
        if self.process is not None and self.process.returncode is None:
            self.signal(signal.SIGKILL)
            await self.exit_code()

    def text(self) -> str:
        """What it logged."""
        return self.log.read_text()


class Proxy:
    """Stands before the worker's port; can swallow every byte without closing a connection."""

    def __init__(self) -> None:
        self._listener, self._reserved = _free_port(), _free_port()
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.target = f"127.0.0.1:{self._reserved.getsockname()[1]}"
        self._swallowing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Proxy:
        self._reserved.close()
        self._server = await asyncio.start_server(self._connected, sock=self._listener)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    def swallow(self) -> None:
        """From now on nothing gets through."""
        self._swallowing = True

    def pass_on(self) -> None:
        """New bytes get through again; what was swallowed stays so."""
        self._swallowing = False

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.target.partition(":")
        try:
            other_reader, other_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        self._writers += [writer, other_writer]
        for pair in ((reader, other_writer), (other_reader, writer)):
            self._tasks.add(asyncio.create_task(self._pump(*pair)))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dead = False  # a stream with a hole in it must never be read again
        try:
            while data := await reader.read(65_536):
                dead = dead or self._swallowing
                if not dead:
                    writer.write(data)
        except OSError:
            return
        finally:
            if not dead:
                writer.close()


def _free_port() -> socket.socket:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


class Bench:
    """A coordinator, a worker, and the calls a test makes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.coordinator = Coordinator()  # type: ignore[abstract]  # gRPC answers UNIMPLEMENTED for the rest
        self.coordinator.heard = home / "heard"
        self.coordinator.heard.mkdir()
        self.worker: Worker | None = None
        self._channels: list[grpc.aio.Channel] = []

    async def up(self, **settings: str) -> None:
        """Starts a worker and waits for its stream."""
        before = len(self.coordinator.streams)
        await self.start(**settings)
        await until(lambda: len(self.coordinator.streams) > before and self.coordinator.stream.received, "a stream")

    async def start(self, **settings: str) -> None:
        """Starts a worker."""
        assert self.coordinator.server is not None
        self.worker = Worker(self.home, self.coordinator.server.port, **settings)
        await self.worker.start()

    @property
    def stub(self) -> trainer_service_pb2_grpc.TrainerServiceAsyncStub:
        """The worker's service at its newest address."""
        channel = create_channel(self.coordinator.registrations[-1].address, retries=False)
        self._channels.append(channel)
        return trainer_service_pb2_grpc.TrainerServiceStub(channel)

    async def run(self, operation_id: str, attempt: int = 1, term: int = 1, **order: Any) -> None:
        """Assigns a run."""
        await self.stub.StartRun(
            worker_pb2.StartRunRequest(assignment=assignment(operation_id, attempt, term, **order))
        )

    async def resume(self, operation_id: str, attempt: int, checkpoint_id: str, **order: Any) -> None:
        """Assigns a run that continues."""
        resumed = assignment(operation_id, attempt, **order)
        resumed.checkpoint.MergeFrom(checkpoint_pb2.CheckpointRef(checkpoint_id=checkpoint_id, uri=checkpoint_id))
        await self.stub.ResumeRun(worker_pb2.ResumeRunRequest(assignment=resumed))

    async def cancel(self, operation_id: str, attempt: int = 1, term: int = 1, reason: str = "user") -> None:
        """Cancels a run."""
        run = worker_pb2.RunRef(operation_id=operation_id, attempt=attempt)
        await self.stub.CancelRun(worker_pb2.CancelRunRequest(run=run, coordinator_term=term, reason=reason))

    async def state(self) -> worker_pb2.WorkerState:
        """The worker's own word."""
        return (await self.stub.GetWorkerState(worker_pb2.GetWorkerStateRequest())).state

    async def close(self) -> None:
        """Ends everything."""
        for channel in self._channels:
            await channel.close()
        if self.worker is not None:
            await self.worker.kill()
        await self.coordinator.stop()


def assignment(operation_id: str, attempt: int = 1, term: int = 1, **order: Any) -> worker_pb2.RunAssignment:
    """An assignment whose strategy says what the test's run kind does."""
    return worker_pb2.RunAssignment(
        run=worker_pb2.RunRef(operation_id=operation_id, attempt=attempt),
        coordinator_term=term,
        training=operation_pb2.TrainingSpec(strategy=json.dumps(order)),
    )


@asynccontextmanager
async def bench_in(home: Path) -> AsyncIterator[Bench]:
    """A bench with its coordinator up and no worker yet."""
    bench = Bench(home)
    await bench.coordinator.start()
    try:
        yield bench
    finally:
        await bench.close()
