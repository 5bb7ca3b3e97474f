"""Page tokens come back as they were made, and nothing else is taken for one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InvalidRequest
from holdfast.services.coordinator.rpc.pages import make_token, read_token
from holdfast.v1.coordinator_service_pb2 import ListOperationsRequest

MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)).map(lambda time: time.replace(tzinfo=UTC))  # noqa: DTZ001


@given(MOMENTS, st.from_regex(r"[a-z]+-[0-9a-f]{12}", fullmatch=True))
def test_a_token_leads_back_to_the_microsecond(time: datetime, identifier: str) -> None:
    request = ListOperationsRequest(page_size=5, resumable_only=True)
    token = make_token((time, identifier), request)
    assert read_token(token, ListOperationsRequest(page_size=9, resumable_only=True)) == (time, identifier)


@given(st.one_of(st.text(min_size=1), st.from_regex(r"[A-Za-z0-9_-]{1,80}", fullmatch=True)))
def test_anything_else_is_refused_as_a_bad_field(token: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        read_token(token, ListOperationsRequest())
    assert error.value.violations[0].path == "page_token"


def test_a_token_is_bound_to_its_filters() -> None:
    token = make_token((datetime.now(UTC), "x"), ListOperationsRequest())
    with pytest.raises(InvalidRequest, match="same filters"):
        read_token(token, ListOperationsRequest(resumable_only=True))


def test_no_token_is_the_first_page() -> None:
    assert read_token("", ListOperationsRequest()) is None
