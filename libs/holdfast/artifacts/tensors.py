"""Torch tensors as safetensors bytes. Owns the format's writing without copies; reading is the safetensors library's.

Imports torch: only trainers and backtesters come here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from holdfast.artifacts.store import Buffer
from holdfast.errors import Corrupted

__all__ = ["pack_tensors", "unpack_tensors"]

# In the order in which the library lays tensors out: every one stays aligned.
_NAMES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_RANKS = {dtype: rank for rank, dtype in enumerate(_NAMES)}


def pack_tensors(tensors: Mapping[str, torch.Tensor]) -> list[Buffer]:
    """The safetensors file of `tensors` as parts: the header and a view of every tensor's memory.

    Contiguous CPU tensors are not copied: do not change them until the parts are written. Same tensors, same bytes.
    Raises TypeError for a dtype that safetensors does not know.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _NAMES:
            raise TypeError(f"the tensor {name!r} has dtype {tensor.dtype}, which cannot be stored")
    ordered = sorted(tensors.items(), key=lambda item: (_RANKS[item[1].dtype], item[0]))
    header: dict[str, object] = {}
    parts: list[Buffer] = []
    offset = 0
    for name, tensor in ordered:
        memory = _memory(tensor)
        end = offset + memory.nbytes
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
        if memory.nbytes:
            parts.append(memory)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little") + text, *parts]


def _memory(tensor: torch.Tensor) -> memoryview:
    # Few steps, each of them Python: this runs under the lock that the run's loop needs.
    plain = tensor.detach().cpu().contiguous()
    if plain.dtype == torch.bfloat16:
        plain = plain.view(torch.int16)  # NumPy has no bfloat16; the bytes are what counts
    return plain.numpy().data


def unpack_tensors(data: bytes, *, source: str = "tensors") -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, by name.

    Raises Corrupted, naming `source`, for anything that is not a sound safetensors file.
    """
    try:
        return dict(load_safetensors(data))
    except (SafetensorError, ValueError, RuntimeError, KeyError, TypeError, OverflowError) as error:
        raise Corrupted(
            f"{source} is not a sound safetensors file: {error}. Resume from an older checkpoint or start over."
        ) from error
