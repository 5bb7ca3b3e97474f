"""Named arguments: what the compiler takes for a name, and that every call names exactly what its query has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InternalError
from holdfast.services.coordinator.postgres.queries import QUERIES, compiled, statement

COORDINATOR = Path(__file__).parents[3] / "services" / "coordinator"
# What gives the same four values to every transition: its own arguments are the rest.
MOVED = {"id", "attempt", "statuses", "status", "event", "message", "details"}
CALLS = {"fetch", "fetch_one", "execute", "statement", "_move"}

names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
anything = st.text("ab:'\"$-*/\\ \n1:é", max_size=12)
# Nothing in here is a name, whatever it looks like.
inert = st.one_of(
    anything.map(lambda text: "'" + text.replace("'", "''") + "'"),
    anything.map(lambda text: '"' + text.replace('"', '""') + '"'),
    anything.map(lambda text: " E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"),
    anything.map(lambda text: "--" + text.replace("\n", "") + "\n"),
    anything.map(lambda text: " /*" + text.replace("/*", "").replace("*/", "").rstrip("*/").lstrip("*/") + " */"),
    st.sampled_from(
        ["::text", "::integer[]", " x := 1", " 'it''s 12:30'", " interval '1 second'", " /* :a 'b */", " a$b"]
    ),
    anything.map(lambda text: " $tag$" + text.replace("$", "") + "$tag$"),
)


@given(st.lists(st.one_of(inert.map(lambda text: (text, None)), names.map(lambda name: (f" :{name}", name)))))
def test_only_names_outside_of_strings_comments_and_casts_get_numbers(parts: list[tuple[str, str | None]]) -> None:
    order = list(dict.fromkeys(name for _, name in parts if name is not None))
    query = compiled("q", " ".join(text for text, _ in parts))
    assert query.parameters == tuple(order)
    assert query.text == " ".join(text if name is None else f" ${order.index(name) + 1}" for text, name in parts)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT $1",
        "SELECT 'open",
        'SELECT "open',
        "SELECT 1 /* open",
        "/* a /* nested */ one */",
        "a[1:2]",
        "a[x:y]",
        ": a",
    ],
)
def test_what_cannot_be_meant_is_refused_at_load(text: str) -> None:
    with pytest.raises(ValueError, match="query q, line 1"):
        compiled("q", text)


@given(st.sets(names), st.sets(names))
def test_a_call_names_exactly_what_the_query_has(has: set[str], given_names: set[str]) -> None:
    query = compiled("q", " ".join(f":{name}" for name in sorted(has)))
    arguments = {name: name.upper() for name in given_names}
    if has == given_names:
        assert query.bind(arguments) == (query.text, *(name.upper() for name in sorted(has)))
        return
    with pytest.raises(InternalError) as caught:
        query.bind(arguments)
    assert all(name in caught.value.message for name in has ^ given_names)


def test_an_unknown_query_is_a_defect_of_ours() -> None:
    with pytest.raises(InternalError, match="nosuch"):
        statement("nosuch")


def calls() -> Iterator[tuple[str, str, set[str], str]]:
    """Every call of a query in the coordinator: where, its name, its named arguments, and what it is unpacked from."""
    for file in sorted(COORDINATOR.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0] if node.args else None
            if function in CALLS and isinstance(first, ast.Constant) and re.fullmatch(r"\w+", str(first.value)):
                named = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
                unpacked = "".join(ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg is None)
                if function == "_move":
                    named |= MOVED
                elif len(node.args) > 1:
                    named.add("a positional value")
                yield f"{file.name}:{node.lineno}", str(first.value), named, unpacked


def test_every_call_names_exactly_what_its_query_has() -> None:
    wrong = []
    for where, name, named, unpacked in calls():
        if unpacked.startswith("_filter("):
            named |= {"statuses", "kinds", "resumable_only", "resumable"}
        if name not in QUERIES or named != set(QUERIES[name].parameters):
            wrong.append(
                f"{where}: {name} {sorted(named ^ set(QUERIES[name].parameters) if name in QUERIES else named)}"
            )
    assert not wrong


def test_every_query_is_called() -> None:
    assert {name for _, name, _, _ in calls()} == QUERIES.keys()
