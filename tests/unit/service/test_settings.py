"""Settings come from the environment; a bad value names its variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import InvalidRequest
from holdfast.settings import load_settings


def test_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOLDFAST_DATA_DIR", str(tmp_path))
    settings = load_settings()
    assert settings.orphan_timeout_seconds == 60
    assert settings.orphan_check_interval_seconds == 15
    assert settings.run_stalled_seconds == 300
    assert settings.store == str(tmp_path.resolve() / "store")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ORPHAN_TIMEOUT_SECONDS", "-1"),
        ("ORPHAN_TIMEOUT_SECONDS", "soon"),
        ("ORPHAN_TIMEOUT_SECONDS", "nan"),
        ("ORPHAN_CHECK_INTERVAL_SECONDS", "inf"),
        ("RUN_STALLED_SECONDS", "0.5"),
        ("RUN_STALLED_SECONDS", "-1"),
        ("HOLDFAST_SLOTS", "0"),
        ("HOLDFAST_SLOTS", "two"),
        ("HOLDFAST_LISTEN", "7400"),
        ("HOLDFAST_WORKER_ID", "a/b"),
        ("HOLDFAST_THREADS", "many"),
        ("RESEARCH_RESTART_POLICY", "perhaps"),
        ("CHECKPOINT_MAX_AGE_DAYS", "0"),
    ],
)
def test_a_bad_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidRequest, match=variable) as caught:
        load_settings()
    assert caught.value.reason == "INVALID_SETTING"
    assert [violation.path for violation in caught.value.violations] == [variable]


def test_networks_are_checked_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_WORKER_NETWORKS", "10.0.0.0/24, fd00::/8,")
    assert [str(network) for network in load_settings().networks] == ["10.0.0.0/24", "fd00::/8"]
    monkeypatch.setenv("HOLDFAST_WORKER_NETWORKS", "10.0.0.0/24,the office")
    with pytest.raises(InvalidRequest, match="the office"):
        load_settings()
