"""Page tokens: where the next page begins. Opaque to callers; bound to the filter they were made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from datetime import UTC, datetime

from google.protobuf.message import Message

from holdfast.errors import InvalidRequest, Violation

__all__ = ["Place", "fingerprint", "make_token", "read_token"]

Place = tuple[datetime, str]


def fingerprint(request: Message) -> str:
    """What must not change between two pages: everything but the page's own fields."""
    copy = type(request)()
    copy.CopyFrom(request)
    for field in ("page_token", "page_size"):
        copy.ClearField(field)
    return hashlib.sha256(copy.SerializeToString(deterministic=True)).hexdigest()[:16]


def make_token(place: Place, request: Message) -> str:
    """The token of the page below `place`."""
    time, identifier = place
    content = json.dumps([_microseconds(time), identifier, fingerprint(request)])
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def read_token(token: str, request: Message) -> Place | None:
    """Where the page begins; None for the first. Raises InvalidRequest for a token that this request did not get."""
    if not token:
        return None
    try:
        content = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
        microseconds, identifier, of = content
        if not isinstance(microseconds, int) or not isinstance(identifier, str) or "\x00" in identifier:
            raise ValueError("wrong types")
        time = datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)
    except (ValueError, TypeError, OverflowError, OSError, RecursionError, binascii.Error) as error:
        raise _invalid(token, "a next_page_token of an earlier answer") from error
    if of != fingerprint(request):
        raise _invalid(token, "the token of a request with the same filters: change only page_size between pages")
    return time, identifier


def _microseconds(time: datetime) -> int:
    whole = time.astimezone(UTC).replace(microsecond=0)
    return int(whole.timestamp()) * 1_000_000 + time.microsecond


def _invalid(token: str, allowed: str) -> InvalidRequest:
    shown = token if len(token) <= 40 else f"{token[:39]}…"
    return InvalidRequest(
        f"The page_token is not valid: it must be {allowed}.",
        violations=[Violation("page_token", repr(shown), allowed)],
    )
