"""One training from assignment to bundle: load, resume if asked to, train, write the result. Owns that order."""

from __future__ import annotations

import random
from collections.abc import Mapping

import structlog
import torch

from holdfast import fingerprint
from holdfast.artifacts.catalogue import LoadedCheckpoint, load_checkpoint
from holdfast.artifacts.manifest import write_artifacts
from holdfast.artifacts.store import Store, open_store
from holdfast.determinism import make_deterministic, seed_everything
from holdfast.errors import InternalError, NotPossible
from holdfast.market import MarketStore
from holdfast.models.bundle import bundle_files
from holdfast.models.networks import build_model
from holdfast.run.contract import Assignment, Run, RunStopped
from holdfast.run.final import FinalWrites
from holdfast.run.pace import Pace
from holdfast.run.writer import CheckpointWriter
from holdfast.services.trainer import objective, resume
from holdfast.services.trainer.evaluation import COLUMNS
from holdfast.services.trainer.loop import Plan, train
from holdfast.services.trainer.samples import Samples, build_samples, read_market
from holdfast.services.trainer.saving import Saver
from holdfast.services.trainer.schedule import Patience, Schedule
from holdfast.services.trainer.state import UNIT, TrainingState
from holdfast.settings import load_settings
from holdfast.strategy import Strategy, parse_strategy
from holdfast.v1 import operation_pb2

__all__ = ["begin", "execute"]

log = structlog.get_logger()


def execute(run: Run) -> operation_pb2.TrainingResult:
    """Trains what the run's assignment says, from its checkpoint if it names one.

    Raises RunStopped after a stop, HoldfastError for whatever the user can act on.
    """
    assignment = run.assignment
    spec = assignment.training
    if spec is None:
        raise InternalError(f"A trainer was assigned operation {assignment.operation_id}, which is no training.")
    make_deterministic()
    _tell_loading(run)
    strategy = parse_strategy(spec.strategy)
    store, policy = open_store(assignment.store_url), spec.checkpoint_policy
    settings = load_settings()
    pace = Pace(settings.checkpoint_spacing_seconds)
    with CheckpointWriter(store, run, pace=pace, periodic=bool(policy.every_units or policy.every_steps)) as writer:
        state, samples, loss = _prepare(run, spec, strategy, store)
        final = FinalWrites.of(run, writer, settings)
        saver = Saver(writer, final, policy, pace=pace)
        # The bundle as well: should it not fit into the store, what was trained is saved like after any failure.
        with saver.guarding(state):
            metrics = train(run, _plan(strategy), samples, state, loss, saver)
            return _result(assignment, store, final, strategy, samples, state, metrics)


def _prepare(
    run: Run, spec: operation_pb2.TrainingSpec, strategy: Strategy, store: Store
) -> tuple[TrainingState, Samples, objective.Loss]:
    assignment = run.assignment
    loaded = None
    if assignment.checkpoint is not None:
        loaded = load_checkpoint(store, assignment.checkpoint, operation_id=assignment.operation_id)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _raise_if_stopped(run)
    market, data_digest = read_market(MarketStore(assignment.market_dir), strategy, lambda: _raise_if_stopped(run))
    data_changed = loaded is not None and loaded.checkpoint.data_digest != data_digest
    if data_changed and not spec.allow_data_change:
        raise NotPossible(
            "The market data differs from what the checkpoint was trained on, so the run cannot go on exactly. "
            "Import the old data again, resume with --allow-data-change, or start a new training.",
            reason="MARKET_DATA_CHANGED",
            metadata={"operation_id": assignment.operation_id},
        )
    samples = build_samples(strategy, market, device, lambda: _raise_if_stopped(run))
    _raise_if_stopped(run)
    seed_everything(strategy.training.seed)
    state, loss = begin(strategy, samples, device, data_digest)
    if loaded is not None:
        resume.restore(
            state,
            loaded,
            optimiser_names=objective.state_names(strategy.training),
            metric=_plan(strategy).metric,
            data_changed=data_changed,
        )
        _note_changes(run, state, loaded, data_changed=data_changed)
    return state, samples, loss


def begin(
    strategy: Strategy, samples: Samples, device: torch.device, data_digest: str
) -> tuple[TrainingState, objective.Loss]:
    """A training's state before its first step, and its loss. Draws from the seeded generators.

    Raises InvalidRequest when the labels of the training span leave nothing to learn.
    """
    config = strategy.training
    weights = None
    if samples.classification:
        chosen = objective.class_weights(config.class_weights, samples.train_classes())
        weights = None if chosen is None else torch.tensor(chosen, dtype=torch.float32, device=device)
    loss = objective.build_loss(strategy.loss, weights, focal_gamma=config.focal_gamma)
    # Drawn on the CPU and moved: a model begins the same whatever device it trains on.
    model = build_model(strategy.model, len(samples.input_names), strategy.output_dim).to(device)
    sampler = torch.Generator()
    sampler.manual_seed(random.getrandbits(63))
    steps = -(-len(samples.train) // config.batch_size)
    columns = COLUMNS[strategy.decisions.type]
    stopping = config.early_stopping
    state = TrainingState(
        model=model,
        optimiser=objective.build_optimiser(config, model.parameters()),
        sampler=sampler,
        schedule=Schedule(
            config.scheduler, learning_rate=config.learning_rate, epochs=config.epochs, steps_per_epoch=steps
        ),
        patience=Patience(
            min_delta=stopping.min_delta if stopping else 0.0,
            higher_is_better=bool(stopping and stopping.metric == "val_accuracy"),
        ),
        losses=torch.zeros(steps, dtype=torch.float32, device=device),
        history=torch.zeros((config.epochs, len(columns)), dtype=torch.float64),
        columns=columns,
        strategy_digest=strategy.digest(),
        data_digest=data_digest,
        device=device,
    )
    return state, loss


def _plan(strategy: Strategy) -> Plan:
    config = strategy.training
    stopping = config.early_stopping
    return Plan(
        epochs=config.epochs,
        batch_size=config.batch_size,
        shuffle=config.shuffle,
        gradient_clip=config.gradient_clip,
        patience=stopping.patience if stopping else None,
        metric=stopping.metric if stopping else "val_loss",
    )


def _note_changes(run: Run, state: TrainingState, loaded: LoadedCheckpoint, *, data_changed: bool) -> None:
    """Says aloud what breaks the promise of exactness; the result repeats it."""
    where = f"{UNIT} {state.epoch}" + (f", step {state.step}" if state.step else "")
    if data_changed:
        message = f"Market data changed: resumed at {where} on other bars than the checkpoint's."
        _note(run, state, "MARKET_DATA_CHANGED", message, {"checkpoint": loaded.checkpoint.checkpoint_id})
    different = fingerprint.changes(loaded.fingerprint, fingerprint.fingerprint())
    if different:
        listed = ", ".join(f"{name} {change}" for name, change in different.items())
        message = (
            f"Resumed at {where} on other hardware or libraries ({listed}): the result may differ in its last bits."
        )
        _note(run, state, "FINGERPRINT_CHANGED", message, different)


def _note(run: Run, state: TrainingState, kind: str, message: str, details: Mapping[str, str]) -> None:
    state.notes.append(message)
    run.notice(kind, message, details)
    log.warning("Resume is not exact", reason=kind, **details)


def _result(
    assignment: Assignment,
    store: Store,
    final: FinalWrites,
    strategy: Strategy,
    samples: Samples,
    state: TrainingState,
    metrics: dict[str, float],
) -> operation_pb2.TrainingResult:
    best_epoch = state.patience.best_epoch + 1
    history = [
        {"epoch": epoch + 1, **dict(zip(state.columns, row, strict=True))}
        for epoch, row in enumerate(state.history[: state.epoch].tolist())
    ]
    files = bundle_files(
        strategy=strategy,
        input_names=samples.input_names,
        normalisation=samples.normalisation,
        output_scale=samples.scale,
        best=state.best,
        final=state.final,
        best_epoch=best_epoch,
        metrics=metrics,
        history=history,
        data_digest=state.data_digest,
        fingerprint=fingerprint.fingerprint(),
    )
    path = f"{assignment.operation_id}/model-{assignment.attempt}"
    fields = {"kind": "model", "operation_id": assignment.operation_id, "strategy_name": strategy.name}
    written = final.result("the model", lambda: write_artifacts(store, path, files, fields))
    return operation_pb2.TrainingResult(
        model_uri=written.path,
        model_digest=written.manifest_digest,
        metrics=metrics,
        epochs=state.epoch,
        best_epoch=best_epoch,
        notes=state.notes,
    )


def _tell_loading(run: Run) -> None:
    report = operation_pb2.Progress(phase="loading data", unit_name=UNIT)
    report.update_time.GetCurrentTime()
    run.progress(report)


def _raise_if_stopped(run: Run) -> None:
    if run.stop_requested is not None:
        raise RunStopped
