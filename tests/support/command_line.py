"""The `holdfast` command in processes of its own, as a person has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


class Cli:
    """Runs `holdfast` in processes of its own, all in one data directory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        ours = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        self.environment = ours | {"HOLDFAST_DATA_DIR": str(home), "HOLDFAST_LISTEN": "127.0.0.1:0"}

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a command line, however it ends."""
        return subprocess.run(
            [sys.executable, "-m", "holdfast.cli", *arguments],
            env=self.environment | environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )

    def __call__(self, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a command line; its exit code must be `code`."""
        done = self.run(*arguments, **environment)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        return json.loads(self(*arguments, "--json").stdout)
