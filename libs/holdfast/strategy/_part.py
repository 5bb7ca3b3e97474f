"""The base of every section of a strategy, and the field types that several share. Owns no section."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

__all__ = ["Date", "Fraction", "Id", "Part", "Reference", "named"]

_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}$")


class Part(BaseModel):
    """A section of a strategy: immutable, no unknown keys, no silent conversions, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


def _read_date(value: Any) -> datetime.date:
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value
    if isinstance(value, str) and _DATE.match(value):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            pass  # a day that no calendar has, such as 2018-02-30: refused below like any other text
    raise PydanticCustomError("date", "a date that exists, as YYYY-MM-DD")


def _check_id(value: str) -> str:
    if not re.match(r"^[A-Za-z0-9_]{1,64}$", value):
        raise PydanticCustomError("id", "letters, digits and underscores, at most 64 of them")
    return value


def _check_reference(value: str) -> str:
    if not re.match(r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?$", value):
        raise PydanticCustomError("reference", "an id, or an id and an output as in `macd_12_26_9.line`")
    return value


Date = Annotated[datetime.date, BeforeValidator(_read_date)]
Id = Annotated[str, AfterValidator(_check_id)]
Reference = Annotated[str, AfterValidator(_check_reference)]
Fraction = Annotated[float, Field(gt=0, le=1)]


def named(value: Any) -> Any:
    """Lets a variant be written by name alone: `scheduler: cosine` for `scheduler: {type: cosine}`."""
    return {"type": value} if isinstance(value, str) else value
