"""An outage begins with the first loss and ends with the first answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from coordinator.outage import Outage


def test_the_first_loss_is_the_beginning_and_the_last_words_count() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    times = iter(noon + timedelta(seconds=second) for second in range(3))
    outage = Outage(clock=lambda: next(times))
    outage.begin("connection reset")
    outage.begin("no such socket")
    assert (outage.since, outage.words) == (noon, "no such socket")
    outage.end()
    assert (outage.since, outage.words) == (None, "")
    outage.begin("again")
    assert outage.since == noon + timedelta(seconds=1)
