"""The public surface: what `import holdfast` offers, and that the blocking client leaves nothing out."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import holdfast
from holdfast import sdk
from holdfast.errors import InvalidRequest
from holdfast.local.records import COORDINATOR, Record, write_record
from holdfast.sdk._strategy import read_strategy
from holdfast.sdk._target import find_coordinator


def test_all_names_what_there_is() -> None:
    for name in holdfast.__all__:
        assert getattr(holdfast, name) is not None
    assert set(dir(holdfast)) == {*holdfast.__all__, "__version__"}
    with pytest.raises(AttributeError):
        _ = holdfast.nothing_of_that_name


def test_the_sdk_s_modules_are_private_and_its_names_are_all() -> None:
    folder = Path(sdk.__file__).parent
    assert all(path.name.startswith("_") for path in folder.glob("*.py"))
    assert sorted(sdk.__all__) == sdk.__all__
    imported = {
        alias.name
        for node in ast.parse((folder / "__init__.py").read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(sdk.__all__)


@pytest.mark.parametrize(
    ("asynchronous", "blocking"),
    [(holdfast.AsyncClient, holdfast.Client), (holdfast.AsyncOperation, holdfast.Operation)],
)
def test_the_blocking_twin_has_every_method_with_the_same_signature(asynchronous: type, blocking: type) -> None:
    names = {
        name
        for name, member in vars(asynchronous).items()
        if not name.startswith("_") and (inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member))
    }
    assert len(names) > 4
    for name in names:
        theirs, ours = inspect.signature(getattr(asynchronous, name)), inspect.signature(getattr(blocking, name))
        assert list(ours.parameters.values()) == list(theirs.parameters.values()), name
        assert "Async" not in str(ours.return_annotation)
        assert getattr(blocking, name).__doc__


def test_the_coordinator_is_sought_in_settings_then_records_then_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("HOLDFAST_COORDINATOR", raising=False)
    assert find_coordinator() == "127.0.0.1:7400"
    write_record(tmp_path, Record(COORDINATOR, 1, "boot:1", ["x"], "log", address="127.0.0.1:4711"))
    assert find_coordinator() == "127.0.0.1:4711"
    monkeypatch.setenv("HOLDFAST_COORDINATOR", "elsewhere:1")
    assert find_coordinator() == "elsewhere:1"


def test_a_strategy_without_overrides_travels_byte_for_byte(tmp_path: Path) -> None:
    text = "# a comment\nname: x\n"
    (tmp_path / "s.yaml").write_text(text)
    assert read_strategy(tmp_path / "s.yaml") == text
    assert read_strategy(str(tmp_path / "s.yaml")) == text
    assert read_strategy(text) == text


def test_overrides_keep_numbers_exact() -> None:
    text = "a:\n  rate: 0.1\n  tiny: 1.0e-07\n  day: 1999-01-04\n"
    assert read_strategy(text, {"a.new": 1e-5, "b.c.d": [1, 2]}) == (
        "a:\n  rate: 0.1\n  tiny: 1.0e-07\n  day: 1999-01-04\n  new: 1.0e-05\nb:\n  c:\n    d:\n    - 1\n    - 2\n"
    )


@pytest.mark.parametrize(
    ("source", "overrides", "words"),
    [
        ("no/such.yaml", {}, "There is no strategy file"),
        ("a: [\n", {"a": 1}, "not valid YAML"),
        ("- a\n", {"a": 1}, "a list, not a mapping"),
        ("a: 1\n", {"a.b": 1}, "a is 1, not a section"),
    ],
)
def test_a_bad_strategy_is_refused_with_a_reason(source: str, overrides: dict[str, int], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        read_strategy(source, overrides)
