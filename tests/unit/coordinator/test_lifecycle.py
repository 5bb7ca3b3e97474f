"""The table of transitions: its invariants, and random walks through it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.services.coordinator.operations.lifecycle import (
    ENDED,
    LIVE,
    ONLY_ORPHANS,
    QUEUED,
    RAISES_ATTEMPT,
    RESUMABLE,
    TRANSITIONS,
    Cause,
    Status,
    sources,
    targets,
)
from holdfast.v1 import operation_pb2


def test_the_statuses_are_the_protocols() -> None:
    names = {name.removeprefix("OPERATION_STATUS_") for name in operation_pb2.OperationStatus.keys()}  # noqa: SIM118
    assert names - {"UNSPECIFIED"} == {status.value for status in Status}


def test_every_cause_stands_in_the_table() -> None:
    assert set(TRANSITIONS) == set(Cause)


def test_every_status_is_queued_live_or_ended_and_only_one_of_them() -> None:
    assert set(Status) == QUEUED | LIVE | ENDED
    assert not QUEUED & LIVE
    assert not QUEUED & ENDED
    assert not LIVE & ENDED


def test_completed_is_never_left() -> None:
    assert all(not targets(cause, Status.COMPLETED) for cause in Cause)


def test_only_a_resume_or_a_wronged_worker_leaves_an_end() -> None:
    leaving = {cause for cause in Cause for status in ENDED if targets(cause, status)}
    assert leaving == {Cause.RESUME} | ONLY_ORPHANS


def test_nothing_but_a_claim_or_an_adoption_runs() -> None:
    running = {cause for cause in Cause for status in Status if Status.RUNNING in targets(cause, status)}
    assert running == {Cause.CLAIM, Cause.ADOPT, Cause.ADOPT_LATE}


def test_from_every_status_an_end_can_be_reached() -> None:
    reached = set(ENDED)
    while True:
        more = {
            status
            for status in Status
            if status not in reached and any(targets(cause, status) & reached for cause in Cause)
        }
        if not more:
            break
        reached |= more
    assert reached == set(Status)


def test_a_live_operation_ends_without_its_worker() -> None:
    # The orphan rule alone must be able to end whatever a process may be running.
    assert all(targets(Cause.ORPHAN, status) & ENDED for status in LIVE)


def test_what_is_resumable_has_ended_without_success() -> None:
    assert ENDED - {Status.COMPLETED} == RESUMABLE


@given(st.sampled_from(list(Cause)), st.sampled_from(list(Status)), st.sampled_from(list(Status)))
def test_sources_and_targets_agree(cause: Cause, source: Status, target: Status) -> None:
    assert (target in targets(cause, source)) == (source in sources(cause, target))
    assert (source in sources(cause)) == bool(targets(cause, source))


@given(st.data())
def test_a_walk_raises_the_attempt_before_another_worker_may_run(data: st.DataObject) -> None:
    status, attempt, claimed = Status.PENDING, 1, set[int]()
    for _ in range(40):
        steps = [(cause, target) for cause in Cause for target in sorted(targets(cause, status))]
        if not steps:
            assert status is Status.COMPLETED
            return
        cause, status = data.draw(st.sampled_from(steps))
        if cause is Cause.CLAIM:
            assert attempt not in claimed, "two workers would hold one fencing token"
            claimed.add(attempt)
        if cause is Cause.DECLINE:
            claimed.discard(attempt)  # the worker itself has said that it holds nothing
        attempt += cause in RAISES_ATTEMPT
