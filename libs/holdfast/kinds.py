"""The kinds of operations and what each needs, and how a place in one is said: written once. Owns no state; light."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, cast

from holdfast.v1 import operation_pb2

__all__ = ["LOCAL_KINDS", "NEEDS", "WORKER_KINDS", "Kind", "Needs", "kind_of_worker", "position"]


class Kind(StrEnum):
    """What an operation does."""

    TRAINING = "TRAINING"
    BACKTEST = "BACKTEST"
    RESEARCH = "RESEARCH"
    DESIGN = "DESIGN"
    ASSESSMENT = "ASSESSMENT"

    @classmethod
    def of(cls, number: operation_pb2.OperationKind) -> Kind:
        """The kind for a wire number."""
        return cls(operation_pb2.OperationKind.Name(number).removeprefix("OPERATION_KIND_"))

    @property
    def wire(self) -> operation_pb2.OperationKind:
        """The wire number."""
        return cast("operation_pb2.OperationKind", operation_pb2.OperationKind.Value(f"OPERATION_KIND_{self.name}"))


@dataclass(frozen=True, slots=True)
class Needs:
    """What a kind that a worker runs needs: names of the kind of worker, of fields in Operation, and of its unit."""

    worker: str
    spec: str  # also RunAssignment's
    result: str
    uri: str  # in the result: where it lies in the artifact store
    unit: str  # what its checkpoints count


# Kinds that a worker runs and resumes; the others run inside the coordinator and follow rules of their own.
NEEDS: Final = {
    Kind.TRAINING: Needs("trainer", "training", "training_result", "model_uri", "epoch"),
    Kind.BACKTEST: Needs("backtester", "backtest", "backtest_result", "result_uri", "bar"),
}
WORKER_KINDS: Final = tuple(NEEDS)
LOCAL_KINDS: Final = tuple(kind for kind in Kind if kind not in NEEDS)


def kind_of_worker(worker: str) -> Kind:
    """What a "trainer" or a "backtester" runs. Raises KeyError for another."""
    return {needs.worker: kind for kind, needs in NEEDS.items()}[worker]


class Counted(Protocol):
    """A Checkpoint, a Snapshot, a Progress."""

    @property
    def unit_name(self) -> str: ...

    @property
    def unit(self) -> int: ...

    @property
    def step(self) -> int: ...


def position(at: Counted | None) -> str:
    """As people say it: "epoch 29", "epoch 3 step 120", "bar 7000"; empty for none."""
    if at is None or not at.unit_name:
        return ""
    return f"{at.unit_name} {at.unit}" + (f" step {at.step}" if at.step else "")
