"""The locked versions: one for everything that the project asks for, from whatever index the reader has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TEXT = (ROOT / "constraints.txt").read_text()
LOCKED = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", TEXT, re.MULTILINE))


def test_every_line_is_one_exact_version_and_names_no_place() -> None:
    lines = [line for line in TEXT.splitlines() if line and not line.lstrip().startswith("#")]
    assert len(lines) == len(LOCKED)
    assert not re.search(r"://|index-url|find-links|trusted-host|\.(?:org|com|net|io)\b", TEXT)
    assert "Python 3.11 on Linux x86_64" in TEXT


def test_torch_is_the_build_that_comes_without_cuda() -> None:
    (pin,) = PROJECT["tool"]["uv"]["constraint-dependencies"]
    assert pin == f"torch=={LOCKED['torch']}"


def test_every_dependency_is_locked_inside_its_range() -> None:
    project = PROJECT["project"]
    asked = [*project["dependencies"], *PROJECT["dependency-groups"]["dev"], *PROJECT["build-system"]["requires"]]
    for extra in project["optional-dependencies"].values():
        asked += extra
    for requirement in map(Requirement, asked):
        if requirement.name != project["name"]:
            version = LOCKED.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement.name} is not locked: run `make lock`"
            assert version in requirement.specifier, f"{requirement} is locked at {version}: run `make lock`"
