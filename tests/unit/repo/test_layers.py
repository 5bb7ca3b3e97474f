"""What may import what, measured in fresh interpreters."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "numba", "talib", "polars", "numpy", "pandas", "pyarrow", "matplotlib", "arch", "safetensors"}


def modules_after(code: str) -> set[str]:
    """The top-level packages that are loaded after `code` has run in an interpreter of its own."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_holdfast_is_light() -> None:
    loaded = modules_after("import holdfast")
    assert not loaded & (HEAVY | {"grpc", "google", "pydantic", "rich", "typer"})


def test_the_client_needs_nothing_heavy() -> None:
    assert not modules_after("from holdfast import Client") & HEAVY


def test_the_coordinator_imports_nothing_heavy() -> None:
    code = "import holdfast.services.coordinator as coordinator, pkgutil, importlib\n" + (
        "for module in pkgutil.walk_packages(coordinator.__path__, 'holdfast.services.coordinator.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "import holdfast.services.coordinator.__main__"
    )
    assert not modules_after(code) & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["operations", "--help"], ["train", "--help"]])
def test_help_is_light(arguments: list[str]) -> None:
    loaded = modules_after(f"from holdfast.cli.__main__ import main\nassert main({arguments!r}) == 0")
    assert not loaded & (HEAVY | {"grpc", "google", "yaml"})
    # Below the root typer itself loads pydantic to convert values.
    assert "pydantic" not in loaded or arguments != ["--help"]
