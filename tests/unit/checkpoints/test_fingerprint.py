"""The fingerprint names our own code: what decides bytes, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from holdfast import fingerprint


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's source, which the fingerprint looks at instead."""
    package = tmp_path / "holdfast"
    for name in ("features", "models", "market", "strategy", "services/trainer", "services/backtester", "sdk"):
        shutil.copytree(fingerprint._PACKAGE / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(fingerprint._PACKAGE / "determinism.py", package)
    monkeypatch.setattr(fingerprint, "_PACKAGE", package)
    return package


def code() -> str:
    return fingerprint.code_digest.__wrapped__()


def test_every_pattern_names_something() -> None:
    for pattern in fingerprint._DECISIVE:
        assert list(fingerprint._PACKAGE.glob(pattern)), pattern


@pytest.mark.parametrize(
    "name",
    [
        "determinism.py",
        "features/inputs.py",
        "models/networks.py",
        "services/trainer/loop.py",
        "services/backtester/kernel.py",
        "services/backtester/inference.py",
        "services/backtester/state.py",
    ],
)
def test_an_edit_of_what_decides_bytes_is_another_fingerprint(copy: Path, name: str) -> None:
    before = code()
    with (copy / name).open("a") as source:
        source.write("# scaled\n")
    assert code() != before
    assert "holdfast code" in fingerprint.changes({"holdfast code": before}, {"holdfast code": code()})


def test_it_is_part_of_the_fingerprint() -> None:
    assert fingerprint.fingerprint()["holdfast code"] == fingerprint.code_digest()


def test_an_edit_elsewhere_is_not(copy: Path) -> None:
    before = code()
    with (copy / "sdk/_async.py").open("a") as source:
        source.write("# other\n")
    assert code() == before
