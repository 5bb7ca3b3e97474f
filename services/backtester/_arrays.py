"""NumPy arrays to and from safetensors bytes. Owns the file's form; knows nothing of what the arrays mean.

Writing hands out views, so that the writer thread spends its time in system calls and not in copies under the GIL.
Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import safetensors

from holdfast.artifacts.store import Buffer

__all__ = ["Array", "pack_arrays", "unpack_arrays"]

Array = np.ndarray[Any, Any]

_NAMES: Final = {np.dtype("<i8"): "I64", np.dtype("<f8"): "F64"}
_DTYPES: Final = {name: dtype for dtype, name in _NAMES.items()}
_ALIGNMENT: Final = 8


def pack_arrays(arrays: Mapping[str, Array]) -> list[Buffer]:
    """The file's parts: header, then each array's memory in turn. Dtypes: int64 and float64."""
    header: dict[str, Any] = {}
    parts: list[Buffer] = []
    offset = 0
    for name, array in arrays.items():
        end = offset + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [offset, end]}
        if array.nbytes:
            parts.append(np.ascontiguousarray(array).data.cast("B"))
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return [len(text).to_bytes(8, "little") + text, *parts]


def unpack_arrays(parts: Sequence[Buffer] | bytes) -> dict[str, Array]:
    """The arrays, writable. Raises ValueError for anything that is not such a file."""
    data = parts if isinstance(parts, bytes) else b"".join(parts)
    try:
        tensors = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ValueError(f"not safetensors: {error}") from error
    arrays: dict[str, Array] = {}
    for name, tensor in tensors:
        if tensor["dtype"] not in _DTYPES:
            raise ValueError(f"array {name!r} is of type {tensor['dtype']}, not one of {', '.join(_DTYPES)}")
        arrays[name] = np.frombuffer(bytearray(tensor["data"]), _DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
    return arrays
