"""At a run's end a full store is waited for: within a bound, aloud, alive, and not against a stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.artifacts import local as local_store
from holdfast.artifacts.checkpoint import Snapshot
from holdfast.artifacts.store import open_store
from holdfast.errors import StoreFull
from holdfast.run.contract import RunStopped, StopKind
from holdfast.run.final import FinalWrites
from holdfast.run.writer import CheckpointWriter
from holdfast.v1 import checkpoint_pb2
from tests.unit.checkpoints.support import ListeningRun

SNAPSHOT = Snapshot(7, "epoch", {"loss": 0.5}, {"a.bin": b"abc"})


class Scene:
    """A run at its end, a disk with room from `room_at` on, a stop at `stop_at`, and a clock that waits by itself."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.room_at = self.stop_at = float("inf")
        self.looks: list[float] = []
        self.tries: list[float] = []
        scene = self

        class Run(ListeningRun):
            @property
            def stop_requested(self) -> StopKind | None:
                scene.looks.append(scene.now)
                return StopKind.CANCEL if scene.now >= scene.stop_at else None

        def full(directory: Path, needed: int) -> None:
            scene.tries.append(scene.now)
            if scene.now < scene.room_at:
                raise OSError(28, "No space left on device", str(directory))

        monkeypatch.setattr(local_store, "check_room", full)
        self.root = root
        self.run = Run()
        self.store = open_store(str(root))

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def final(self, writer: CheckpointWriter, *, longest: float = 600.0) -> FinalWrites:
        return FinalWrites(self.run, writer, longest=longest, at_stop=15.0, clock=lambda: self.now, pause=self.pause)

    @property
    def events(self) -> list[str]:
        return [notice.kind for notice in self.run.notices]

    def write(self) -> str:
        self.store.write_new("models/op-1-1", {"a": [b"abc"]}, lambda: b"{}")
        return "written"


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def with_final(scene: Scene, act: Callable[[FinalWrites], Any], **options: Any) -> Any:
    with CheckpointWriter(scene.store, scene.run) as writer:
        return act(scene.final(writer, **options))


def test_the_result_waits_for_room_and_says_so(scene: Scene) -> None:
    scene.room_at = 100.0
    assert with_final(scene, lambda final: final.result("the model", scene.write)) == "written"
    assert scene.events == ["WAITING_FOR_SPACE", "WAIT_FOR_SPACE_ENDED"]
    begin, end = (notice.message for notice in scene.run.notices)
    assert "Waiting up to 600 s for room for the model" in begin
    assert f"3 bytes are needed in {scene.root}/models/op-1-1" in begin
    assert "are free. Free some space" in begin
    assert "the model is saved" in end
    assert 100.0 <= scene.now <= 108.0
    assert len(scene.tries) < 25, "tried with a growing distance"


def test_while_it_waits_it_looks_at_the_run_every_second(scene: Scene) -> None:
    scene.room_at = 300.0
    with_final(scene, lambda final: final.result("the model", scene.write))
    distances = [later - earlier for earlier, later in zip(scene.looks, scene.looks[1:], strict=False)]
    assert max(distances) <= 1.0
    assert scene.looks[-1] >= 299.0


def test_the_wait_ends_in_store_full(scene: Scene) -> None:
    with pytest.raises(StoreFull) as caught:
        with_final(scene, lambda final: final.result("the model", scene.write))
    assert caught.value.reason == "STORE_FULL"
    assert scene.now == pytest.approx(600.0)
    assert scene.events == ["WAITING_FOR_SPACE", "WAIT_FOR_SPACE_ENDED"]
    assert "the time is up" in scene.run.notices[1][1]
    assert list(scene.root.rglob("*")) == []


def test_room_that_comes_at_the_last_moment_is_used(scene: Scene) -> None:
    scene.room_at = 600.0
    assert with_final(scene, lambda final: final.result("the model", scene.write)) == "written"


def test_a_stop_ends_the_wait_at_once(scene: Scene) -> None:
    scene.stop_at = 20.0
    with pytest.raises(RunStopped):
        with_final(scene, lambda final: final.result("the model", scene.write))
    assert scene.now <= 21.0
    assert scene.events == ["WAITING_FOR_SPACE", "WAIT_FOR_SPACE_ENDED"]
    assert "stopped" in scene.run.notices[1][1]


def test_after_the_result_has_waited_the_last_state_is_tried_once(scene: Scene) -> None:
    def end(final: FinalWrites) -> None:
        with pytest.raises(StoreFull):
            final.result("the model", scene.write)
        final.failed(lambda: SNAPSHOT)

    with_final(scene, end)
    assert scene.now == pytest.approx(600.0)
    assert scene.events == ["WAITING_FOR_SPACE", "WAIT_FOR_SPACE_ENDED", "CHECKPOINT_FAILED"]
    assert "The last state, at epoch 7, could not be saved" in scene.run.notices[2][1]


def test_the_last_state_waits_for_room_after_a_failure(scene: Scene) -> None:
    scene.room_at = 40.0
    with_final(scene, lambda final: final.failed(lambda: SNAPSHOT))
    assert [saved.type for saved in scene.run.saved] == [checkpoint_pb2.CHECKPOINT_TYPE_FAILURE]
    assert scene.events == ["WAITING_FOR_SPACE", "WAIT_FOR_SPACE_ENDED"]


@pytest.mark.parametrize(("room_at", "saved"), [(10.0, True), (20.0, False)])
def test_after_a_stop_it_waits_only_as_long_as_the_run_may_live(scene: Scene, room_at: float, saved: bool) -> None:
    scene.stop_at, scene.room_at = 0.0, room_at
    with_final(scene, lambda final: final.stopped(lambda: SNAPSHOT))
    assert bool(scene.run.saved) is saved
    assert scene.now <= 15.5
    assert ("CHECKPOINT_FAILED" in scene.events) is not saved


def test_without_a_bound_nothing_is_waited_for(scene: Scene) -> None:
    with pytest.raises(StoreFull):
        with_final(scene, lambda final: final.result("the model", scene.write), longest=0.0)
    assert (scene.now, scene.events) == (0.0, [])


def test_any_other_error_is_raised_at_once(scene: Scene) -> None:
    def broken() -> None:
        raise PermissionError("not yours")

    with pytest.raises(PermissionError):
        with_final(scene, lambda final: final.result("the model", broken))
    assert scene.events == []
