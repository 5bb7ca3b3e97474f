"""What the campaign lets Holdfast do, by the SDK or by the `holdfast` command. Owns no judgement."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from holdfast.cli.exits import CONFLICT, DONE, UNREACHABLE
from holdfast.errors import LostRace, Unavailable
from holdfast.sdk import Operation
from tests.support.cluster import Cluster
from tests.support.workloads import long_backtest_text, training_text

MLP = training_text(epochs=40, model__hidden_sizes=[48, 32])
GRU = training_text(epochs=6, model={"type": "gru", "hidden_size": 12, "layers": 1, "window": 12, "dropout": 0.1})
GRU_STEPS = 20
BARS = 2000


class Work:
    """Starts and resumes on one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._model = ""
        self.commands = 0

    def train_model(self) -> Operation:
        """The model that every backtest trades."""
        operation = self._cluster.client.train(long_backtest_text(), checkpoint_every=1)
        self._cluster.await_status(operation, "COMPLETED")
        self._model = operation.id
        return operation

    def start(self, workload: str, max_attempts: int, *, by_command: bool = False) -> Operation:
        """A workload by name."""
        client = self._cluster.client
        if by_command:
            return client.operation(self._command(*self._start_arguments(workload, max_attempts), "--detach"))
        if workload == "mlp":
            return client.train(MLP, checkpoint_every=1, max_attempts=max_attempts)
        if workload == "gru":
            return client.train(GRU, checkpoint_every=1, checkpoint_every_steps=GRU_STEPS, max_attempts=max_attempts)
        return client.backtest(model=self._model, checkpoint_every=BARS, max_attempts=max_attempts)

    def resume(self, operation: Operation, *, by_command: bool = False) -> None:
        """Raises LostRace or NotPossible when it is resumed already, Unavailable when nobody answers."""
        if by_command:
            self._command("operations", "resume", operation.id, "--detach")
        else:
            operation.resume()

    def _start_arguments(self, workload: str, max_attempts: int) -> list[str]:
        options = ["--max-attempts", str(max_attempts)]
        if workload == "backtest":
            return ["backtest", "--model", self._model, "--checkpoint-every", str(BARS), *options]
        steps = ["--checkpoint-every-steps", str(GRU_STEPS)] if workload == "gru" else []
        return ["train", str(self._file(workload)), *steps, *options]

    def _file(self, workload: str) -> Path:
        path = self._cluster.root / f"{workload}.yaml"
        path.write_text(MLP if workload == "mlp" else GRU)
        return path

    def _command(self, *arguments: str) -> str:
        """What the command prints, one word."""
        self.commands += 1
        done = subprocess.run(
            [sys.executable, "-m", "holdfast.cli", *arguments],
            env={**os.environ, **self._cluster.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == UNREACHABLE:
            raise Unavailable(done.stderr)
        if done.returncode == CONFLICT:
            raise LostRace(done.stderr)
        assert done.returncode == DONE, f"holdfast {' '.join(arguments)}: {done.returncode}\n{done.stderr}"
        return done.stdout.strip()
