"""Facts made by Hypothesis against a real coordinator: whatever a worker says, it lives, and others are undisturbed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from holdfast.v1 import worker_pb2
from tests.support.coordinator import running_coordinator
from tests.support.scripted_worker import ScriptedWorker, failed

WORDS = st.one_of(
    st.sampled_from(["", "op-1", "op-2", "\x00", "../../etc", "op-1/1-5", "op-2/1-5", "x" * 300, "COMPLETED"]),
    st.text(max_size=20),
)
NUMBERS = st.one_of(st.integers(-2, 6), st.sampled_from([2**31 - 1, -(2**31), 900]))
LONG_NUMBERS = st.one_of(NUMBERS, st.sampled_from([2**50, -(2**50), 2**63 - 1, -(2**63)]))


def values(field: Any) -> st.SearchStrategy[Any]:
    """Anything that the wire can carry in a field."""
    kinds: dict[int, st.SearchStrategy[Any]] = {
        FieldDescriptor.CPPTYPE_STRING: WORDS,
        FieldDescriptor.CPPTYPE_INT32: NUMBERS,
        FieldDescriptor.CPPTYPE_INT64: LONG_NUMBERS,
        FieldDescriptor.CPPTYPE_ENUM: NUMBERS,
        FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
        FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    }
    if field.message_type is not None:
        return bodies(field.message_type)
    return kinds[field.cpp_type]


def bodies(kind: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Any message of a kind, as the arguments of its class; of a oneof at most one field."""

    def one(field: Any) -> st.SearchStrategy[Any]:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            pair = entry.fields_by_name
            return st.dictionaries(values(pair["key"]), values(pair["value"]), max_size=3)
        if field.is_repeated:
            return st.lists(values(field), max_size=3)
        return values(field)

    body = st.fixed_dictionaries(
        {}, optional={field.name: one(field) for field in kind.fields if field.containing_oneof is None}
    )
    for oneof in kind.oneofs:
        choice = st.one_of([st.fixed_dictionaries({field.name: one(field)}) for field in oneof.fields])
        body = st.builds(lambda left, right: {**left, **right}, body, choice)
    return body


def made_up(number: int) -> list[dict[str, Any]]:
    """Facts of every kind but hello, which belongs to the stream's own beginning."""
    fields = worker_pb2.WorkerMessage.DESCRIPTOR.fields_by_name
    names = ["heartbeat", "progress", "checkpoint_saved", "run_finished", "notice"]
    made = []

    @settings(
        max_examples=number, phases=[Phase.generate], database=None, derandomize=True, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(said=st.one_of([st.fixed_dictionaries({name: values(fields[name])}) for name in names]))
    def collect(said: dict[str, Any]) -> None:
        made.append(said)

    collect()
    return made


def about(value: Any, operation_id: str) -> Any:
    """The same with a real operation's id in the place of "op-1"."""
    if isinstance(value, str):
        return value.replace("op-1", operation_id)
    if isinstance(value, dict):
        return {about(key, operation_id): about(item, operation_id) for key, item in value.items()}
    return [about(item, operation_id) for item in value] if isinstance(value, list) else value


async def test_whatever_a_worker_says_the_coordinator_lives(database_url: str, tmp_path: Path) -> None:
    said = await asyncio.to_thread(made_up, 300)
    async with (
        running_coordinator(database_url, tmp_path) as caller,
        ScriptedWorker(caller.address, "fuzzer") as fuzzer,
        ScriptedWorker(caller.address, "other") as other,
    ):
        await other.register()
        operation_id = (await caller.start()).operation_id
        await other.assigned()
        await fuzzer.register()
        # Half of what it says is about a run that was given to the other.
        said = [about(fact, operation_id) for fact in said]
        for fact in said:
            if fact.keys() & {"heartbeat", "progress"}:
                fuzzer.say(**fact)
            else:
                await fuzzer.settled(fuzzer.fact(**fact))
        # A registration with the same: what is no run is answered, and the worker is let in.
        ends = [worker_pb2.RunFinished(**fact["run_finished"]) for fact in said if "run_finished" in fact]
        states = [worker_pb2.RunState(**fact["checkpoint_saved"]) for fact in said if "checkpoint_saved" in fact]
        response = await fuzzer.register(states, ends)
        assert len(response.acknowledged_runs) == len(ends)
        assert len(response.stop_runs) == len(states)
        assert await caller.status(operation_id) == "RUNNING"
        assert await caller.events(operation_id) == ["CREATED", "CLAIMED"]

        other.runs.clear()
        await other.settled(other.fact(run_finished=failed(operation_id, 1)))
        assert await caller.status(operation_id) == "FAILED"
        assert (other.opened, fuzzer.opened) == (1, 2)
        assert (await caller.system()).refused_messages
