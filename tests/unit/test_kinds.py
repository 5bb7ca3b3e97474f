"""One table from a kind to what it needs; every name in it is one of the protocol's, and a place is said in one way."""

from __future__ import annotations

import pytest

from holdfast.kinds import LOCAL_KINDS, NEEDS, WORKER_KINDS, Kind, kind_of_worker, position
from holdfast.v1 import checkpoint_pb2, operation_pb2, worker_pb2


def test_the_kinds_are_the_protocols() -> None:
    names = {name.removeprefix("OPERATION_KIND_") for name in operation_pb2.OperationKind.DESCRIPTOR.values_by_name}
    assert {kind.value for kind in Kind} == names - {"UNSPECIFIED"}
    assert all(Kind.of(kind.wire) is kind for kind in Kind)
    assert sorted(WORKER_KINDS + LOCAL_KINDS) == sorted(Kind)


@pytest.mark.parametrize("kind", WORKER_KINDS)
def test_what_a_kind_needs_has_a_name_in_the_protocol(kind: Kind) -> None:
    needs = NEEDS[kind]
    operation = operation_pb2.Operation()
    getattr(operation, needs.spec).SetInParent()
    assert operation.WhichOneof("spec") == needs.spec
    assert getattr(getattr(operation, needs.result), needs.uri) == ""
    assert needs.spec in worker_pb2.RunAssignment.DESCRIPTOR.fields_by_name
    assert f"WORKER_KIND_{needs.worker.upper()}" in worker_pb2.WorkerKind.DESCRIPTOR.values_by_name
    assert kind_of_worker(needs.worker) is kind


def test_a_place_is_said_in_one_way() -> None:
    assert position(None) == position(checkpoint_pb2.Checkpoint()) == ""
    assert position(checkpoint_pb2.Checkpoint(unit_name="epoch", unit=29)) == "epoch 29"
    assert position(checkpoint_pb2.Checkpoint(unit_name="epoch", unit=3, step=120)) == "epoch 3 step 120"
    assert position(operation_pb2.Progress(unit_name="bar", unit=7000, step=4)) == "bar 7000 step 4"
    assert position(operation_pb2.Progress(unit_name="bar", unit=7000)) == "bar 7000"
