"""Where a training stands, whole: what a checkpoint must hold for a resume to be exact. Owns the copying, no files.

A copy is taken only at the end of a step or an epoch, when model, optimiser and generators agree with each other.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from holdfast.artifacts.checkpoint import Snapshot
from holdfast.artifacts.store import Buffer
from holdfast.artifacts.tensors import pack_tensors
from holdfast.kinds import NEEDS, Kind
from holdfast.services.trainer.schedule import Patience, Schedule

__all__ = ["FORMAT", "TENSORS", "UNIT", "TrainingState"]

FORMAT = 1
UNIT = NEEDS[Kind.TRAINING].unit
TENSORS = "training.safetensors"


@dataclass(slots=True)
class TrainingState:
    """The running state of one training; changed by the loop, copied by `capture`, filled by resume.restore.

    epoch: finished epochs. step: finished steps of the next one. updates: optimiser updates since the beginning.
    losses: the loss of each step of the current epoch, float32, shape (steps per epoch,); [:step] are valid.
    history: one row per finished epoch, float64, shape (epochs, columns); [:epoch] are valid and never change again.
    order: the sampler's state from which the current epoch's order is drawn.
    best: the best model's tensors; replaced as a whole, never changed in place.
    final: the last epoch's, once training is over; never saved, since `model` still holds them in every checkpoint.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    sampler: torch.Generator
    schedule: Schedule
    patience: Patience
    losses: Tensor
    history: Tensor
    columns: tuple[str, ...]
    strategy_digest: str
    data_digest: str
    device: torch.device
    epoch: int = 0
    step: int = 0
    updates: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    final: dict[str, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    order: Tensor = field(init=False)
    _tensors: list[tuple[str, Tensor]] = field(init=False)
    _optimiser_tensors: list[tuple[str, Tensor]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.order = self.sampler.get_state()
        # Parameters are changed in place for ever: walking the modules once is enough.
        self._tensors = list(self.model.state_dict().items())

    @property
    def steps_per_epoch(self) -> int:
        return len(self.losses)

    def begin_epoch(self, samples: int, *, shuffle: bool) -> Tensor:
        """The order of the samples in the epoch that begins or goes on. int64, shape (samples,)."""
        if self.step == 0:
            self.order = self.sampler.get_state()
        else:
            self.sampler.set_state(self.order)
        return torch.randperm(samples, generator=self.sampler) if shuffle else torch.arange(samples)

    def finish_epoch(self, record: Sequence[float]) -> None:
        """Closes the epoch with its row of the history."""
        self.history[self.epoch] = torch.tensor(record, dtype=torch.float64)
        self.epoch, self.step = self.epoch + 1, 0
        self.order = self.sampler.get_state()

    def keep_best(self) -> None:
        """Copies the model as the best one so far."""
        self.best = self._copy()

    def keep_final(self) -> None:
        """Copies the model as the last epoch left it."""
        self.final = self._copy()

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self._tensors}

    def is_sound(self) -> bool:
        """Whether every loss of this epoch and every parameter is finite. Waits for the device."""
        finite = torch.isfinite(self.losses[: self.step]).all()
        for _, tensor in self._tensors:
            finite = finite & torch.isfinite(tensor).all()
        return bool(finite)

    def capture_sound(self) -> Snapshot | None:
        """Inside an epoch, the state as it is, if it is sound; None at an epoch's end, and after a divergence."""
        return self.capture() if self.step and self.is_sound() else None

    def capture(self) -> Snapshot:
        """Copies the whole state. The loop is held for this only; packing happens on the writer's thread."""
        if not self._optimiser_tensors:
            self._optimiser_tensors = self._find_optimiser_tensors()
        tensors = {f"model/{name}": tensor.clone() for name, tensor in self._tensors}
        for name, tensor in self._optimiser_tensors:
            tensors[name] = tensor.clone()
        for name, tensor in self.best.items():
            tensors[f"best/{name}"] = tensor
        tensors["losses"] = self.losses[: self.step].clone()
        # Finished rows never change, so the writer may read them where they are.
        tensors["history"] = self.history[: self.epoch]
        tensors["rng/order"] = self.order
        tensors["rng/torch"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["rng/cuda"] = torch.cuda.get_rng_state(self.device)
        _, numpy_keys, numpy_position, numpy_has_gauss, numpy_gauss = np.random.get_state(legacy=True)
        _, python_keys, python_gauss = random.getstate()

        def pack() -> list[Buffer]:
            tensors["rng/numpy"] = torch.from_numpy(np.asarray(numpy_keys).astype(np.int64))
            tensors["rng/python"] = torch.from_numpy(np.array(python_keys, dtype=np.int64))
            return pack_tensors(tensors)

        scalars: dict[str, Any] = {
            "format": FORMAT,
            "epoch": self.epoch,
            "step": self.step,
            "updates": self.updates,
            "steps_per_epoch": self.steps_per_epoch,
            "strategy_digest": self.strategy_digest,
            "columns": list(self.columns),
            "early_stopping": {
                "best": self.patience.best,
                "best_epoch": self.patience.best_epoch,
                "waited": self.patience.waited,
            },
            "schedule": {"reductions": self.schedule.reductions},
            "numpy": {"position": numpy_position, "has_gauss": numpy_has_gauss, "gauss": numpy_gauss},
            "python": {"gauss": python_gauss},
            "device": str(self.device),
            "notes": list(self.notes),
        }
        return Snapshot(
            unit=self.epoch,
            unit_name=UNIT,
            state=scalars,
            artifacts={TENSORS: pack},
            step=self.step,
            data_digest=self.data_digest,
        )

    def _find_optimiser_tensors(self) -> list[tuple[str, Tensor]]:
        found = []
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                if value is not None:
                    found.append((f"optimiser/{name}/{key}", value))
        return found
