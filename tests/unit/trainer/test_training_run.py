"""What a training says and saves when it ends well, is stopped, fails, diverges, or meets other data."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from holdfast import fingerprint
from holdfast.artifacts import local
from holdfast.artifacts.catalogue import discover_checkpoints, load_checkpoint
from holdfast.artifacts.local import LocalStore
from holdfast.artifacts.store import open_store
from holdfast.errors import Corrupted, InvalidRequest, NotFound, NotPossible, StoreFull
from holdfast.models.bundle import BUNDLE, load_bundle
from holdfast.models.networks import InputWindows
from holdfast.run.contract import Run, RunStopped, StopKind
from holdfast.run.final import FinalWrites
from holdfast.run.session import RunSession
from holdfast.run.writer import CheckpointWriter
from holdfast.services.trainer import loop
from holdfast.services.trainer import run as trainer_run
from holdfast.services.trainer.run import execute
from holdfast.v1 import checkpoint_pb2
from tests.exact.training import OPERATION, Killed, TrainingRun, WorkerConfig, strategy_text, write_market

Make = Callable[..., WorkerConfig]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("market")
    write_market(directory)
    return directory


@pytest.fixture(autouse=True)
def _save_at_every_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT_SPACING_SECONDS", "0")


@pytest.fixture
def make(tmp_path: Path, market: Path) -> Make:
    def config(strategy: str | None = None, **policy: Any) -> WorkerConfig:
        directory = tmp_path / "work"
        shutil.copytree(market, directory / "market", dirs_exist_ok=True)
        return WorkerConfig(directory, strategy or strategy_text(), **policy)

    return config


def _checkpoints(place: WorkerConfig) -> list[checkpoint_pb2.Checkpoint]:
    return discover_checkpoints(open_store(place.store_url), OPERATION)


def test_a_training_reports_saves_and_leaves_a_bundle(make: Make) -> None:
    place = make()
    run, outcome = place.attempt_once()
    assert outcome is not None
    result = outcome.result
    assert set(outcome.digests) == {"model.safetensors", "final.safetensors", "bundle.json", "history.json"}
    assert 1 <= result.best_epoch <= result.epochs <= 7
    assert {"loss", "accuracy", "f1_macro", "recall_long"} <= set(result.metrics)
    assert run.reports[0].phase == "loading data"
    assert run.reports[-1].phase == "testing"
    assert {"train_loss", "val_loss", "val_accuracy", "learning_rate"} <= set(run.reports[-1].metrics)
    # While one save is under way a newer one may replace the waiting one; the last is always written.
    assert run.saved[-1].unit == result.epochs
    assert {saved.type for saved in run.saved} == {checkpoint_pb2.CHECKPOINT_TYPE_PERIODIC}

    bundle = load_bundle(open_store(place.store_url), result.model_uri, result.model_digest)
    assert len(bundle.history) == result.epochs
    assert bundle.history[result.best_epoch - 1]["val_loss"] == min(record["val_loss"] for record in bundle.history)
    assert bundle.classes == ["short", "flat", "long"]
    assert len(bundle.input_names) == len(bundle.normalisation.offset)
    windows = InputWindows(torch.zeros(4, len(bundle.input_names)), bundle.strategy.model)
    assert bundle.model(windows.at(torch.tensor([0, 3]))).shape == (2, 3)
    assert not bundle.model.training


@pytest.mark.parametrize("labels", ["forward_return", "zigzag"])
def test_other_labels_and_optimisers_train_too(make: Make, labels: str) -> None:
    options: dict[str, Any] = {
        "labels": {"type": labels, **({"threshold": 0.04} if labels == "zigzag" else {})},
        "optimiser": "sgd" if labels == "zigzag" else "adam",
        "scheduler": {"type": "onecycle"},
        "loss": "focal",
        "epochs": 2,
        "shuffle": labels == "zigzag",
        "early_stopping": {"patience": 1, "metric": "val_accuracy"},
    }
    place = make(strategy_text("mlp", **options))
    place.attempt_once(15, StopKind.SHUTDOWN)
    _, outcome = place.attempt_once()
    assert outcome is not None
    assert math.isfinite(outcome.result.metrics["loss"])


def test_a_regression_predicts_returns_in_their_own_unit(make: Make) -> None:
    strategy = json.loads(strategy_text("gru", labels={"type": "forward_return", "horizon": 3}, epochs=3))
    strategy["decisions"] = {"type": "regression", "return_threshold": 0.001}
    strategy["training"]["class_weights"] = "none"
    place = make(json.dumps(strategy))
    _, outcome = place.attempt_once()
    assert outcome is not None
    metrics = dict(outcome.result.metrics)
    assert set(metrics) == {"loss", "mse", "mae", "directional_accuracy", "information_coefficient"}
    bundle = load_bundle(open_store(place.store_url), outcome.result.model_uri)
    inputs = InputWindows(torch.zeros(20, len(bundle.input_names)), bundle.strategy.model)
    predicted = bundle.model(inputs.at(torch.arange(10, 20)))
    assert predicted.shape == (10, 1)
    # Three-day returns here are about 2 %; the network itself works on returns of about 1.
    assert float(predicted.abs().max()) < 0.2


@pytest.mark.parametrize(("kind", "saved_as"), [(StopKind.CANCEL, "cancellation"), (StopKind.SHUTDOWN, "shutdown")])
def test_a_stop_inside_an_epoch_saves_that_very_step(make: Make, kind: StopKind, saved_as: str) -> None:
    place = make(every_epochs=0)
    run, outcome = place.attempt_once(interrupt_at=6, how=kind)
    assert outcome is None
    (saved,) = run.saved
    assert (saved.unit_name, saved.unit, saved.step) == ("epoch", 0, 6)
    assert saved.checkpoint_id.endswith(f"1-0.6-{saved_as}")


@pytest.mark.parametrize("step", ["parse_strategy", "read_market", "build_samples"])
def test_a_stop_while_loading_leaves_nothing_and_raises_run_stopped(
    make: Make, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    place = make()
    run = place.run()
    load = getattr(trainer_run, step)

    def stopped(*arguments: Any) -> Any:
        run.interrupt_at = "loading data"
        return load(*arguments)

    monkeypatch.setattr(trainer_run, step, stopped)
    with pytest.raises(RunStopped):
        place.execute(run)
    assert _checkpoints(place) == []


def test_a_stop_during_the_test_keeps_the_trained_model(make: Make) -> None:
    place = make(every_epochs=0)
    _, outcome = place.attempt_once()
    assert outcome is not None
    shutil.rmtree(place.directory / "store")
    place.attempt = 0
    run, stopped = place.attempt_once(interrupt_at="testing")
    assert stopped is None
    assert run.saved[-1].unit == outcome.result.epochs
    again, resumed = place.attempt_once()
    assert resumed is not None
    assert resumed.digests == outcome.digests
    assert {report.phase for report in again.reports} == {"loading data", "testing"}


def test_a_failing_step_saves_the_last_good_epoch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make(every_epochs=0)
    calls = 0

    def clip(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 30:
            raise MemoryError("no room for a gradient")

    monkeypatch.setattr(loop, "_clip", clip)
    run = place.run()
    with pytest.raises(MemoryError, match="no room"):
        execute(run)
    (saved,) = run.saved
    assert saved.type == checkpoint_pb2.CHECKPOINT_TYPE_FAILURE
    assert (saved.unit, saved.step) == (2, 0)


def test_with_steps_the_last_good_step_is_saved(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make(every_epochs=0, every_steps=4)
    calls = 0

    def clip(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise RuntimeError("a defect")

    monkeypatch.setattr(loop, "_clip", clip)
    run = place.run()
    with pytest.raises(RuntimeError, match="a defect"):
        execute(run)
    # The periodic save of the same step comes before it, unless it still waited and was replaced.
    assert {(saved.unit, saved.step) for saved in run.saved} == {(0, 4)}
    assert run.saved[-1].type == checkpoint_pb2.CHECKPOINT_TYPE_FAILURE


def test_divergence_names_epoch_and_step_and_keeps_the_last_good_state(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make(every_epochs=0)
    seen = 0

    def poison(parameters: list[torch.nn.Parameter], _: float) -> None:
        nonlocal seen
        seen += 1
        if seen == 17 and parameters[0].grad is not None:
            parameters[0].grad.fill_(math.nan)

    monkeypatch.setattr(loop, "_clip", poison)
    run = place.run()
    with pytest.raises(NotPossible, match=r"diverged in epoch 2, at step 7 of 11") as caught:
        execute(run)
    assert caught.value.reason == "TRAINING_DIVERGED"
    assert "training.learning_rate" in caught.value.message
    (saved,) = run.saved
    assert (saved.unit, saved.step, saved.type) == (1, 0, checkpoint_pb2.CHECKPOINT_TYPE_FAILURE)
    monkeypatch.undo()
    _, outcome = place.attempt_once()
    assert outcome is not None


def test_a_stop_after_divergence_saves_the_last_good_state(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make(every_epochs=0)
    seen = 0

    def poison(parameters: list[torch.nn.Parameter], _: float) -> None:
        nonlocal seen
        seen += 1
        if seen == 14 and parameters[0].grad is not None:
            parameters[0].grad.fill_(math.nan)

    monkeypatch.setattr(loop, "_clip", poison)
    run, outcome = place.attempt_once(interrupt_at=16)
    assert outcome is None
    assert [(saved.unit, saved.step) for saved in run.saved] == [(1, 0)]


@pytest.mark.parametrize("ending", [StopKind.SHUTDOWN, RuntimeError])
def test_a_full_disk_at_the_end_is_told_and_hides_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch, ending: StopKind | type[Exception]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    place = make(every_epochs=0)
    monkeypatch.setattr(LocalStore, "write_new", full)
    run = place.run(interrupt_at=25, how=ending)
    with pytest.raises(RunStopped if isinstance(ending, StopKind) else ending):
        place.execute(run)
    ((kind, message),) = run.notices
    assert kind == "CHECKPOINT_FAILED"
    assert "No space left on device" in message
    assert run.saved == []


def test_periodic_saves_keep_their_distance(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT_SPACING_SECONDS", "3600")
    place = make(every_epochs=1, every_steps=3)
    run, outcome = place.attempt_once()
    assert outcome is not None
    # The first is saved all the same: whatever kills this attempt, the next one begins later.
    assert [(saved.unit, saved.step) for saved in run.saved] == [(0, 3)]


def test_the_first_new_epoch_of_every_attempt_is_saved(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT_SPACING_SECONDS", "3600")
    place = make(every_epochs=5)
    whole, _ = make(every_epochs=0).attempt_once()
    shutil.rmtree(place.directory / "store")
    reached = []
    for _ in range(3):
        # Killed in the second epoch of the attempt: before the interval, and before the spacing.
        _, outcome = place.attempt_once(interrupt_at=whole.steps // 7 + 3, how=Killed)
        assert outcome is None
        newest = place.newest()
        assert newest is not None
        reached.append(newest.checkpoint_id)
    assert reached == [f"{OPERATION}/1-1", f"{OPERATION}/2-2", f"{OPERATION}/3-3"]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A disk without room for a model, as long as the list is not empty."""
    state = [True]

    def check(directory: Path, needed: int) -> None:
        if state and directory.name.startswith("model-"):
            raise OSError(28, "No space left on device", str(directory))

    monkeypatch.setattr(local, "check_room", check)
    return state


def test_a_model_that_finds_no_room_fails_with_a_reason_and_the_rest_is_kept(
    make: Make, monkeypatch: pytest.MonkeyPatch, full: list[bool]
) -> None:
    monkeypatch.setenv("STORE_FULL_WAIT_SECONDS", "0")
    place = make()
    run = place.run()
    with pytest.raises(StoreFull, match="training-1/model-1") as caught:
        execute(run)
    assert caught.value.reason == "STORE_FULL"
    assert not list((place.directory / "store").rglob("model-*"))
    full.clear()
    # All that is done again is the test of the best model.
    again, outcome = place.attempt_once()
    assert outcome is not None
    assert {report.phase for report in again.reports} == {"loading data", "testing"}
    shutil.rmtree(place.directory / "store")
    place.attempt = 0
    _, whole = place.attempt_once()
    assert whole is not None
    assert outcome.digests == whole.digests


def test_a_model_waits_for_room(make: Make, monkeypatch: pytest.MonkeyPatch, full: list[bool]) -> None:
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 30.0:
            full.clear()

    def patient(run: Run, writer: CheckpointWriter, settings: object) -> FinalWrites:
        return FinalWrites(run, writer, longest=600.0, at_stop=15.0, clock=lambda: now[0], pause=pause)

    monkeypatch.setattr(FinalWrites, "of", patient)
    run, outcome = make(every_epochs=0).attempt_once()
    assert outcome is not None
    assert [kind for kind, _ in run.notices] == ["WAITING_FOR_SPACE", "WAIT_FOR_SPACE_ENDED"]


def test_changed_market_data_is_refused_and_with_permission_noted(make: Make) -> None:
    place = make()
    place.attempt_once(interrupt_at=25, how=StopKind.CANCEL)
    write_market(place.directory / "market", seed=8)
    with pytest.raises(NotPossible) as caught:
        execute(place.run())
    assert caught.value.reason == "MARKET_DATA_CHANGED"
    place.allow_data_change = True
    run, stopped = place.attempt_once(interrupt_at=8, how=StopKind.CANCEL)
    assert stopped is None
    assert [kind for kind, _ in run.notices] == ["MARKET_DATA_CHANGED"]
    # The note outlives further resumes.
    run, outcome = place.attempt_once()
    assert outcome is not None
    assert not run.notices
    assert len(outcome.result.notes) == 1
    assert "Market data changed" in outcome.result.notes[0]


def test_another_fingerprint_is_said_aloud(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make()
    place.attempt_once(interrupt_at=25, how=StopKind.CANCEL)
    here = fingerprint.fingerprint()
    monkeypatch.setattr(fingerprint, "fingerprint", lambda: {**here, "cpu": "Another One"})
    run, outcome = place.attempt_once()
    assert outcome is not None
    ((kind, message),) = run.notices
    assert kind == "FINGERPRINT_CHANGED"
    assert "Another One" in message
    assert list(outcome.result.notes) == [message]


def test_a_checkpoint_of_another_strategy_is_refused(make: Make) -> None:
    place = make()
    place.attempt_once(interrupt_at=25, how=StopKind.CANCEL)
    place.strategy = strategy_text("mlp", seed=12)
    with pytest.raises(NotPossible) as caught:
        execute(place.run())
    assert caught.value.reason == "STRATEGY_CHANGED"


def test_a_resume_leaves_every_generator_where_it_was(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make(every_epochs=1)
    place.attempt_once(interrupt_at=28, how=StopKind.CANCEL)
    newest = place.newest()
    assert newest is not None
    first = load_checkpoint(open_store(place.store_url), newest, operation_id=OPERATION)

    def train_nothing(session: RunSession, *rest: Any) -> dict[str, float]:
        cast(TrainingRun, session._run).interrupt_at = 0
        return loop.train(session, *rest)

    monkeypatch.setattr(trainer_run, "train", train_nothing)
    # Killed before the first step after the resume, which saves nothing; then stopped there: what was loaded is saved.
    place.attempt_once(how=Killed)
    run, _ = place.attempt_once(how=StopKind.CANCEL)
    again = place.newest()
    assert again is not None
    assert run.saved
    second = load_checkpoint(open_store(place.store_url), again, operation_id=OPERATION)
    assert second.state == first.state
    assert second.files == first.files


def test_too_short_a_span_and_one_sided_labels_are_explained(make: Make) -> None:
    short = json.loads(strategy_text())
    short["data"]["validation"] = {"start": "2011-07-01", "end": "2011-07-04"}
    with pytest.raises(InvalidRequest, match=r"data\.validation \(2011-07-01 to 2011-07-04\)") as caught:
        execute(make(json.dumps(short)).run())
    assert caught.value.reason == "NO_SAMPLES"
    flat = strategy_text(labels={"type": "triple_barrier", "unit": "fraction", "upper": 9.0, "lower": 0.99})
    with pytest.raises(InvalidRequest, match="is 'flat'") as caught:
        execute(make(flat).run())
    assert caught.value.reason == "ONE_CLASS_ONLY"


def test_a_broken_bundle_is_told_from_a_missing_one(make: Make) -> None:
    place = make(strategy_text(epochs=1))
    _, outcome = place.attempt_once()
    assert outcome is not None
    store = open_store(place.store_url)
    with pytest.raises(NotFound) as missing:
        load_bundle(store, "nobody/model-1")
    assert missing.value.reason == "MODEL_NOT_FOUND"
    path = Path(place.store_url) / outcome.result.model_uri / BUNDLE
    path.write_bytes(path.read_bytes().replace(b'"window":1', b'"window":2'))
    with pytest.raises(Corrupted) as broken:
        load_bundle(store, outcome.result.model_uri)
    assert broken.value.reason == "MODEL_CORRUPTED"
    assert BUNDLE in broken.value.message
