"""Tensors are written as the safetensors library writes them, and read back bit for bit."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from holdfast.artifacts.tensors import pack_tensors, unpack_tensors
from holdfast.errors import Corrupted

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]


def sample() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    tensors = {
        f"t{number}": torch.randint(0, 2, (number, 3), generator=generator).to(dtype)
        for number, dtype in enumerate(DTYPES)
    }
    tensors["step"] = torch.tensor(7.0)
    tensors["nan"] = torch.tensor([float("nan"), -0.0, float("inf")])
    tensors["view"] = torch.arange(12.0).reshape(3, 4).T
    return tensors


def test_the_file_is_the_librarys_own() -> None:
    tensors = {name: tensor.contiguous() for name, tensor in sample().items()}
    assert b"".join(pack_tensors(tensors)) == save(tensors)


def test_every_bit_survives() -> None:
    tensors = sample()
    back = unpack_tensors(b"".join(pack_tensors(tensors)))
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].shape == tensor.shape
        flat = tensor.contiguous().reshape(-1).view(torch.uint8)
        assert torch.equal(back[name].reshape(-1).view(torch.uint8), flat)


def test_a_dtype_that_cannot_be_stored_is_refused() -> None:
    with pytest.raises(TypeError, match="complex64"):
        pack_tensors({"z": torch.zeros(2, dtype=torch.complex64)})


PACKED = b"".join(pack_tensors(sample()))


@settings(max_examples=1500, deadline=None)
@given(
    start=st.integers(0, len(PACKED) - 1),
    length=st.integers(0, 64),
    insert=st.binary(max_size=64),
)
def test_hostile_bytes_are_refused_or_read_but_nothing_else(start: int, length: int, insert: bytes) -> None:
    data = PACKED[:start] + insert + PACKED[start + length :]
    # Anything but Corrupted fails the test by itself.
    with suppress(Corrupted):
        unpack_tensors(data, source="model.safetensors")


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 8, b"\xff" * 8, (2**40).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]"]
)
def test_oversize_and_empty_headers_are_refused(data: bytes) -> None:
    with pytest.raises(Corrupted):
        unpack_tensors(data)
