"""Measures a model on a span: its loss each epoch, all metrics at the end. Owns no state; draws no random number.

Predictions are made in blocks of a fixed size, so that the shapes, and with them the last bits, never depend on when a
run was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from holdfast.services.trainer.metrics import classification_metrics, regression_metrics
from holdfast.services.trainer.objective import Loss
from holdfast.services.trainer.samples import Samples
from holdfast.strategy import CLASSES

__all__ = ["COLUMNS", "Evaluator"]

# Values in the inputs of one block; keeps a block in the cache and the time between two looks at a stop short.
_BLOCK_VALUES = 2_000_000
# What the history records per epoch, by kind of decision.
COLUMNS = {
    "classification": ("train_loss", "val_loss", "val_accuracy", "learning_rate"),
    "regression": ("train_loss", "val_loss", "val_mae", "learning_rate"),
}


class Evaluator:
    """Evaluates models on one set of samples; calls `between_blocks` so that a stop is seen soon."""

    def __init__(self, samples: Samples, loss: Loss, between_blocks: Callable[[], None]) -> None:
        self._samples, self._loss, self._between_blocks = samples, loss, between_blocks
        width = samples.inputs.values.shape[1] * samples.inputs.window
        self._block = max(_BLOCK_VALUES // width, 64)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """val_loss, and val_accuracy or val_mae, over the validation span."""
        loss, output, target = self._predict(model, self._samples.validation)
        if self._samples.classification:
            return {"val_loss": loss, "val_accuracy": float((output.argmax(dim=1) == target).double().mean())}
        error = (output.squeeze(1) - target).double().abs().mean() * self._samples.scale
        return {"val_loss": loss, "val_mae": float(error)}

    def test(self, model: nn.Module) -> dict[str, float]:
        """loss and all metrics over the test span; returns are in fractions, whatever the scale of the targets."""
        loss, output, target = self._predict(model, self._samples.test)
        if self._samples.classification:
            metrics = classification_metrics(_array(output.argmax(dim=1)), _array(target), CLASSES)
        else:
            scale = self._samples.scale
            metrics = regression_metrics(_floats(output.squeeze(1)) * scale, _floats(target) * scale)
        return {"loss": loss, **metrics}

    @torch.no_grad()
    def _predict(self, model: nn.Module, rows: Tensor) -> tuple[float, Tensor, Tensor]:
        model.eval()
        outputs = []
        for block in torch.split(rows, self._block):
            self._between_blocks()
            outputs.append(model(self._samples.inputs.at(block)))
        output, target = torch.cat(outputs), self._samples.targets.index_select(0, rows)
        return float(self._loss(output, target)), output, target


def _array(tensor: Tensor) -> NDArray[np.int64]:
    array: NDArray[np.int64] = tensor.cpu().numpy()
    return array


def _floats(tensor: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = tensor.double().cpu().numpy()
    return array
