"""The one table of legal transitions of an operation. Pure: owns no state, touches neither PostgreSQL nor gRPC.

                    ┌───────── requeue, decline ────────┐
    PENDING ─ claim ─► RUNNING ─ finish ─► COMPLETED    │
       │                │ ▲ │ └─ finish, orphan ─► FAILED ─┐
       │                │ │ └─ cancel ─► CANCELLING ─┐     ├─ resume ─► RESUMING ─ claim ─► RUNNING
       │          restart │ adopt                    ▼     │
       │                ▼ │                       CANCELLED┘
       │     PENDING_RECONCILIATION
       └─ cancel ─► CANCELLED

`transitions` asks this table for the statuses of every compare-and-set, so that what the table does not know
cannot be written.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

__all__ = [
    "ENDED",
    "LIVE",
    "ONLY_ORPHANS",
    "QUEUED",
    "RAISES_ATTEMPT",
    "RESUMABLE",
    "TRANSITIONS",
    "Cause",
    "Status",
    "sources",
    "targets",
]


class Status(StrEnum):
    """Where an operation stands: OperationStatus of operation.proto without its prefix."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PENDING_RECONCILIATION = "PENDING_RECONCILIATION"
    CANCELLING = "CANCELLING"
    RESUMING = "RESUMING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Cause(StrEnum):
    """Why an operation moves."""

    # The dispatcher gives it to a worker.
    CLAIM = "CLAIM"
    # Nobody knows whether the worker got it: back into the queue, under a new attempt.
    REQUEUE = "REQUEUE"
    # The worker has said that it does not take it now: back into the queue, as if it had not been claimed.
    DECLINE = "DECLINE"
    # The worker will never take it (it refuses the request itself).
    REFUSE = "REFUSE"
    # The worker reports the end of the run.
    FINISH = "FINISH"
    # The end of a run that was declared dead too early, under the same attempt: the worker wins.
    FINISH_LATE = "FINISH_LATE"
    # A user asks for the end, and no run exists: it ends at once.
    CANCEL_QUEUED = "CANCEL_QUEUED"
    # A user asks for the end of a run.
    CANCEL_RUN = "CANCEL_RUN"
    # No process claims it, for too long or by proof of death.
    ORPHAN = "ORPHAN"
    # The coordinator has restarted and does not know yet who runs it.
    RESTART = "RESTART"
    # A worker claims to run it, under the same attempt.
    ADOPT = "ADOPT"
    # The same, after it was declared dead too early.
    ADOPT_LATE = "ADOPT_LATE"
    # A user, or the automatic resume, continues it.
    RESUME = "RESUME"


_S = Status

TRANSITIONS: Mapping[Cause, Mapping[Status, frozenset[Status]]] = MappingProxyType(
    {
        Cause.CLAIM: {_S.PENDING: frozenset({_S.RUNNING}), _S.RESUMING: frozenset({_S.RUNNING})},
        Cause.REQUEUE: {
            _S.RUNNING: frozenset({_S.PENDING, _S.RESUMING}),
            # The coordinator died between the claim and the delivery.
            _S.PENDING_RECONCILIATION: frozenset({_S.PENDING, _S.RESUMING}),
        },
        Cause.DECLINE: {_S.RUNNING: frozenset({_S.PENDING, _S.RESUMING})},
        Cause.REFUSE: {_S.RUNNING: frozenset({_S.FAILED}), _S.CANCELLING: frozenset({_S.CANCELLED})},
        Cause.FINISH: {
            # A cancel may come too late: what finished has finished.
            status: frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED})
            for status in (_S.RUNNING, _S.PENDING_RECONCILIATION, _S.CANCELLING)
        },
        Cause.FINISH_LATE: {_S.FAILED: frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED})},
        Cause.CANCEL_QUEUED: {_S.PENDING: frozenset({_S.CANCELLED}), _S.RESUMING: frozenset({_S.CANCELLED})},
        Cause.CANCEL_RUN: {
            _S.RUNNING: frozenset({_S.CANCELLING}),
            _S.PENDING_RECONCILIATION: frozenset({_S.CANCELLING}),
        },
        Cause.ORPHAN: {
            _S.RUNNING: frozenset({_S.FAILED}),
            _S.PENDING_RECONCILIATION: frozenset({_S.FAILED}),
            _S.CANCELLING: frozenset({_S.CANCELLED}),
        },
        Cause.RESTART: {_S.RUNNING: frozenset({_S.PENDING_RECONCILIATION})},
        Cause.ADOPT: {_S.PENDING_RECONCILIATION: frozenset({_S.RUNNING})},
        Cause.ADOPT_LATE: {_S.FAILED: frozenset({_S.RUNNING})},
        Cause.RESUME: {_S.FAILED: frozenset({_S.RESUMING}), _S.CANCELLED: frozenset({_S.RESUMING})},
    }
)

# The causes that raise the attempt, and so fence whoever held the old one.
RAISES_ATTEMPT = frozenset({Cause.REQUEUE, Cause.RESUME})
# Only an operation that was declared an orphan comes back by these; `store` checks the failure's reason too.
ONLY_ORPHANS = frozenset({Cause.FINISH_LATE, Cause.ADOPT_LATE})

QUEUED = frozenset({_S.PENDING, _S.RESUMING})
# Some process may be running it.
LIVE = frozenset({_S.RUNNING, _S.PENDING_RECONCILIATION, _S.CANCELLING})
ENDED = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED})
RESUMABLE = frozenset(TRANSITIONS[Cause.RESUME])


def sources(cause: Cause, target: Status | None = None) -> list[Status]:
    """The statuses from which `cause` may move an operation (to `target`, if given), in the order of Status."""
    table = TRANSITIONS[cause]
    return [status for status in Status if status in table and (target is None or target in table[status])]


def targets(cause: Cause, source: Status) -> frozenset[Status]:
    """Where `cause` may take an operation that stands at `source`; empty when it may not."""
    return TRANSITIONS[cause].get(source, frozenset())
