"""Save and load bandwidth of a checkpoint beside torch.save, torch.load and torch.distributed.checkpoint.

Durable ways (fsync) are compared with durable ways. Ours also computes SHA-256 when saving and checks it when loading.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from pathlib import Path

import torch
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load_into
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.checkpoint.state_dict_saver import save as dcp_save

from benchmarks.sidebyside import interleave, print_table
from holdfast.artifacts.manifest import read_artifacts, write_artifacts
from holdfast.artifacts.store import open_store
from holdfast.artifacts.tensors import pack_tensors, unpack_tensors

MEGABYTES = 128
ROUNDS = 5


def main() -> None:
    """Prints two tables."""
    tensors = {f"layer{number}.weight": torch.randn(1024, 1024) for number in range(MEGABYTES // 4)}
    root = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
    counter = 0
    try:
        store = open_store(str(root / "store"))

        def ours() -> str:
            nonlocal counter
            counter += 1
            files = {"model.safetensors": lambda: pack_tensors(tensors)}
            return write_artifacts(store, f"op/1-{counter}", files, {}).path

        def torch_save(*, durable: bool) -> Path:
            nonlocal counter
            counter += 1
            path = root / f"{counter}.pt"
            with path.open("wb") as file:
                torch.save(tensors, file)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            return path

        def dcp_async() -> None:
            nonlocal counter
            counter += 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns that it runs without a process group: so it is meant here
                future = async_save(tensors, checkpoint_id=str(root / f"dcp-{counter}"), no_dist=True)
                assert future is not None
                future.result()  # type: ignore[union-attr]

        saves = interleave(
            {
                "torch.save + fsync": lambda: torch_save(durable=True),
                "torch.save (not durable)": lambda: torch_save(durable=False),
                "dcp.async_save, until done": dcp_async,
                "Holdfast (SHA-256, fsync, manifest)": ours,
            },
            rounds=ROUNDS,
        )
        print_table(f"Saving {MEGABYTES} MB of tensors", saves, base="torch.save + fsync", amount=MEGABYTES, unit="MB")

        uri, path = ours(), torch_save(durable=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp_save(tensors, checkpoint_id=str(root / "dcp"), no_dist=True)

        def dcp_load() -> None:
            into = {name: torch.empty_like(tensor) for name, tensor in tensors.items()}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dcp_load_into(into, checkpoint_id=str(root / "dcp"), no_dist=True)

        loads = interleave(
            {
                "torch.load (weights_only)": lambda: torch.load(path, weights_only=True),
                "dcp.load": dcp_load,
                "Holdfast (every SHA-256 verified)": lambda: unpack_tensors(
                    read_artifacts(store, uri).files["model.safetensors"]
                ),
            },
            rounds=ROUNDS,
        )
        print_table(
            f"Loading {MEGABYTES} MB of tensors", loads, base="torch.load (weights_only)", amount=MEGABYTES, unit="MB"
        )
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
