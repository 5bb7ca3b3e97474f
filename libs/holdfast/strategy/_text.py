"""Turns strategy text (YAML or JSON) into plain values. Owns syntax; knows nothing of strategies.

Stricter than YAML where YAML surprises: no tags that make objects, no duplicate keys, dates stay text, only `true` and
`false` are booleans (a symbol may be called NO), `1e-3` is a number, and what aliases expand to is bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

import yaml

from holdfast.errors import InvalidRequest, Violation

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "read_text"]

MAX_BYTES: Final = 200_000  # characters; a second's parsing. Strategies have a few thousand
MAX_VALUES: Final = 50_000
MAX_DEPTH: Final = 40


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars; refuses duplicate keys."""

    yaml_implicit_resolvers: Final[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}  # type: ignore[misc]
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _refused("text", "nesting without end", f"at most {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9][0-9_]*$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\.[0-9]+|[0-9][0-9_]*\.[0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[str, int] = {}
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        if not isinstance(key_node, yaml.ScalarNode):
            raise _refused(
                f"line {key_node.start_mark.line + 1}", "a key that is a list or mapping", "keys are plain text"
            )
        line = key_node.start_mark.line + 1
        if key_node.value in seen:
            raise _refused(
                f"line {line}",
                f"key {key_node.value!r} a second time",
                f"it stands on line {seen[key_node.value]} already",
            )
        seen[key_node.value] = line
    loader.flatten_mapping(node)
    # Keys keep their text: an indicator may be called 200.
    return {key.value: loader.construct_object(value, deep=True) for key, value in node.value}


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(str(loader.construct_scalar(node)).replace("_", ""))


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node)).replace("_", "").lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def _refused(path: str, value: str, allowed: str, source: str = "strategy") -> InvalidRequest:
    violation = Violation(path, value, allowed)
    return InvalidRequest(f"{source} cannot be read: {violation}.", violations=[violation], reason="INVALID_STRATEGY")


def _check_size(node: yaml.Node, memo: dict[int, int], depth: int = 0) -> int:
    """How many values the node stands for once aliases are expanded."""
    line = f"line {node.start_mark.line + 1}"
    if depth > MAX_DEPTH:
        raise _refused(line, "nesting without end", f"at most {MAX_DEPTH} levels")
    if id(node) in memo:
        if memo[id(node)] < 0:
            raise _refused(line, "an anchor that contains itself", "anchors must not be recursive")
        return memo[id(node)]
    memo[id(node)] = -1
    total = 1
    if isinstance(node, yaml.MappingNode):
        total += sum(
            _check_size(key, memo, depth + 1) + _check_size(value, memo, depth + 1) for key, value in node.value
        )
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_check_size(item, memo, depth + 1) for item in node.value)
    if total > MAX_VALUES:
        raise _refused(line, f"{total} values", f"at most {MAX_VALUES}")
    memo[id(node)] = total
    return total


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise _refused(key, "a key that stands twice", "each key once")
        mapping[key] = value
    return mapping


def read_text(text: str, source: str) -> dict[str, Any]:
    """The document's top-level mapping.

    Raises InvalidRequest (INVALID_STRATEGY) with the line for bad syntax, duplicate keys, tags, several documents,
    and documents that are too large or too deep.
    """
    if len(text) > MAX_BYTES:
        raise _refused("text", f"{len(text)} characters", f"at most {MAX_BYTES}", source)
    try:
        document = _read_json(text) if text.lstrip().startswith("{") else _read_yaml(text)
    except InvalidRequest as error:
        raise _refused(*_parts(error), source=source) from None
    except json.JSONDecodeError:
        # Flow-style YAML also begins with a brace.
        return _mapping(_read_flow(text, source), source)
    except RecursionError:
        raise _refused("text", "nesting without end", f"at most {MAX_DEPTH} levels", source) from None
    except (yaml.YAMLError, ValueError) as error:
        raise _syntax(error, source) from None
    return _mapping(document, source)


def _read_json(text: str) -> Any:
    document = json.loads(text, object_pairs_hook=_unique)
    level = [document]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for value in level if isinstance(value, (dict, list)) for inner in _inner(value)]
        if not level:
            return document
    raise _refused("text", "nesting without end", f"at most {MAX_DEPTH} levels")


def _inner(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _read_flow(text: str, source: str) -> Any:
    try:
        return _read_yaml(text)
    except InvalidRequest as error:
        raise _refused(*_parts(error), source=source) from None
    except RecursionError:
        raise _refused("text", "nesting without end", f"at most {MAX_DEPTH} levels", source) from None
    except (yaml.YAMLError, ValueError) as error:
        raise _syntax(error, source) from None


def _read_yaml(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _parts(error: InvalidRequest) -> tuple[str, str, str]:
    first = error.violations[0]
    return first.path, first.value, first.allowed


def _syntax(error: Exception, source: str) -> InvalidRequest:
    mark = getattr(error, "problem_mark", None)
    path = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "text"
    problem = str(getattr(error, "problem", None) or error).splitlines()[0]
    if "could not determine a constructor for the tag" in problem:
        return _refused(path, problem.rpartition(" ")[2], "plain values only, no tags that make objects", source)
    return _refused(path, problem, "valid YAML or JSON", source)


def _mapping(document: Any, source: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        found = "nothing" if document is None else f"a {type(document).__name__}"
        raise _refused("text", found, "a mapping with `name`, `data`, `nn_inputs`, …", source)
    return document
