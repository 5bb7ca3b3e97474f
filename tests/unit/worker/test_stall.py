"""When a run counts as silent, and what follows. Time is what the test says it is."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from holdfast.run.contract import StopKind
from holdfast.v1 import operation_pb2
from holdfast.worker.host import wire
from holdfast.worker.host.executor import Exit, Pulse
from holdfast.worker.host.procfs import Activity, activity
from holdfast.worker.stall import Silence, StallLimit, Turn, Vigil, position

LIMIT = StallLimit(300.0)


def looks(silence: Silence, start: int, stop: int, signs: int = 0) -> list[tuple[int, Turn]]:
    """One look a second; the turns with their times."""
    found = []
    for now in range(start, stop):
        turn = silence.look(float(now), signs)
        if turn is not None:
            found.append((now, turn[0]))
    return found


def test_a_run_that_moves_its_count_is_alive_for_ever() -> None:
    silence = Silence(LIMIT, 0.0)
    assert [silence.look(float(now), signs=now) for now in range(1, 2_000)] == [None] * 1_999


def test_a_count_that_stands_still_warns_at_a_tenth_and_stalls_at_the_limit() -> None:
    assert looks(Silence(LIMIT, 0.0), 1, 302) == [(30, Turn.SILENT), (300, Turn.STALLED), (301, Turn.STALLED)]


def test_life_that_returns_is_told_with_how_long_it_was_away() -> None:
    silence = Silence(LIMIT, 0.0)
    assert looks(silence, 1, 46) == [(30, Turn.SILENT)]
    assert silence.look(46.0, signs=1) == (Turn.BACK, 45.0)
    assert silence.seconds == 0.0


def test_a_run_that_is_silent_by_nature_is_told_of_a_few_times_only() -> None:
    silence, turns, now = Silence(LIMIT, 0.0), [], 0
    for unit in range(100):
        turns += looks(silence, now + 1, now + 36, signs=unit)
        now += 35
    assert [turn for _, turn in turns] == [Turn.SILENT, Turn.BACK]


@pytest.mark.parametrize("gap", [290.0, 3_600.0, 86_400.0])
def test_a_worker_that_slept_blames_nobody(gap: float) -> None:
    silence = Silence(LIMIT, 0.0)
    looks(silence, 1, 21)
    assert silence.look(20.0 + gap, signs=0) is None
    assert silence.seconds == 22.0  # two intervals of the gap, no more
    assert silence.look(21.0 + gap, signs=1) is None


def test_a_short_limit_is_looked_at_more_often() -> None:
    assert (StallLimit(300.0).interval, StallLimit(2.0).interval, StallLimit(0.0).interval) == (1.0, 0.04, 1.0)


class Script:
    """A run's process, and the clock: each sleep of the vigil is one step of the script."""

    def __init__(self, signs: list[int]) -> None:
        self.pid = 4711
        self.pulse = Pulse()
        self.signals: list[int] = []
        self.now = 0.0
        self._signs = iter(signs)
        self.over = False

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        signs = next(self._signs, None)
        if signs is None:
            self.over = True
        else:
            self.pulse = Pulse(self.pulse.beats + 1, signs)

    def signal(self, number: int) -> None:
        self.signals.append(number)

    def request_stop(self, kind: StopKind) -> None: ...

    async def said_everything(self) -> None: ...

    async def gone(self) -> Exit:
        return Exit()

    def close(self) -> None: ...


class Watched:
    """A vigil over a script, and what it said and did."""

    def __init__(self, tmp_path: Path, signs: list[int], limit: StallLimit = LIMIT, letter: str = "S") -> None:
        self.script = Script(signs)
        self.events: list[tuple[str, str, Mapping[str, str]]] = []
        self.given_up: list[str] = []
        self.log = tmp_path / "run.log"
        self.vigil = Vigil(
            limit,
            self.script,
            self.log,
            needed=lambda: not self.script.over and not self.given_up,
            where=lambda: "in 'training', at epoch 12",
            tell=lambda kind, message, details: self.events.append((kind, message, details)),
            give_up=self.given_up.append,
            clock=lambda: self.script.now,
            sleep=self.script.sleep,
            activity=lambda pid: Activity(letter, "is stopped", "continue it"),
        )


async def test_a_silent_run_is_warned_of_dumped_continued_and_given_up(tmp_path: Path) -> None:
    watched = Watched(tmp_path, [5] * 1_000, letter="T")
    await watched.vigil.keep()
    assert [kind for kind, _, _ in watched.events] == ["RUN_UNRESPONSIVE", "RUN_STALLED"]
    warning, stalled = watched.events
    assert warning[1] == (
        "No sign of life for 30 s, in 'training', at epoch 12. Its process 4711 is stopped (state T). What you can do: "
        "continue it. After 300 s of silence it is stopped as FAILED and can be resumed"
    )
    assert warning[2] == {"silent_seconds": "30.0", "pid": "4711", "process_state": "T"}
    assert str(watched.log) in stalled[1]
    # The stacks first: a stopped process must show where it stood before it takes a step.
    assert watched.script.signals == [wire.STACKS_SIGNAL, signal.SIGCONT]
    assert "no sign of life for 300 s; the stacks of all threads:" in watched.log.read_text()
    assert watched.given_up == ["no sign of life for 300 s: process 4711 is stopped (state T)"]
    assert watched.script.now == 301.0  # the first beat brought a sign


async def test_a_short_silence_gets_its_warning_and_its_all_clear(tmp_path: Path) -> None:
    watched = Watched(tmp_path, [5] * 50 + list(range(6, 100)))
    await watched.vigil.keep()
    assert [kind for kind, _, _ in watched.events] == ["RUN_UNRESPONSIVE", "RUN_RESPONSIVE"]
    assert watched.events[1][1] == "The run shows signs of life again after 49 s of silence and goes on"
    assert (watched.given_up, watched.script.signals) == ([], [])


async def test_a_process_that_never_beats_is_silent_from_its_start(tmp_path: Path) -> None:
    watched = Watched(tmp_path, [0] * 1_000)
    await watched.vigil.keep()
    assert len(watched.given_up) == 1


async def test_zero_switches_it_off(tmp_path: Path) -> None:
    watched = Watched(tmp_path, [0] * 1_000, StallLimit(0.0))
    await watched.vigil.keep()
    assert (watched.events, watched.script.now) == ([], 0.0)


async def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    watched = Watched(tmp_path, [0] * 1_000)
    watched.log.mkdir()
    await watched.vigil.keep()
    assert len(watched.given_up) == 1


def test_how_far_a_run_had_come() -> None:
    assert position(None) == "before it had said anything"
    assert position(operation_pb2.Progress(phase="training", unit_name="epoch", unit=3)) == "in 'training', at epoch 3"


@pytest.mark.parametrize(
    ("states", "letter", "words", "advice"),
    [
        ({7: "T", 8: "T"}, "T", "is stopped", "kill -CONT 7"),
        ({7: "S", 8: "D"}, "D", "inside the kernel (in rpc_wait_bit_killable)", "mounts"),
        ({7: "R", 8: "S"}, "R", "computes", "RUN_STALLED_SECONDS"),
        ({7: "S", 8: "R"}, "S", "waits for a lock", "log"),
        ({7: "Z"}, "Z", "about to be gone", ""),
        ({}, "gone", "about to be gone", ""),
    ],
)
def test_what_the_kernel_says(tmp_path: Path, states: dict[int, str], letter: str, words: str, advice: str) -> None:
    for thread, state in states.items():
        directory = tmp_path / "7" / "task" / str(thread)
        directory.mkdir(parents=True)
        (directory / "stat").write_text(f"{thread} (a (strange) name) {state} 1 1 1")
        (directory / "wchan").write_text("rpc_wait_bit_killable")
    found = activity(7, tmp_path)
    assert found.letter == letter
    assert words in found.words
    assert advice in found.advice
