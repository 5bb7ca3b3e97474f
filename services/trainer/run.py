"""One training from assignment to bundle: load, resume if asked to, train, write the result. Owns that order."""

from __future__ import annotations

import random

import torch

from holdfast import fingerprint
from holdfast.determinism import make_deterministic, seed_everything
from holdfast.errors import InternalError
from holdfast.models.bundle import bundle_files
from holdfast.models.networks import build_model
from holdfast.run.contract import Run
from holdfast.run.market import read_market
from holdfast.run.session import RunSession
from holdfast.services.trainer import objective, resume
from holdfast.services.trainer.evaluation import COLUMNS
from holdfast.services.trainer.loop import Plan, train
from holdfast.services.trainer.samples import Samples, build_samples
from holdfast.services.trainer.schedule import Patience, Schedule
from holdfast.services.trainer.state import UNIT, TrainingState
from holdfast.strategy import Strategy, parse_strategy
from holdfast.v1 import operation_pb2

__all__ = ["begin", "execute"]


def execute(run: Run) -> operation_pb2.TrainingResult:
    """Trains what the run's assignment says, from its checkpoint if it names one.

    Raises RunStopped after a stop, HoldfastError for whatever the user can act on.
    """
    spec = run.assignment.training
    if spec is None:
        raise InternalError(f"A trainer was assigned operation {run.assignment.operation_id}, which is no training.")
    make_deterministic()
    strategy = parse_strategy(spec.strategy)
    with RunSession(run, spec.checkpoint_policy) as session:
        session.report(operation_pb2.Progress(phase="loading data", unit_name=UNIT))
        state, samples, loss = _prepare(session, spec, strategy)
        # The bundle as well: should it not fit into the store, what was trained is saved like after any failure.
        with session.guarding(state.capture_sound):
            # What a resume restored is a good state already.
            if state.updates:
                session.keep(state.capture())
            metrics = train(session, _plan(strategy), samples, state, loss)
            return _result(session, strategy, samples, state, metrics)


def _prepare(
    session: RunSession, spec: operation_pb2.TrainingSpec, strategy: Strategy
) -> tuple[TrainingState, Samples, objective.Loss]:
    data, loaded = strategy.data, session.load_checkpoint()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    session.check_cancelled()
    session.market.check(data.symbols, data.timeframes, data.train.start, data.test.end)
    market, data_digest = read_market(
        session.market, data.symbols, data.timeframes, data.test.end, session.check_cancelled
    )
    change = session.compare_data(loaded, data.symbols, data_digest, allowed=spec.allow_data_change)
    samples = build_samples(strategy, market, device, session.check_cancelled)
    session.check_cancelled()
    seed_everything(strategy.training.seed)
    state, loss = begin(strategy, samples, device, data_digest)
    if loaded is not None:
        resume.restore(
            state,
            loaded,
            optimiser_names=objective.state_names(strategy.training),
            metric=_plan(strategy).metric,
            data_changed=change is not None,
        )
        session.notes(state.notes).add_resume(loaded, change)
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


def _result(
    session: RunSession,
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
    written = session.write_result("the model", "model", files, {"kind": "model", "strategy_name": strategy.name})
    return operation_pb2.TrainingResult(
        model_uri=written.path,
        model_digest=written.manifest_digest,
        metrics=metrics,
        epochs=state.epoch,
        best_epoch=best_epoch,
        notes=state.notes,
    )
