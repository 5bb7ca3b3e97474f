"""How the learning rate moves, and when training stops. Plain numbers in and out: no tensor, no clock.

Every rate is a function of the position alone, or of the validation losses so far, so that a resumed run computes the
same rates without a scheduler object to bring back to life.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.strategy.training import Scheduler

__all__ = ["Patience", "Schedule"]

# OneCycle begins at 1/25 of the peak and ends at 1/10,000 of that (torch.optim.lr_scheduler.OneCycleLR's defaults).
_ONE_CYCLE_START = 25.0
_ONE_CYCLE_END = 1e4
# An improvement smaller than this fraction is none (torch.optim.lr_scheduler.ReduceLROnPlateau's default).
_PLATEAU_THRESHOLD = 1e-4


@dataclass(slots=True)
class Patience:
    """Counts epochs without an improvement of a metric.

    `best` and `best_epoch` (-1: none yet) are of the last improvement, `waited` the epochs since.
    """

    min_delta: float = 0.0
    higher_is_better: bool = False
    best: float = math.inf
    best_epoch: int = -1
    waited: int = 0

    def observe(self, epoch: int, value: float) -> bool:
        """Takes an epoch's value; True when it is the best by more than `min_delta`. The first finite one always is."""
        cost = -value if self.higher_is_better else value
        if cost < self.best - self.min_delta:
            self.best, self.best_epoch, self.waited = cost, epoch, 0
            return True
        self.waited += 1
        return False


class Schedule:
    """The learning rate of every step.

    cosine: I. Loshchilov, F. Hutter, SGDR (2017), equation 5, one period over all epochs. onecycle: L. N. Smith, N.
    Topin, Super-Convergence (2018), with cosine annealing and a constant momentum. plateau: as torch's
    ReduceLROnPlateau.
    """

    def __init__(self, config: Scheduler, *, learning_rate: float, epochs: int, steps_per_epoch: int) -> None:
        self._config = config
        self._peak = learning_rate
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self.per_step = config.type == "onecycle"
        # Of plateau alone.
        self.reductions = 0
        self._best = math.inf
        self._waited = 0

    def rate(self, epoch: int, step: int) -> float:
        """The rate for step `step` (from 0) of epoch `epoch` (from 0)."""
        config = self._config
        if config.type == "cosine":
            return _anneal(self._peak, config.min_learning_rate, epoch / self._epochs)
        if config.type == "step":
            return float(self._peak * config.gamma ** (epoch // config.step_size))
        if config.type == "plateau":
            return float(max(self._peak * config.factor**self.reductions, min(config.min_learning_rate, self._peak)))
        if config.type == "onecycle":
            done = (epoch * self._steps_per_epoch + step) / max(self._epochs * self._steps_per_epoch - 1, 1)
            first = self._peak / _ONE_CYCLE_START
            if done < config.warmup:
                return _anneal(first, self._peak, done / config.warmup)
            return _anneal(self._peak, first / _ONE_CYCLE_END, (done - config.warmup) / (1.0 - config.warmup))
        return self._peak

    def observe(self, value: float) -> None:
        """Takes an epoch's validation loss; only plateau listens."""
        if self._config.type != "plateau":
            return
        if value < self._best * (1.0 - _PLATEAU_THRESHOLD):
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited > self._config.patience:
            self.reductions, self._waited = self.reductions + 1, 0


def _anneal(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * done)) / 2.0
