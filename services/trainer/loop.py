"""The training loop, to be read from top to bottom. Owns the order of events; knows no file and no strategy text.

One epoch: draw an order, step through its batches, validate, keep the best model, decide whether to go on. The clock
only decides when progress is reported; nothing that it says reaches the model.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from holdfast.errors import NotPossible
from holdfast.run.session import RunSession
from holdfast.services.trainer.evaluation import Evaluator
from holdfast.services.trainer.objective import Loss
from holdfast.services.trainer.samples import Samples
from holdfast.services.trainer.state import UNIT, TrainingState
from holdfast.v1 import operation_pb2

__all__ = ["Plan", "train"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers the loop goes by; see holdfast.strategy.training for their meaning."""

    epochs: int
    batch_size: int
    shuffle: bool
    gradient_clip: float | None
    # None: no early stopping.
    patience: int | None
    # The column of the history that chooses the best epoch.
    metric: str


def train(session: RunSession, plan: Plan, samples: Samples, state: TrainingState, loss: Loss) -> dict[str, float]:
    """Trains to the end and returns the best model's metrics on the test span; the best model is `state.best`.

    Raises RunStopped after a stop, NotPossible (TRAINING_DIVERGED) when a loss is no longer finite; `session.guarding`
    around it saves the last good state then.
    """
    loop = _Loop(session, plan, samples, state, loss)
    while not loop.finished():
        loop.train_epoch()
        loop.finish_epoch()
    return loop.test()


class _Loop:
    def __init__(self, session: RunSession, plan: Plan, samples: Samples, state: TrainingState, loss: Loss) -> None:
        self._session, self._plan, self._samples = session, plan, samples
        self._state, self._loss = state, loss
        self._parameters = [parameter for parameter in state.model.parameters() if parameter.requires_grad]
        self._evaluator = Evaluator(samples, loss, session.check_cancelled)
        self._report = operation_pb2.Progress(phase="training", unit_name=UNIT, total_units=plan.epochs)
        self._report.total_steps = state.steps_per_epoch
        self._begun_at, self._begun_updates = time.monotonic(), state.updates

    def finished(self) -> bool:
        state, patience = self._state, self._plan.patience
        return state.epoch >= self._plan.epochs or (patience is not None and state.patience.waited >= patience)

    def train_epoch(self) -> None:
        """Steps through the epoch's batches, from where it stands."""
        plan, state, samples, loss_of = self._plan, self._state, self._samples, self._loss
        model, optimiser, inputs, losses = state.model, state.optimiser, samples.inputs, state.losses
        session, steps = self._session, state.steps_per_epoch
        order = state.begin_epoch(len(samples.train), shuffle=plan.shuffle).to(state.device)
        rows = samples.train.index_select(0, order)
        batches = torch.split(rows, plan.batch_size)
        targets = torch.split(samples.targets.index_select(0, rows), plan.batch_size)
        self._set_rate()
        model.train()
        for step in range(state.step, steps):
            session.check_cancelled()
            if state.schedule.per_step:
                self._set_rate()
            loss = loss_of(model(inputs.at(batches[step])), targets[step])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if plan.gradient_clip is not None:
                _clip(self._parameters, plan.gradient_clip)
            optimiser.step()
            # Kept on the device: reading a loss here would make the loop wait for it.
            losses[step] = loss.detach()
            state.step = step + 1
            state.updates += 1
            if state.step < steps and session.save_due(state.epoch, state.step):
                self._check(state.is_sound())
                session.save(state.capture())
            if session.report_due:
                self._tell()

    def finish_epoch(self) -> None:
        """Validates, keeps the best model, and closes the epoch."""
        state, plan, samples = self._state, self._plan, self._samples
        sizes = torch.full((state.steps_per_epoch,), plan.batch_size, dtype=torch.float64)
        sizes[-1] = len(samples.train) - plan.batch_size * (state.steps_per_epoch - 1)
        train_loss = float((state.losses.cpu().double() * sizes).sum() / len(samples.train))
        self._check(math.isfinite(train_loss))
        measured = {"train_loss": train_loss, "learning_rate": self._rate()}
        measured.update(self._evaluator.validate(state.model))
        self._check(math.isfinite(measured["val_loss"]))
        if state.patience.observe(state.epoch, measured[plan.metric]):
            state.keep_best()
        state.schedule.observe(measured["val_loss"])
        state.finish_epoch([measured[column] for column in state.columns])
        snapshot = state.capture()
        self._session.keep(snapshot)
        if self._session.save_due(state.epoch):
            self._session.save(snapshot)
        self._report.metrics.update(measured)
        self._report.metrics["best_epoch"] = state.patience.best_epoch + 1
        self._tell()

    def test(self) -> dict[str, float]:
        """The best model's metrics on the test span. The model itself now is the best one."""
        self._report.phase = "testing"
        self._tell()
        self._state.keep_final()
        self._state.model.load_state_dict(self._state.best)
        return self._evaluator.test(self._state.model)

    def _rate(self) -> float:
        state = self._state
        # Inside the epoch's last step: the rate in force.
        return state.schedule.rate(state.epoch, min(state.step, state.steps_per_epoch - 1))

    def _set_rate(self) -> None:
        rate = self._rate()
        for group in self._state.optimiser.param_groups:
            group["lr"] = rate

    def _check(self, sound: bool) -> None:
        if sound:
            return
        state = self._state
        bad = (~torch.isfinite(state.losses[: state.step])).nonzero()
        where = f"step {int(bad[0]) + 1} of {state.steps_per_epoch}" if len(bad) else "the validation"
        raise NotPossible(
            f"Training diverged in epoch {state.epoch + 1}, at {where}: the loss is no longer a finite number. "
            f"Lower training.learning_rate (now {self._rate():g}) or training.gradient_clip, or scale the inputs "
            "(normalise: zscore).",
            reason="TRAINING_DIVERGED",
            metadata={"epoch": str(state.epoch + 1), "step": str(int(bad[0]) + 1 if len(bad) else state.step)},
        )

    def _tell(self) -> None:
        now, state = time.monotonic(), self._state
        self._report.unit, self._report.step = state.epoch, state.step
        updates = state.updates - self._begun_updates
        self._report.units_per_second = updates / state.steps_per_epoch / max(now - self._begun_at, 1e-9)
        self._session.report(self._report)


def _clip(parameters: list[nn.Parameter], limit: float) -> None:
    """torch.nn.utils.clip_grad_norm_ without its per-call bookkeeping: same formula, same result."""
    gradients: list[Tensor] = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp_(max=1.0))
