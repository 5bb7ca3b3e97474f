"""Refused messages are all counted and logged once; an outage of the database is said at its begin and its end."""

from __future__ import annotations

from structlog.testing import capture_logs

from holdfast.errors import InvalidRequest
from holdfast.services.coordinator.postgres.health import QUIET, Health
from holdfast.services.coordinator.workers.refusals import REMEMBERED, STRIKES, Refusals

ERROR = InvalidRequest("no such thing")


def test_every_refusal_counts_and_the_first_of_its_kind_is_logged() -> None:
    refusals = Refusals()
    with capture_logs() as logs:
        for _ in range(100):
            refusals.refuse("w1", "notice", ERROR)
        refusals.refuse("w1", "run_finished", ERROR)
        refusals.refuse("w2", "notice", ERROR)
    assert refusals.counts == {"notice": 101, "run_finished": 1}
    assert [(line["worker"], line["kind"]) for line in logs] == [
        ("w1", "notice"),
        ("w1", "run_finished"),
        ("w2", "notice"),
    ]


def test_a_fact_has_three_strikes_and_is_forgotten_after() -> None:
    refusals = Refusals()
    assert [refusals.strike("w", "i", 1) for _ in range(STRIKES)] == [False, False, True]
    assert not refusals.strike("w", "i", 1)
    assert not refusals.strike("w", "other process", 1)


def test_what_is_remembered_has_a_bound() -> None:
    refusals = Refusals()
    with capture_logs():
        for number in range(REMEMBERED + 10):
            refusals.strike("w", "i", number)
            refusals.refuse(f"w{number}", "notice", ERROR)
    assert len(refusals._strikes) == len(refusals._logged) == REMEMBERED


def test_an_outage_is_said_once_although_reads_go_on() -> None:
    now = 100.0
    health = Health(lambda: now)
    with capture_logs() as logs:
        for _ in range(10):
            health.failed("disk full")
            now += QUIET / 3
            health.succeeded()  # a read, which needs no disk
        failing = health.failing
        now += QUIET
        health.succeeded()
    assert (failing, health.failing) == (True, False)
    assert [line["event"].split(";")[0] for line in logs] == ["Database unavailable", "Database available again"]
