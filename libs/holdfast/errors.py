"""Every error a caller can meet, on both sides of the wire.

    HoldfastError
    ├── InvalidRequest          INVALID_ARGUMENT      wrong fields; `.violations` names each
    ├── NotFound                NOT_FOUND             no such operation, checkpoint, model, worker
    ├── NotPossible             FAILED_PRECONDITION   the thing exists but its state forbids it
    ├── LostRace                ABORTED               somebody else was first, or the attempt is stale
    ├── AtCapacity              RESOURCE_EXHAUSTED    a limit is reached
    │   └── StoreFull                                 the artifact store has no room; `.path`, `.needed`, `.free`
    ├── Corrupted               DATA_LOSS             stored bytes are not what was stored
    ├── Unavailable             UNAVAILABLE           the coordinator, a worker or the database is unavailable
    ├── Unimplemented           UNIMPLEMENTED         not built yet
    ├── InternalError           INTERNAL              a defect of Holdfast
    └── OperationFailed         (client only)         the result was asked of an operation that FAILED or was CANCELLED

A server raises one; `holdfast.rpc` turns it into google.rpc.Status with ErrorInfo (and BadRequest); the client
turns that back into the same class with the same fields. Owns no transport.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "AtCapacity",
    "Corrupted",
    "HoldfastError",
    "InternalError",
    "InvalidRequest",
    "LostRace",
    "NotFound",
    "NotPossible",
    "OperationFailed",
    "StoreFull",
    "Unavailable",
    "Unimplemented",
    "Violation",
    "error_for",
]


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field: its path in the request or strategy, the value found, and what is allowed."""

    path: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.path}: {self.value} is not allowed; {self.allowed}"


class HoldfastError(Exception):
    """Something went wrong in Holdfast.

    `reason` is stable and UPPER_SNAKE_CASE; `metadata` carries the ids involved.
    """

    code: ClassVar[str] = "UNKNOWN"
    default_reason: ClassVar[str] = "UNKNOWN"

    def __init__(self, message: str, *, reason: str | None = None, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})


class InvalidRequest(HoldfastError):
    """The request or the strategy has wrong fields."""

    code = "INVALID_ARGUMENT"
    default_reason = "INVALID_REQUEST"

    def __init__(
        self,
        message: str,
        *,
        violations: Sequence[Violation] = (),
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.violations = tuple(violations)


class NotFound(HoldfastError):
    """No such thing."""

    code = "NOT_FOUND"
    default_reason = "NOT_FOUND"


class NotPossible(HoldfastError):
    """The state of the thing does not allow this."""

    code = "FAILED_PRECONDITION"
    default_reason = "FAILED_PRECONDITION"


class LostRace(HoldfastError):
    """Somebody else was first."""

    code = "ABORTED"
    default_reason = "STALE_ATTEMPT"


class AtCapacity(HoldfastError):
    """A limit is reached."""

    code = "RESOURCE_EXHAUSTED"
    default_reason = "AT_CAPACITY"


class StoreFull(AtCapacity):
    """The artifact store has no room for what is to be written.

    `path`: where it was to be written. `needed`: its bytes. `free`: the bytes free there, None when the store does not
    say. `problem`: what is used up, when it is not plain space (a quota, the file system's table of files).
    """

    default_reason = "STORE_FULL"

    def __init__(self, path: str, needed: int, free: int | None = None, *, problem: str = "") -> None:
        self.path, self.needed, self.free, self.problem = path, needed, free, problem
        why = f" ({problem})" if problem else ""
        room = "" if free is None else f", {_bytes(free)} are free"
        super().__init__(
            f"The artifact store is full{why}: {_bytes(needed)} are needed in {path}{room}. "
            "Free some space there; a run that has ended can then be resumed.",
            metadata={
                "path": path,
                "needed_bytes": str(needed),
                **({} if free is None else {"free_bytes": str(free)}),
                **({"problem": problem} if problem else {}),
            },
        )


class Corrupted(HoldfastError):
    """Stored bytes are not what was stored."""

    code = "DATA_LOSS"
    default_reason = "CHECKPOINT_CORRUPTED"


class Unavailable(HoldfastError):
    """The other side cannot be reached now; the same call may succeed later."""

    code = "UNAVAILABLE"
    default_reason = "UNAVAILABLE"


class Unimplemented(HoldfastError):
    """Not built yet."""

    code = "UNIMPLEMENTED"
    default_reason = "UNIMPLEMENTED"


class InternalError(HoldfastError):
    """A defect of Holdfast; the server's log has the traceback."""

    code = "INTERNAL"
    default_reason = "INTERNAL"


class OperationFailed(HoldfastError):
    """The operation ended without a result. Raised by the client only; `reason` is the operation's Failure.reason."""

    code = "UNKNOWN"
    default_reason = "OPERATION_FAILED"


_BY_CODE: dict[str, type[HoldfastError]] = {
    kind.code: kind
    for kind in (
        InvalidRequest,
        NotFound,
        NotPossible,
        LostRace,
        AtCapacity,
        Corrupted,
        Unavailable,
        Unimplemented,
        InternalError,
    )
}
# A call that ran out of time says the same to a user as one that found nobody.
_BY_CODE["DEADLINE_EXCEEDED"] = Unavailable


def error_for(
    code: str,
    message: str,
    *,
    reason: str | None = None,
    metadata: Mapping[str, str] | None = None,
    violations: Sequence[Violation] = (),
) -> HoldfastError:
    """The most specific error for a gRPC status code's name, such as "NOT_FOUND"."""
    kind = _BY_CODE.get(code, HoldfastError)
    if issubclass(kind, InvalidRequest):
        return kind(message, violations=violations, reason=reason, metadata=metadata)
    return kind(message, reason=reason, metadata=metadata)


def _bytes(count: int) -> str:
    return f"{count} bytes" if count < 100_000 else f"{count / 1e6:.1f} MB"
