"""Where compiled code is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast import fingerprint
from holdfast.services.backtester import _numba_cache


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set first, so that monkeypatch restores the variable whatever `place` does to it.
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")


def placed() -> Path:
    _numba_cache.place()
    return Path(os.environ["NUMBA_CACHE_DIR"])


def test_beside_the_source_where_that_can_be_written() -> None:
    assert placed().parent == Path(_numba_cache.__file__).parent / "__pycache__"


def test_in_the_data_directory_where_the_package_is_read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOLDFAST_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert placed().parent == tmp_path / "cache" / "numba"


def test_below_a_place_that_was_chosen_and_once_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/chosen")
    assert placed().parent == Path("/chosen")
    assert placed().parent == Path("/chosen")


def test_elsewhere_for_a_kernel_of_other_constants(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = placed()
    package = fingerprint._PACKAGE
    for name in _numba_cache._COMPILED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((package / name).read_bytes())
    monkeypatch.setattr(fingerprint, "_PACKAGE", tmp_path)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    assert placed() == here, "the same source"
    changed = tmp_path / "services/backtester/portfolio.py"
    changed.write_text(changed.read_text().replace("KEEP: Final = 2", "KEEP: Final = 3"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    assert placed() != here
