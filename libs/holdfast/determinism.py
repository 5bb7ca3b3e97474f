"""Makes torch repeat itself to the bit in this process. Owns torch's global switches; never touches a model.

Exactness holds for one CPU type, one thread count and one set of library builds: those are
`holdfast.fingerprint`. This module takes care of the rest. Call it once, before the first tensor operation of a run.
"""

from __future__ import annotations

import os
import random

import numpy as np
import torch

from holdfast import fingerprint

__all__ = ["make_deterministic", "seed_everything"]

# cuBLAS reduces in a different order from call to call unless its workspace is fixed before CUDA starts
# (NVIDIA cuBLAS documentation, "Results reproducibility").
_CUBLAS_WORKSPACE = ":4096:8"


def make_deterministic(threads: int | None = None) -> None:
    """Deterministic kernels, a fixed thread count, no flushing of denormals.

    `threads` is the number of CPU threads inside one operation; None takes HOLDFAST_THREADS, whose default is 1. One is
    also the fastest for networks as small as a strategy's, and sums in different thread counts round differently.
    """
    count = fingerprint.threads() if threads is None else threads
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", _CUBLAS_WORKSPACE)
    torch.set_num_threads(count)
    # Raises for an operation that has no deterministic kernel, rather than going on without the promise.
    # (torch.use_deterministic_algorithms is the same for us, but also imports torch's compiler: seconds of every run.)
    torch.set_deterministic_debug_mode("error")
    # Filling fresh memory is a guard for code that reads what it never wrote; nothing here does, and it costs.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_flush_denormal(False)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # TF32 would make the result depend on the GPU's generation more than it must.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def seed_everything(seed: int) -> None:
    """Seeds every generator a training may draw from: torch (CPU and CUDA), NumPy's global one and Python's."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
