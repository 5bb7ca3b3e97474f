"""What the README says is true: its settings table, its commands, its Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import holdfast
from holdfast.cli.__main__ import main
from holdfast.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text()
# Settings of what is not built yet are not advertised.
LATER = {"RESEARCH_RESTART_POLICY", "RESEARCH_POLL_INTERVAL_SECONDS", "MAX_CONCURRENT_RESEARCHES"}


def test_the_settings_table_is_complete_and_has_the_true_defaults() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \|", README, re.MULTILINE))
    fields = {str(field.alias): field.default for field in Settings.model_fields.values()}
    assert set(rows) == set(fields) - LATER
    for name, told in rows.items():
        default = fields[name]
        if isinstance(default, int | float):
            assert float(told) == float(default), name
        elif str(default):
            assert str(default) in told, name


def test_every_command_of_the_table_exists(capsys: pytest.CaptureFixture[str]) -> None:
    table = README.partition("| command | |")[2].partition("\n\n")[0]
    for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE):
        group = ""
        for words in re.findall(r"`([a-z ]+)`", row):
            head, _, rest = words.partition(" ")
            if rest:
                group = head
            elif group and main([group, words, "--help"]) == 0:
                continue
            assert main([*words.split(), "--help"]) == 0, words
    capsys.readouterr()


def test_the_python_example_parses_and_names_what_there_is() -> None:
    (code,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = {"holdfast": holdfast, "client": holdfast.Client, "operation": holdfast.Operation}.get(
                node.value.id
            )
            if owner is not None:
                assert hasattr(owner, node.attr), node.attr


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = README + (ROOT / "CONTRIBUTING.md").read_text() + (ROOT / "docs/architecture.md").read_text()
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)) <= targets
