"""One convention for privacy: `__all__` names what a module gives, and nobody takes anything else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def name_of(path: Path) -> str:
    folder = ROOT / "libs" if path.is_relative_to(ROOT / "libs") else ROOT
    parts = path.relative_to(folder).with_suffix("").parts
    prefix = () if parts[0] == "holdfast" else ("holdfast",)
    return ".".join(part for part in (*prefix, *parts) if part != "__init__")


FOLDERS = [folder for folder in (ROOT / "libs/holdfast").iterdir() if folder.name not in {"services", "v1"}]
FILES = [
    path for folder in (*FOLDERS, ROOT / "services") for path in ([folder] if folder.is_file() else folder.rglob("*"))
]
TREES = {name_of(path): ast.parse(path.read_text()) for path in FILES if path.suffix == ".py"}


def given(tree: ast.Module) -> list[str] | None:
    """The names in `__all__`; None without one."""
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "__all__" and isinstance(node, ast.Assign | ast.AnnAssign):
            assert node.value is not None
            return list(ast.literal_eval(node.value))
    return None


def bound(tree: ast.Module) -> set[str]:
    """Every name that a module binds, wherever."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
    return names


@pytest.mark.parametrize("module", sorted(TREES))
def test_a_module_says_what_it_gives_and_takes_only_what_is_given(module: str) -> None:
    tree = TREES[module]
    names = given(tree)
    assert names is not None, "no __all__"
    # The package itself gives by __getattr__, so that `import holdfast` stays light.
    assert module == "holdfast" or [name for name in names if name not in bound(tree)] == []
    assert [name for name in names if name.startswith("_") and not name.startswith("__")] == []
    taken = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in TREES
        for alias in node.names
        if f"{node.module}.{alias.name}" not in TREES and f"{node.module}.{alias.name}" != "holdfast.v1"
        if alias.name not in (given(TREES[node.module]) or ()) and not alias.name.startswith("__")
    ]
    assert taken == [], "names that are private there"
