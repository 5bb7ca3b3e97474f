"""The protocol of a version that does not exist yet: today's, with more fields, kinds and enum values, at runtime."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor

from holdfast.v1 import checkpoint_pb2, operation_pb2, worker_pb2

_Field = descriptor_pb2.FieldDescriptorProto
FUTURE = 900  # the number of everything that is new


def _file(descriptor: FileDescriptor) -> descriptor_pb2.FileDescriptorProto:
    proto = descriptor_pb2.FileDescriptorProto()
    descriptor.CopyToProto(proto)
    return proto


def _add_word(message: descriptor_pb2.DescriptorProto, oneof: str = "") -> None:
    field = message.field.add(name="future", number=FUTURE, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    if oneof:
        field.oneof_index = [item.name for item in message.oneof_decl].index(oneof)


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    done: set[str] = set()

    def add(descriptor: FileDescriptor) -> None:
        if descriptor.name in done:
            return
        done.add(descriptor.name)
        for needed in descriptor.dependencies:
            add(needed)
        proto = _file(descriptor)
        if descriptor.name.startswith("holdfast/"):
            for enum in proto.enum_type:
                enum.value.add(name=f"{enum.name.upper()}_FUTURE", number=FUTURE)
            for message in proto.message_type:
                oneof = {
                    "WorkerMessage": "fact",
                    "CoordinatorMessage": "message",
                    "RunFinished": "result",
                    "RunAssignment": "spec",
                }
                _add_word(message, oneof.get(message.name, ""))
        pool.Add(proto)  # type: ignore[no-untyped-call, attr-defined, unused-ignore]

    for module in (checkpoint_pb2, operation_pb2, worker_pb2):
        add(module.DESCRIPTOR)
    return pool


_POOL = _pool()


def future(name: str, **fields: Any) -> Any:
    """A message of the future, such as future("WorkerMessage", sequence=1, future="word")."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"holdfast.v1.{name}"))(**fields)


def arrived(message: Any) -> Any:
    """As today's program holds it: what it does not know rides along and is sent on as it came."""
    today = getattr(worker_pb2, message.DESCRIPTOR.name)
    return today.FromString(message.SerializeToString())
