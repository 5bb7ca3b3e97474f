"""A run from a file, in the process that one looks at: Ctrl-C saves, `--resume` ends as if nothing had been."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.artifacts.manifest import read_artifacts
from holdfast.artifacts.store import open_store
from holdfast.run.foreground import _ForegroundRun, main
from holdfast.v1 import operation_pb2
from tests.exact.backtest import make_world
from tests.exact.training import strategy_text, write_market

TRAINER = ("trainer", "holdfast.services.trainer.run:execute")
BACKTESTER = ("backtester", "holdfast.services.backtester.run:execute")


def write_file(directory: Path, name: str, **fields: object) -> Path:
    path = directory / f"{name}.json"
    path.write_text(json.dumps({"data_dir": ".", **fields}))
    return path


def files_of(directory: Path, path: str) -> dict[str, bytes]:
    return dict(read_artifacts(open_store(str(directory / "store")), path).files)


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, once, when two epochs or bars are done."""
    say = _ForegroundRun.progress

    def progress(run: _ForegroundRun, report: operation_pb2.Progress) -> None:
        say(run, report)
        if report.unit >= 2 and run.stop_requested is None:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("holdfast.run.session.PROGRESS_INTERVAL", 0.0)
    monkeypatch.setattr(_ForegroundRun, "progress", progress)


def test_a_training_is_interrupted_and_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, interrupted: None
) -> None:
    write_market(tmp_path / "market")
    (tmp_path / "s.yaml").write_text(strategy_text())
    path = write_file(tmp_path, "Some Name", strategy="s.yaml")
    assert main(*TRAINER, ["run", str(path)]) == 130
    said = capsys.readouterr().err
    assert "loading data: epoch 0" in said
    assert "saved: epoch 2, foreground-some-name/1-2-cancellation" in said
    assert f"Resume with: python -m holdfast.services.trainer run '{path}' --resume" in said
    monkeypatch.undo()
    assert main(*TRAINER, ["run", str(path), "--resume"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"foreground-some-name/model-2 in {tmp_path}/store\n")
    assert "  f1_macro: " in out
    whole = write_file(tmp_path, "whole", strategy=json.loads(strategy_text()))
    assert main(*TRAINER, ["run", str(whole)]) == 0
    resumed = files_of(tmp_path, "foreground-some-name/model-2")
    assert resumed == files_of(tmp_path, "foreground-whole/model-1")


def test_a_backtest_is_interrupted_and_resumed_with_nothing_of_grpc(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, interrupted: None
) -> None:
    world = make_world(tmp_path, bars=900)
    path = write_file(tmp_path, "test", model=world.model_uri, every=100)
    assert main(*BACKTESTER, ["run", str(path)]) == 130
    monkeypatch.undo()
    assert "--resume" in capsys.readouterr().err
    # As a person starts it.
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['backtester', 'run', {str(path)!r}, '--resume']\n"
        "try:\n    runpy.run_module('holdfast.services.backtester', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n    print('exit', end.code, 'grpc' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    lines = done.stdout.splitlines()
    assert lines[0] == f"foreground-test/result-2 in {tmp_path}/store"
    assert lines[-1] == "exit 0 False"


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (TRAINER, {}, "names no strategy"),
        (BACKTESTER, {}, "names no model"),
        (TRAINER, {"strategy": "absent.yaml"}, "absent.yaml cannot be read"),
        (TRAINER, {"strategy": "s", "evry": 1}, "evry"),
    ],
)
def test_a_bad_file_is_explained(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: tuple[str, str],
    fields: dict[str, object],
    expected: str,
) -> None:
    assert main(*kind, ["run", str(write_file(tmp_path, "bad", **fields))]) == 2
    assert expected in capsys.readouterr().err
