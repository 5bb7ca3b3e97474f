"""Brings a training back to where a checkpoint left it. Owns the distrust: every value is checked before it is used.

The digests of a checkpoint say that its bytes are the ones that were written, not that an honest trainer wrote them. So
names, types, shapes and ranges are checked against what this strategy must have, and what can be computed again (early
stopping, the plateau schedule) is computed and compared.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from holdfast.artifacts.catalogue import LoadedCheckpoint
from holdfast.artifacts.tensors import unpack_tensors
from holdfast.errors import Corrupted, NotPossible
from holdfast.services.trainer.state import FORMAT, TENSORS, TrainingState

__all__ = ["restore"]

_MAX_NOTES = 1000
_MT19937_WORDS = 624


def restore(
    state: TrainingState,
    loaded: LoadedCheckpoint,
    *,
    optimiser_names: tuple[str, ...],
    metric: str,
    data_changed: bool,
) -> None:
    """Fills a fresh `state` from a checkpoint whose digests were verified.

    `optimiser_names`: what the optimiser keeps per parameter. `metric`: the history's column for early stopping.
    `data_changed`: the market data differs, which the caller allows: an epoch half done begins again.
    Raises Corrupted (CHECKPOINT_CORRUPTED) for anything that a training of this strategy cannot have written, and
    NotPossible (STRATEGY_CHANGED) when it was another strategy's. `state` is not usable after either.
    """
    source = _Checked(loaded)
    scalars = source.scalars
    if scalars.integer("format") != FORMAT:
        raise source.corrupted(f"its format is not {FORMAT}")
    if scalars.text("strategy_digest") != state.strategy_digest:
        raise NotPossible(
            f"The checkpoint {loaded.checkpoint.checkpoint_id} is of another strategy than this operation's. "
            "Resume from one of its own (`holdfast checkpoints list`) or start over.",
            reason="STRATEGY_CHANGED",
            metadata={"checkpoint_id": loaded.checkpoint.checkpoint_id},
        )
    _restore_position(state, source, data_changed=data_changed)
    _restore_history(state, source, metric)
    _restore_tensors(state, source, optimiser_names)
    _restore_generators(state, source)
    source.expect_nothing_left()


def _restore_position(state: TrainingState, source: _Checked, *, data_changed: bool) -> None:
    scalars = source.scalars
    epochs = len(state.history)
    state.epoch = scalars.integer("epoch", 0, epochs)
    steps = scalars.integer("steps_per_epoch", 1)
    state.step = scalars.integer("step", 0, steps)
    state.updates = scalars.integer("updates", 1)
    if state.epoch == epochs and state.step:
        raise source.corrupted("it stands inside an epoch after the last")
    if (loaded := source.checkpoint).unit != state.epoch or loaded.step != state.step:
        raise source.corrupted("its state and its manifest stand at different epochs")
    losses = source.tensor("losses", (state.step,), torch.float32)
    if data_changed:
        # The epoch has other batches now.
        state.step = 0
    elif steps != state.steps_per_epoch:
        raise source.corrupted(f"its epochs have {steps} steps, this strategy's {state.steps_per_epoch}")
    else:
        state.losses[: state.step] = losses.to(state.losses.device)
    notes = scalars.sequence("notes")
    if len(notes) > _MAX_NOTES or not all(isinstance(note, str) for note in notes):
        raise source.corrupted("its notes are not texts")
    state.notes = list(notes)


def _restore_history(state: TrainingState, source: _Checked, metric: str) -> None:
    if source.scalars.sequence("columns") != list(state.columns):
        raise source.corrupted("its history has other columns")
    history = source.tensor("history", (state.epoch, len(state.columns)), torch.float64)
    state.history[: state.epoch] = history
    rows = history.tolist()
    chosen, val_loss = state.columns.index(metric), state.columns.index("val_loss")
    for epoch, row in enumerate(rows):
        state.patience.observe(epoch, row[chosen])
        state.schedule.observe(row[val_loss])
    patience, saved = state.patience, source.scalars.mapping("early_stopping")
    if (saved.real("best"), saved.integer("best_epoch", -1), saved.integer("waited", 0)) != (
        patience.best,
        patience.best_epoch,
        patience.waited,
    ):
        raise source.corrupted("its early-stopping counters contradict its history")
    if source.scalars.mapping("schedule").integer("reductions", 0) != state.schedule.reductions:
        raise source.corrupted("its learning-rate schedule contradicts its history")


def _restore_tensors(state: TrainingState, source: _Checked, optimiser_names: tuple[str, ...]) -> None:
    with torch.no_grad():
        for name, tensor in state.model.state_dict().items():
            tensor.copy_(source.tensor(f"model/{name}", tensor.shape, tensor.dtype))
            if state.epoch:
                best = source.tensor(f"best/{name}", tensor.shape, tensor.dtype)
                state.best[name] = best.to(tensor.device)
    for name, parameter in state.model.named_parameters():
        kept: dict[str, Tensor] = {}
        for key in optimiser_names:
            shape = torch.Size(()) if key == "step" else parameter.shape
            value = source.tensor(f"optimiser/{name}/{key}", shape, torch.float32)
            if key == "exp_avg_sq" and bool((value < 0).any()):
                raise source.corrupted(f"optimiser/{name}/{key} has negative values")
            # The optimiser counts its updates in float32, which is exact up to 2^24 and then stands still.
            if key == "step" and float(value) != min(state.updates, 2**24):
                raise source.corrupted(f"optimiser/{name}/{key} is not the number of updates")
            kept[key] = value.to(parameter.device)
        if kept:
            state.optimiser.state[parameter] = kept


def _restore_generators(state: TrainingState, source: _Checked) -> None:
    size = torch.get_rng_state().shape
    order, torch_state = (source.tensor(f"rng/{name}", size, torch.uint8) for name in ("order", "torch"))
    python_words = source.tensor("rng/python", (_MT19937_WORDS + 1,), torch.int64)
    numpy_words = source.tensor("rng/numpy", (_MT19937_WORDS,), torch.int64)
    for words in (python_words, numpy_words):
        if bool(((words < 0) | (words >= 2**32)).any()):
            raise source.corrupted("a generator's state has words of more than 32 bits")
    numpy_scalars, python_scalars = source.scalars.mapping("numpy"), source.scalars.mapping("python")
    # A position past the end would make NumPy read beyond its array.
    position = numpy_scalars.integer("position", 0, _MT19937_WORDS)
    has_gauss = numpy_scalars.integer("has_gauss", 0, 1)
    gauss = numpy_scalars.real("gauss")
    python_gauss = None if python_scalars.get("gauss") is None else python_scalars.real("gauss")
    cuda = source.optional("rng/cuda", torch.uint8)
    try:
        state.sampler.set_state(order)
        torch.set_rng_state(torch_state)
        np.random.set_state(("MT19937", numpy_words.numpy().astype(np.uint32), position, has_gauss, gauss))
        random.setstate((3, tuple(python_words.tolist()), python_gauss))
        if cuda is not None and state.device.type == "cuda":
            torch.cuda.set_rng_state(cuda, state.device)
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise source.corrupted(f"a random generator refuses its state ({error})") from error
    state.order = order


class _Scalars:
    """Reads exact JSON with types; a wrong one is a corrupted checkpoint."""

    def __init__(self, values: Mapping[str, Any], path: str, source: _Checked) -> None:
        self._values, self._path, self._source = values, path, source

    def get(self, name: str) -> Any:
        if name not in self._values:
            raise self._source.corrupted(f"{self._path}{name} is missing")
        return self._values[name]

    def integer(self, name: str, least: int = 0, most: int = 2**62) -> int:
        value = self.get(name)
        if type(value) is not int or not least <= value <= most:
            raise self._wrong(name, f"a whole number from {least} to {most}")
        return value

    def real(self, name: str) -> float:
        value = self.get(name)
        if type(value) is not float or math.isnan(value):
            raise self._wrong(name, "a number")
        return value

    def text(self, name: str) -> str:
        value = self.get(name)
        if type(value) is not str:
            raise self._wrong(name, "a text")
        return value

    def sequence(self, name: str) -> list[Any]:
        value = self.get(name)
        if type(value) is not list:
            raise self._wrong(name, "a list")
        return value

    def mapping(self, name: str) -> _Scalars:
        value = self.get(name)
        if type(value) is not dict:
            raise self._wrong(name, "a mapping")
        return _Scalars(value, f"{self._path}{name}.", self._source)

    def _wrong(self, name: str, wanted: str) -> Corrupted:
        return self._source.corrupted(f"{self._path}{name} is not {wanted}")


class _Checked:
    """A checkpoint's parts, each given out once and only in the expected form."""

    def __init__(self, loaded: LoadedCheckpoint) -> None:
        self.checkpoint = loaded.checkpoint
        self.scalars = _Scalars(loaded.state, "", self)
        if loaded.files.keys() != {TENSORS}:
            raise self.corrupted(f"its files are {sorted(loaded.files)} instead of {TENSORS}")
        self._tensors = unpack_tensors(loaded.files[TENSORS], source=f"{TENSORS} in {self.checkpoint.checkpoint_id}")

    def tensor(self, name: str, shape: tuple[int, ...] | torch.Size, dtype: torch.dtype) -> Tensor:
        """A copy of the tensor in memory of torch's own making.

        The file's bytes lie at any address; vector code may round differently at the edges of unaligned memory.
        """
        tensor = self._tensors.pop(name, None)
        if tensor is None:
            raise self.corrupted(f"{name} is missing")
        if tuple(tensor.shape) != tuple(shape) or tensor.dtype != dtype:
            raise self.corrupted(f"{name} is {tensor.dtype} {tuple(tensor.shape)}, not {dtype} {tuple(shape)}")
        if dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
            raise self.corrupted(f"{name} has values that are not finite")
        return tensor.clone(memory_format=torch.contiguous_format)

    def optional(self, name: str, dtype: torch.dtype) -> Tensor | None:
        """As `tensor`, of any length, or None when there is none."""
        return self.tensor(name, self._tensors[name].shape, dtype) if name in self._tensors else None

    def expect_nothing_left(self) -> None:
        if self._tensors:
            raise self.corrupted(f"it has tensors that no training of this strategy has: {sorted(self._tensors)[:3]}")

    def corrupted(self, problem: str) -> Corrupted:
        return Corrupted(
            f"The checkpoint {self.checkpoint.checkpoint_id} cannot be used: {problem}. "
            "Resume from an older one (`holdfast checkpoints list`) or start over.",
            metadata={"checkpoint_id": self.checkpoint.checkpoint_id},
        )
