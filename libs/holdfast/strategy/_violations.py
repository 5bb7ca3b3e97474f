"""Turns pydantic's errors into violations: the path as a user writes it, the value, what is allowed, did you mean."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from holdfast.errors import Violation

__all__ = ["did_you_mean", "one_of", "shown", "violations_of"]

FEATURE_KINDS: Final = ("fuzzy", "indicator", "price")
_LONGEST: Final = 80
_WORDS: Final = {
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text (put quotes around a number)",
    "list_type": "a list, such as [a, b]",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "missing": "it must be given",
}


def shown(value: Any) -> str:
    """The value as it stands in a message, shortened."""
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def did_you_mean(value: Any, known: Iterable[str]) -> str:
    """ "; did you mean 'rsi_14'?", or nothing when nothing is near."""
    if not isinstance(value, str):
        return ""
    by_folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(value.casefold(), by_folded, n=1, cutoff=0.6)
    return f"; did you mean {by_folded[near[0]]!r}?" if near else ""


def one_of(value: Any, known: Sequence[str], noun: str = "one of") -> str:
    """What is allowed, with the nearest first when the list is long."""
    listed = sorted(known)
    if not listed:
        return f"{noun} (there is none)"
    text = ", ".join(listed) if len(listed) <= 24 else f"{', '.join(listed[:24])} and {len(listed) - 24} more"
    return f"{noun} {text}{did_you_mean(value, known)}"


def _step(annotation: Any, step: str | int) -> tuple[Any, bool]:
    """The annotation one step of pydantic's location further, and whether a user sees that step in the path."""
    origin = get_origin(annotation)
    if hasattr(annotation, "__metadata__"):
        return _step(annotation.__origin__, step)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(step))
        return (field.annotation if field is not None else None), True
    if origin is list and isinstance(step, int):
        return get_args(annotation)[0], True
    if origin is dict:
        return get_args(annotation)[1], True
    if origin is None:
        return None, True
    # A union: pydantic names the branch, which no user wrote.
    for member in get_args(annotation):
        model = member
        while hasattr(model, "__metadata__"):
            tags = [item.tag for item in model.__metadata__ if hasattr(item, "tag")]
            if step in tags:
                return model.__origin__, False
            model = model.__origin__
        if isinstance(model, type) and issubclass(model, BaseModel):
            kind = model.model_fields.get("type")
            if kind is not None and step in get_args(kind.annotation):
                return model, False
        if get_origin(model) is list and str(step).startswith("list["):
            return model, False
    concrete = [member for member in get_args(annotation) if member is not type(None)]
    for member in concrete:
        further, visible = _step(member, step)
        if further is not None:
            return further, visible
    return None, _is_written(step)


def _is_written(step: str | int) -> bool:
    """False for pydantic's own branch names, such as `list[constrained-float]`."""
    return isinstance(step, int) or (re.fullmatch(r"[A-Za-z0-9_]+", step) is not None and step not in _BRANCHES)


_BRANCHES: Final = frozenset({"int", "float", "str", "none"})


def _locate(root: type[BaseModel], location: Sequence[str | int]) -> tuple[str, Any]:
    """The path as a user writes it, and the annotation of what holds the last step."""
    path = ""
    annotation: Any = root
    holder: Any = root
    for step in location:
        holder = annotation
        annotation, visible = _step(annotation, step)
        if not visible or (annotation is None and not _is_written(step)):
            continue
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += f".{step}" if path else step
    return path, holder


def _keys(holder: Any) -> list[str]:
    while hasattr(holder, "__metadata__"):
        holder = holder.__origin__
    if isinstance(holder, type) and issubclass(holder, BaseModel):
        return list(holder.model_fields)
    return sorted({key for member in get_args(holder) for key in _keys(member)})


def _violation(root: type[BaseModel], error: ErrorDetails) -> Violation:
    path, holder = _locate(root, error["loc"])
    kind, context = error["type"], error.get("ctx", {})
    value = "nothing" if kind in ("missing", "union_tag_not_found") else shown(error["input"])
    if kind == "extra_forbidden":
        key = str(error["loc"][-1])
        return Violation(path, f"key {key!r}", one_of(key, _keys(holder), "the keys are"))
    if kind in ("literal_error", "union_tag_invalid"):
        expected = re.findall(r"'([^']*)'", str(context.get("expected") or context.get("expected_tags")))
        if kind == "union_tag_invalid":
            path, value = f"{path}.type", shown(context.get("tag"))
            return Violation(path, value, one_of(context.get("tag"), expected))
        return Violation(path, value, one_of(error["input"], expected))
    if kind == "union_tag_not_found":
        tags = re.findall(r"'type'", str(context.get("discriminator")))
        return Violation(f"{path}.type" if tags else path, value, f"one of {', '.join(_tags(root, error['loc']))}")
    if kind == "nn_input" and isinstance(error["input"], dict):
        hints = (did_you_mean(key, FEATURE_KINDS) for key in error["input"] if key not in FEATURE_KINDS)
        return Violation(path, value, error["msg"] + next((hint for hint in hints if hint), ""))
    words = _WORDS.get(kind)
    return Violation(path or "strategy", value, words.format(**context) if words else error["msg"])


def _tags(root: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    annotation: Any = root
    for step in location:
        annotation, _ = _step(annotation, step)
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    return [tag for member in get_args(annotation) for tag in get_args(member.model_fields["type"].annotation)]


def _order(detail: ErrorDetails) -> int:
    """A misspelt key comes before the one that is missing because of it; a list is not told to be one of some words."""
    if detail["type"] == "extra_forbidden":
        return 0
    return 2 if detail["type"] == "literal_error" and not isinstance(detail["input"], str) else 1


def violations_of(root: type[BaseModel], error: ValidationError) -> list[Violation]:
    """One violation per wrong field; where a union offered several readings, only one of them is told."""
    found: dict[str, Violation] = {}
    for detail in sorted(error.errors(include_url=False), key=_order):
        violation = _violation(root, detail)
        if _order(detail) == 2 and any(path.startswith(violation.path) for path in found):
            continue
        found.setdefault(violation.path, violation)
    return list(found.values())
