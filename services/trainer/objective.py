"""What training minimises, and with which optimiser. Owns losses, class weights and optimisers; runs no loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from holdfast.errors import InvalidRequest, Violation
from holdfast.strategy import CLASSES

if TYPE_CHECKING:
    from holdfast.strategy.training import Training

__all__ = ["Loss", "build_loss", "build_optimiser", "class_weights", "state_names"]

# (network's output, target) -> mean loss of the batch, a scalar tensor.
Loss = Callable[[Tensor, Tensor], Tensor]


def build_loss(name: str, weights: Tensor | None, *, focal_gamma: float) -> Loss:
    """The loss by its name in the strategy. `weights`: one per class, float32, or None."""
    if name == "cross_entropy":
        return lambda output, target: functional.cross_entropy(output, target, weight=weights)
    if name == "focal":
        return lambda output, target: _focal(output, target, weights, focal_gamma)
    if name == "mse":
        return lambda output, target: functional.mse_loss(output.squeeze(1), target)
    return lambda output, target: functional.huber_loss(output.squeeze(1), target)


def _focal(output: Tensor, target: Tensor, weights: Tensor | None, gamma: float) -> Tensor:
    """-(1 - p)^gamma log p of the true class, averaged like the weighted cross entropy.

    Source: T.-Y. Lin et al., Focal Loss for Dense Object Detection (2017), equation 5.
    """
    log_p = functional.log_softmax(output, dim=1).gather(1, target.unsqueeze(1)).squeeze(1)
    losses = -((1.0 - log_p.exp()) ** gamma) * log_p
    if weights is None:
        return losses.mean()
    weight = weights.index_select(0, target)
    return (losses * weight).sum() / weight.sum()


def class_weights(choice: str | list[float], targets: NDArray[np.int64]) -> list[float] | None:
    """One weight per class, or None for equal ones.

    `balanced`: samples / (classes present * samples of the class), as scikit-learn's compute_class_weight; a class
    without samples weighs nothing. Raises InvalidRequest when the training span has a single class: nothing can be
    learnt from it.
    """
    counts = np.bincount(targets, minlength=len(CLASSES))
    present = counts > 0
    if present.sum() < 2:
        only = CLASSES[int(counts.argmax())]
        raise InvalidRequest(
            f"Every label of the training span is {only!r}: there is nothing to learn. "
            "Change the labels' thresholds or the training span.",
            violations=[Violation("training.labels", f"only {only!r}", "labels that give at least two classes")],
            reason="ONE_CLASS_ONLY",
        )
    if choice == "none":
        return None
    if choice == "balanced":
        weights = np.zeros(len(CLASSES))
        weights[present] = counts.sum() / (present.sum() * counts[present])
        return [float(weight) for weight in weights]
    return [float(weight) for weight in choice]


def build_optimiser(config: Training, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser by its name in the strategy; fused: one call per update instead of several per parameter."""
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay, fused=True)
    if config.optimiser == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, momentum=config.momentum, fused=True)


def state_names(config: Training) -> tuple[str, ...]:
    """What the optimiser keeps per parameter once it has made an update."""
    if config.optimiser == "sgd":
        return ("momentum_buffer",) if config.momentum > 0.0 else ()
    return ("step", "exp_avg", "exp_avg_sq")
