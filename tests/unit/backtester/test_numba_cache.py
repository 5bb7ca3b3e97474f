"""Where compiled code is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast.services.backtester import _numba_cache


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set first, so that monkeypatch restores the variable whatever `place` does to it.
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")


def test_beside_the_source_where_that_can_be_written() -> None:
    _numba_cache.place()
    assert os.environ["NUMBA_CACHE_DIR"] == ""


def test_in_the_data_directory_where_the_package_is_read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOLDFAST_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    _numba_cache.place()
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "cache" / "numba")


def test_a_place_that_was_chosen_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/chosen")
    monkeypatch.setattr(os, "access", lambda *_: False)
    _numba_cache.place()
    assert os.environ["NUMBA_CACHE_DIR"] == "/chosen"
