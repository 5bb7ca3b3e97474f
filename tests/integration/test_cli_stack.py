"""The command line against the real thing: PostgreSQL, coordinator, trainer, backtester, started by `holdfast up`."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.local.processes import alive
from holdfast.local.records import read_all
from tests.support.command_line import Cli

ROOT = Path(__file__).resolve().parents[2]
STRATEGY = ROOT / "examples" / "spx_daily.yaml"
# A shell starts background jobs with SIGINT ignored, and this test suite may be one.
INTERRUPTIBLE = """
import signal
from holdfast.cli.__main__ import run
signal.signal(signal.SIGINT, signal.default_int_handler)
run()
"""
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """Everything up, with sample data; nothing is left at the end."""
    # Directly below the system's temporary directory: PostgreSQL's account must be able to pass through.
    cli = Cli(tmp_path_factory.mktemp("stack"))
    try:
        cli("up")
        cli("data", "sample")
        yield cli
    finally:
        records = read_all(cli.home)
        cli("down")
        assert [record.name for record in records if alive(record)] == []
        assert "Nothing was running." in cli("down").stderr


@pytest.fixture(scope="module")
def model(cli: Cli) -> str:
    """A trained model's id."""
    trained = cli.json("train", str(STRATEGY), "--epochs", "3")
    assert trained["status"] == "COMPLETED"
    return str(trained["operation_id"])


def test_up_again_changes_nothing(cli: Cli) -> None:
    before = {path.name: path.read_text() for path in (cli.home / "run").glob("*.json")}
    records = cli.json("up")
    assert {record["name"] for record in records} == {"postgres", "coordinator", "trainer-1", "backtester-1"}
    assert [record["name"] for record in records if record["started"]] == []
    assert {path.name: path.read_text() for path in (cli.home / "run").glob("*.json")} == before


def test_status_and_workers(cli: Cli) -> None:
    status = cli.json("status")
    assert status["database_connected"]
    assert status["orphan_detector"]["running"]
    assert {worker["status"] for worker in cli.json("workers", "list")} == {"CONNECTED"}
    assert "trainer-1" in cli("status").stdout


def test_train_backtest_report(cli: Cli, model: str, tmp_path: Path) -> None:
    assert cli.json("models", "list")[0]["operation_id"] == model
    said = cli("backtest", str(STRATEGY), "--from", "2015-01-01")
    assert "buy and hold" in said.stdout
    backtest = next(row for row in cli.json("ops", "list", "--kind", "backtest") if row["status"] == "COMPLETED")
    assert backtest["backtest"]["model_operation_id"] == model
    for operation in (model, backtest["operation_id"]):
        cli("report", operation, "--output", str(tmp_path / "picture.png"))
        assert (tmp_path / "picture.png").read_bytes().startswith(PNG)
    story = [event["type"] for event in cli.json("operations", "events", model)]
    assert story[0] == "CREATED"
    assert story[-1] == "COMPLETED"
    assert cli.json("checkpoints", "list", model) == []


def test_ctrl_c_cancels_and_the_resume_command_works(cli: Cli) -> None:
    endless = ["--epochs", "100000", "--set", "training.early_stopping=null"]
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "train", str(STRATEGY), *endless],
        env=cli.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = []
        try:
            for line in process.stderr:
                said.append(line)
                if re.match(r"training .*epoch [1-9]", line):  # an epoch is done: there is something to save
                    process.send_signal(signal.SIGINT)
                    break
            said.append(process.communicate(timeout=90)[1])
        finally:
            process.kill()
    text = "".join(said)
    assert process.returncode == 1, text
    assert "Traceback" not in text
    (command,) = [line for line in text.splitlines() if line.startswith("Resume it with: holdfast ")]
    assert "Checkpoint: epoch " in text
    operation = command.split()[-1]
    (row,) = [row for row in cli.json("operations", "list", "--resumable") if row["operation_id"] == operation]
    assert row["status"] == "CANCELLED"
    assert "whole" in cli("checkpoints", "verify", operation).stdout

    cli(*command.removeprefix("Resume it with: holdfast ").split())
    said_by_cancel = cli("operations", "cancel", operation)
    assert f"holdfast operations resume {operation}" in said_by_cancel.stderr
    shown = cli.json("operations", "show", operation)
    assert (shown["status"], shown["attempt"]) == ("CANCELLED", 2)
    assert shown["checkpoint"]["unit"] >= row["checkpoint"]["unit"]
    types = [event["type"] for event in cli.json("operations", "events", operation)]
    assert types.count("CANCELLED") == 2
    assert "RESUMED" in types
    assert cli("operations", "resume", "--checkpoint", f"{operation}/1-999999", operation, code=3).stdout == ""


def test_resuming_what_completed_is_a_conflict(cli: Cli, model: str) -> None:
    said = cli("operations", "resume", model, code=4)
    assert model in said.stderr


def test_unknown_operations_are_not_found(cli: Cli) -> None:
    for command in (["operations", "show"], ["operations", "cancel"], ["operations", "resume"], ["report"]):
        cli(*command, "training-000000000000", code=3)
    cli("workers", "drain", "nobody", code=3)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("function: RSI,", "function: RSII,", ["indicators.rsi_14", "RSII", "RSI"]),
        ("early_stopping:", "early_stoping:", ["training.early_stoping", "early_stopping"]),
        ("input: rsi_14", "input: rsi_15", ["fuzzy_sets.rsi", "rsi_15", "rsi_14"]),
        ("symbols: [SPX]", "symbols: [SPQ]", ["SPQ", "SPX"]),
        ("end: 2018-12-31", "end: 2031-12-31", ["2031-12-31", "2018-12-31"]),
        ("epochs: 80", "epochs: -5", ["training.epochs", "-5"]),
        ("epochs: 80", "epochs: [80", ["YAML"]),
    ],
)
def test_a_bad_strategy_is_told_and_leaves_nothing(
    cli: Cli, tmp_path: Path, old: str, new: str, words: list[str]
) -> None:
    text = STRATEGY.read_text()
    assert old in text
    (tmp_path / "bad.yaml").write_text(text.replace(old, new))
    before = len(cli.json("operations", "list"))
    said = cli("train", str(tmp_path / "bad.yaml"), code=2)
    for word in words:
        assert word in said.stderr
    assert len(cli.json("operations", "list")) == before


def test_another_strategy_s_model_is_a_conflict(cli: Cli, model: str, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(STRATEGY.read_text().replace("hidden_sizes: [32, 16]", "hidden_sizes: [8]"))
    before = len(cli.json("operations", "list"))
    said = cli("backtest", str(other), "--model", model, code=4)
    assert model in said.stderr
    cli("backtest", str(STRATEGY), "--model", "training-000000000000", code=3)
    cli("backtest", str(STRATEGY), "--from", "2030-01-01", code=2)
    assert len(cli.json("operations", "list")) == before


def test_two_followers_see_the_same_end(cli: Cli, model: str) -> None:
    operation = cli("backtest", "--model", model, "--detach").stdout.strip()
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda: codes.append(cli("operations", "watch", operation).returncode))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert codes == [0, 0]


def test_a_refusing_database_is_one_message_and_stops_what_was_started(cli: Cli, tmp_path: Path) -> None:
    home = tmp_path / "other"
    said = cli(
        "up", code=5, HOLDFAST_DATA_DIR=str(home), HOLDFAST_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing"
    )
    assert "HOLDFAST_DATABASE_URL" in said.stderr
    assert list((home / "run").glob("*.json")) == []


def test_a_drained_worker_says_so(cli: Cli) -> None:
    cli("workers", "drain", "backtester-1")
    (worker,) = [worker for worker in cli.json("workers", "list") if worker["worker_id"] == "backtester-1"]
    assert worker["status"] == "DRAINING"
