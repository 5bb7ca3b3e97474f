"""Owns every environment variable. A bad value stops the process with one clear line naming the variable."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from holdfast.errors import InvalidRequest, Violation

__all__ = ["DEFAULT_COORDINATOR", "Settings", "load_settings"]

DEFAULT_COORDINATOR = "127.0.0.1:7400"


class Settings(BaseSettings):
    """Settings of every process; each reads what it needs. Times are in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="", case_sensitive=True, extra="ignore", frozen=True)

    database_url: str = Field("", alias="HOLDFAST_DATABASE_URL")
    listen: str = Field("", alias="HOLDFAST_LISTEN", pattern=r"^$|^[^\s:]+:\d{1,5}$|^\[[^\s]+\]:\d{1,5}$")
    coordinator: str = Field(DEFAULT_COORDINATOR, alias="HOLDFAST_COORDINATOR")
    advertise: str = Field("", alias="HOLDFAST_ADVERTISE")
    worker_id: str = Field("", alias="HOLDFAST_WORKER_ID", pattern=r"^[A-Za-z0-9._-]{0,63}$")
    store_url: str = Field("", alias="HOLDFAST_STORE_URL")
    data_dir: Path = Field(Path("~/.holdfast"), alias="HOLDFAST_DATA_DIR")
    # What the coordinator takes in, and where it dials.
    max_workers: int = Field(256, alias="HOLDFAST_MAX_WORKERS", ge=1, le=10_000)
    max_watches: int = Field(1000, alias="HOLDFAST_MAX_WATCHES", ge=1, le=100_000)
    worker_networks: str = Field("", alias="HOLDFAST_WORKER_NETWORKS")
    # A run's log and the older part beside it, together.
    run_log_max_bytes: int = Field(16 * 1024 * 1024, alias="RUN_LOG_MAX_BYTES", ge=64 * 1024)
    slots: int = Field(1, alias="HOLDFAST_SLOTS", ge=1, le=256)
    grace_seconds: float = Field(30.0, alias="HOLDFAST_GRACE_SECONDS", gt=0, allow_inf_nan=False)
    # CPU threads inside one torch operation. Part of the fingerprint: other counts round differently.
    threads: int = Field(1, alias="HOLDFAST_THREADS", ge=1, le=1024)
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", alias="HOLDFAST_LOG_LEVEL")
    orphan_timeout_seconds: float = Field(60.0, alias="ORPHAN_TIMEOUT_SECONDS", gt=0, allow_inf_nan=False)
    orphan_check_interval_seconds: float = Field(15.0, alias="ORPHAN_CHECK_INTERVAL_SECONDS", gt=0, allow_inf_nan=False)
    heartbeat_interval_seconds: float = Field(1.0, alias="HEARTBEAT_INTERVAL_SECONDS", gt=0, allow_inf_nan=False)
    # Without a sign of life from a run's own code for so long, it is stopped as FAILED; 0: never.
    run_stalled_seconds: float = Field(300.0, alias="RUN_STALLED_SECONDS", ge=0, allow_inf_nan=False)
    checkpoint_max_age_days: int = Field(30, alias="CHECKPOINT_MAX_AGE_DAYS", ge=1)
    checkpoint_quarantine_days: int = Field(7, alias="CHECKPOINT_QUARANTINE_DAYS", ge=1)
    checkpoint_cleanup_interval_hours: float = Field(
        24.0, alias="CHECKPOINT_CLEANUP_INTERVAL_HOURS", gt=0, allow_inf_nan=False
    )
    # A fast backtest passes its checkpoint interval in milliseconds; periodic saves are at least this far apart, and
    # farther where a save takes long (run/pace.py). 0 saves at every interval.
    checkpoint_spacing_seconds: float = Field(0.25, alias="CHECKPOINT_SPACING_SECONDS", ge=0, allow_inf_nan=False)
    # The story tells of one periodic checkpoint in so many seconds; each is in the catalogue all the same. 0: of each.
    checkpoint_event_seconds: float = Field(30.0, alias="CHECKPOINT_EVENT_SECONDS", ge=0, allow_inf_nan=False)
    # How long a run that ends waits for room in a full store before it is FAILED. 0: not at all.
    store_full_wait_seconds: float = Field(600.0, alias="STORE_FULL_WAIT_SECONDS", ge=0, allow_inf_nan=False)
    research_restart_policy: Literal["resume", "fail"] = Field("resume", alias="RESEARCH_RESTART_POLICY")
    research_poll_interval_seconds: float = Field(
        2.0, alias="RESEARCH_POLL_INTERVAL_SECONDS", gt=0, allow_inf_nan=False
    )
    max_concurrent_researches: int = Field(0, alias="MAX_CONCURRENT_RESEARCHES", ge=0)

    @field_validator("worker_networks")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        for part in text.split(","):
            if part.strip():
                ipaddress.ip_network(part.strip())  # its ValueError says what is wrong
        return text

    @property
    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """Networks in which workers may be dialled, besides where they call from."""
        return tuple(ipaddress.ip_network(part.strip()) for part in self.worker_networks.split(",") if part.strip())

    @property
    def home(self) -> Path:
        """The data directory, absolute."""
        return self.data_dir.expanduser().resolve()

    @property
    def store(self) -> str:
        """The artifact store's URL or directory; `<data dir>/store` unless set."""
        return self.store_url or str(self.home / "store")

    @property
    def market_dir(self) -> Path:
        """Where imported market data lies."""
        return self.home / "market"

    @field_validator("run_stalled_seconds")
    @classmethod
    def _never_or_a_second(cls, seconds: float) -> float:
        # A limit below the pause between two beats of a busy machine would end healthy runs.
        if 0 < seconds < 1:
            raise ValueError("0 (never), or 1 and more")
        return seconds


def load_settings() -> Settings:
    """Reads the environment.

    Raises InvalidRequest with one violation per bad variable.
    """
    try:
        return Settings()  # type: ignore[call-arg]  # every field comes from the environment
    except ValidationError as error:
        violations = tuple(
            Violation(path=str(item["loc"][0]), value=repr(item["input"]), allowed=item["msg"])
            for item in error.errors()
        )
        text = "; ".join(f"{v.path}={v.value}: {v.allowed}" for v in violations)
        raise InvalidRequest(
            f"Bad setting: {text}. Correct the environment variable and start again.",
            violations=violations,
            reason="INVALID_SETTING",
        ) from error
