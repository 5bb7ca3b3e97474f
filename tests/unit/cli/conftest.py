"""A command line whose coordinator is scripted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast.cli.__main__ import main
from tests.support.scripted import Script, scripted_coordinator


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory of its own, and no settings from outside."""
    monkeypatch.setenv("HOLDFAST_DATA_DIR", str(tmp_path / "home"))
    monkeypatch.delenv("HOLDFAST_COORDINATOR", raising=False)
    return tmp_path / "home"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    with scripted_coordinator() as script:
        monkeypatch.setenv("HOLDFAST_COORDINATOR", script.address)
        yield script


@pytest.fixture
def holdfast(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line in this process."""

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        code = main(list(arguments))
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Said(code, out, err)

    return run
