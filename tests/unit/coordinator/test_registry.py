"""Slots: taken, confirmed, freed; what heartbeats mean; who is offered work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.services.coordinator.workers.registry import MISSED_HEARTBEATS, Registry
from holdfast.services.coordinator.workers.worker import Worker
from holdfast.v1 import worker_pb2
from holdfast.v1.coordinator_service_pb2 import RegisterWorkerRequest


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def request(worker_id: str = "w", slots: int = 2, incarnation: str = "i") -> RegisterWorkerRequest:
    return RegisterWorkerRequest(
        worker_id=worker_id, incarnation=incarnation, kind=worker_pb2.WORKER_KIND_TRAINER, address="a:1", slots=slots
    )


def beat(*runs: tuple[str, int], draining: bool = False) -> worker_pb2.Heartbeat:
    named = [worker_pb2.RunRef(operation_id=operation_id, attempt=attempt) for operation_id, attempt in runs]
    return worker_pb2.Heartbeat(runs=named, draining=draining)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(clock: Clock) -> Registry:
    return Registry(clock)


def connected(registry: Registry, **fields: object) -> Worker:
    worker = registry.register(request(**fields), [])  # type: ignore[arg-type]
    registry.connect(worker)
    return worker


def test_only_connected_workers_are_offered(registry: Registry) -> None:
    worker = registry.register(request(), [])
    assert registry.free_workers() == []
    registry.connect(worker)
    assert registry.free_workers() == [worker]
    registry.disconnect(worker)
    assert registry.free_workers() == []


def test_slots_fill_and_free(registry: Registry) -> None:
    worker = connected(registry)
    freed: list[bool] = []
    registry.on_free.append(lambda: freed.append(True))
    registry.assign(worker, "a", 1)
    registry.assign(worker, "b", 1)
    assert registry.free_workers() == []
    registry.release(worker, "a", 1)
    assert freed
    assert worker.free_slots == 1


def test_an_older_attempts_end_does_not_free_a_newer_ones_slot(registry: Registry) -> None:
    worker = connected(registry)
    registry.assign(worker, "a", 3)
    registry.release(worker, "a", 2)
    assert "a" in worker.runs


def test_a_run_that_was_just_assigned_is_not_missed(registry: Registry) -> None:
    worker = connected(registry)
    registry.assign(worker, "a", 1)
    for _ in range(10):
        assert registry.heartbeat(worker, beat()) == []
    assert "a" in worker.runs


def test_a_confirmed_run_that_is_no_longer_named_loses_its_slot(registry: Registry) -> None:
    worker = connected(registry)
    registry.assign(worker, "a", 1)
    registry.heartbeat(worker, beat(("a", 1)))
    for _ in range(MISSED_HEARTBEATS):
        assert registry.claims("a", 1)
        registry.heartbeat(worker, beat())
    assert not registry.claims("a", 1)


def test_unexpected_runs_are_questioned(registry: Registry) -> None:
    worker = connected(registry)
    registry.assign(worker, "a", 2)
    unexpected = registry.heartbeat(worker, beat(("a", 1), ("b", 1)))
    assert [(run.operation_id, run.attempt) for run in unexpected] == [("a", 1), ("b", 1)]


def test_a_resting_worker_is_asked_again_later(registry: Registry, clock: Clock) -> None:
    worker = connected(registry)
    seconds = registry.rest(worker)
    assert registry.free_workers() == []
    assert registry.next_rest_end() == seconds
    clock.now = seconds
    assert registry.free_workers() == [worker]
    assert registry.next_rest_end() is None


def test_a_worker_that_registers_again_rests_on(registry: Registry, clock: Clock) -> None:
    for _ in range(10):
        worker = connected(registry)
        clock.now += registry.rest(worker)
    seconds = registry.rest(worker)
    assert 30 <= seconds <= 60
    assert registry.free_workers() == []
    assert connected(registry).free_slots == 2
    assert registry.free_workers() == []
    # A new process may be a mended one: it is tried at once, and rests as long should it refuse again.
    mended = connected(registry, incarnation="next")
    assert registry.free_workers() == [mended]
    assert registry.rest(mended) >= 30
    clock.now += 60
    registry.took(mended)
    assert registry.rest(mended) <= 1


def test_a_resting_worker_leaves_the_others_free(registry: Registry) -> None:
    registry.rest(connected(registry, worker_id="a"))
    other = connected(registry, worker_id="b")
    assert registry.free_workers() == [other]


def test_the_emptiest_is_first(registry: Registry) -> None:
    full = connected(registry, worker_id="a")
    empty = connected(registry, worker_id="b")
    registry.assign(full, "x", 1)
    assert registry.free_workers() == [empty, full]


def test_a_drain_lasts_as_long_as_the_process(registry: Registry) -> None:
    worker = connected(registry)
    worker.ordered_to_drain = True
    assert connected(registry).free_slots == 0
    assert connected(registry, incarnation="next").free_slots == 2


def test_a_loss_names_the_runs(registry: Registry) -> None:
    lost: list[str] = []
    registry.on_lost.append(lambda worker: lost.extend(worker.runs))
    worker = connected(registry)
    registry.assign(worker, "a", 1)
    registry.disconnect(worker)
    registry.disconnect(worker)
    assert lost == ["a"]


def test_the_long_gone_are_forgotten(registry: Registry, clock: Clock) -> None:
    worker = connected(registry)
    registry.disconnect(worker)
    assert len(registry.all()) == 1
    clock.now = 3601
    assert registry.all() == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.sampled_from("arch")), max_size=60))
def test_slots_are_never_negative_and_claims_follow_the_table(steps: list[tuple[str, int, str]]) -> None:
    registry = Registry(Clock())
    worker = connected(registry, slots=3)
    for operation_id, attempt, step in steps:
        if step == "a":
            registry.assign(worker, operation_id, attempt)
        elif step == "r":
            registry.release(worker, operation_id, attempt)
        elif step == "c":
            registry.confirm(worker, operation_id, attempt)
        else:
            registry.heartbeat(worker, beat((operation_id, attempt)))
        assert worker.free_slots == 3 - len(worker.runs)
        assert all(registry.claims(name, slot.attempt) for name, slot in worker.runs.items())
