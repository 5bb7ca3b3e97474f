"""Reads strategy files and sets values in them. Checks only that it is YAML; the coordinator does the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from holdfast.errors import InvalidRequest, Violation

__all__ = ["read_strategy"]


def read_strategy(source: str | Path, overrides: Mapping[str, Any] | None = None) -> str:
    """The strategy's text: from a file when `source` is a path, else `source` itself (it has a line break).

    `overrides` sets values by dotted path, such as {"training.epochs": 5}. Raises InvalidRequest.
    """
    text = source if isinstance(source, str) and "\n" in source else _read(Path(source))
    if not overrides:
        return text
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidRequest(
            f"The strategy is not valid YAML: {error}", violations=[Violation("strategy", "text", "valid YAML")]
        ) from error
    if not isinstance(document, dict):
        raise InvalidRequest(
            f"The strategy is a {type(document).__name__}, not a mapping of sections.",
            violations=[Violation("strategy", type(document).__name__, "a mapping of sections")],
        )
    for path, value in overrides.items():
        _set(document, path, value)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InvalidRequest(
            f"There is no strategy file {path}. Give the path of a YAML file; examples/ has some that run.",
            violations=[Violation("strategy", str(path), "an existing file")],
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(
            f"Cannot read the strategy {path}: {error}.", violations=[Violation("strategy", str(path), "a text file")]
        ) from error


def _set(document: dict[str, Any], path: str, value: Any) -> None:
    *sections, key = path.split(".")
    for index, section in enumerate(sections):
        inner = document.setdefault(section, {})
        if not isinstance(inner, dict):
            where = ".".join(sections[: index + 1])
            raise InvalidRequest(
                f"Cannot set {path}: {where} is {inner!r}, not a section.",
                violations=[Violation(where, repr(inner), "a section")],
            )
        document = inner
    document[key] = value
