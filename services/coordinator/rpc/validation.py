"""Checks the fields of requests. Collects every violation before it raises; owns no other rule."""

from __future__ import annotations

import math
import re
from datetime import date

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from holdfast.artifacts.checkpoint import is_checkpoint_id
from holdfast.errors import InvalidRequest, Violation
from holdfast.services.coordinator.operations.start import MAX_ATTEMPTS
from holdfast.v1.coordinator_service_pb2 import StartBacktestRequest, StartTrainingRequest
from holdfast.v1.operation_pb2 import CheckpointPolicy

__all__ = ["ADDRESS", "ID", "MAX_CHECKPOINT_ID", "MAX_PAGE", "MAX_STRATEGY", "MAX_TEXT", "REQUEST_ID", "Fields"]

# Ids become parts of paths: nothing that could climb out of a directory.
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# host:port, the host an IPv6 address in brackets, too.
ADDRESS = re.compile(r"[^\s:]+:\d{1,5}|\[[^\s\]]+\]:\d{1,5}")
REQUEST_ID = re.compile(r"[\x21-\x7e]{0,128}")

MAX_PAGE = 1000
MAX_CHECKPOINT_ID = 200  # characters
MAX_TEXT = 10_000  # characters of a reason
MAX_STRATEGY = 4 * 1024 * 1024  # characters


class Fields:
    """Use as a context manager: leaving it raises InvalidRequest with everything that was wrong."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def __enter__(self) -> Fields:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None and self.violations:
            raise InvalidRequest(
                "The request has wrong fields: " + "; ".join(map(str, self.violations)), violations=self.violations
            )

    def wrong(self, path: str, value: object, allowed: str) -> None:
        """Notes one wrong field."""
        self.violations.append(Violation(path, _shown(value), allowed))

    def check(self, good: bool, path: str, value: object, allowed: str) -> None:
        """Notes the field unless `good`."""
        if not good:
            self.wrong(path, value, allowed)

    def identifier(self, path: str, value: str, *, optional: bool = False) -> None:
        """An operation's or worker's id."""
        good = (optional and not value) or ID.fullmatch(value) is not None
        self.check(good, path, value, "1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit")

    def checkpoint_id(self, path: str, value: str, *, optional: bool = False) -> None:
        """A checkpoint's id."""
        good = (optional and not value) or (len(value) <= MAX_CHECKPOINT_ID and is_checkpoint_id(value))
        self.check(good, path, value, "an id such as training-3f9c1b2a7d4e/1-20")

    def request_id(self, value: str) -> None:
        """The caller's own id of this call."""
        self.check(REQUEST_ID.fullmatch(value) is not None, "request_id", value, "at most 128 visible ASCII characters")

    def text(self, path: str, value: str, longest: int = MAX_TEXT) -> None:
        """Free text that goes into PostgreSQL."""
        self.check(
            "\x00" not in value and len(value) <= longest,
            path,
            value,
            f"at most {longest} characters, none of them NUL",
        )

    def at_least(self, path: str, value: float, smallest: float, largest: float = 2**31 - 1) -> None:
        """A number inside [smallest, largest]."""
        good = math.isfinite(value) and smallest <= value <= largest
        self.check(good, path, value, f"a number from {smallest} to {largest}")

    def page_size(self, value: int) -> None:
        """0 means the default."""
        self.check(0 <= value <= MAX_PAGE, "page_size", value, f"0 to {MAX_PAGE}")

    def known(self, path: str, values: list[int], enum: EnumTypeWrapper) -> None:
        """Enum values that this version knows, and not the unspecified zero."""
        for value in values:
            allowed = ", ".join(name for name, number in enum.items() if number)
            self.check(value != 0 and value in enum.values(), path, value, f"one of {allowed}")

    def day(self, path: str, value: str) -> None:
        """YYYY-MM-DD or nothing."""
        try:
            good = not value or date.fromisoformat(value).isoformat() == value
        except ValueError:
            good = False
        self.check(good, path, value, "a day as YYYY-MM-DD, or nothing")

    def start(self, request: StartTrainingRequest | StartBacktestRequest) -> None:
        """What every start has."""
        self.request_id(request.request_id)
        self.at_least("max_attempts", request.max_attempts, 0, MAX_ATTEMPTS)
        self.text("spec.strategy", request.spec.strategy, MAX_STRATEGY)

    def policy(self, policy: CheckpointPolicy) -> None:
        """When a run saves."""
        self.at_least("spec.checkpoint_policy.every_units", policy.every_units, 0, 2**53)
        self.at_least("spec.checkpoint_policy.every_steps", policy.every_steps, 0, 2**53)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:99]}…"
