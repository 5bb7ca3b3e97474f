"""Files that no other tool checks: the compose file, the Makefile, the documents' links, and no pickle anywhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
# The Compose Specification's schema, Apache-2.0: github.com/compose-spec/compose-go e70e961, schema/compose-spec.json.
SCHEMA = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_the_compose_file_follows_the_specification() -> None:
    validator = jsonschema.validators.validator_for(SCHEMA)
    validator.check_schema(SCHEMA)
    problems = [f"{error.json_path}: {error.message}" for error in validator(SCHEMA).iter_errors(COMPOSE)]
    assert not problems


def test_the_schema_would_notice() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**COMPOSE, "services": {"x": {"imagee": "y"}}}, SCHEMA)


def test_the_compose_file_builds_targets_that_the_dockerfile_has() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    built = {service["build"]["target"] for service in COMPOSE["services"].values() if "build" in service}
    assert built
    assert built <= stages


def test_make_lists_every_target() -> None:
    # Called by `make test`, this make would take itself for a part of that one and say which directory it enters.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    listed = subprocess.run(
        ["make", "help"], cwd=ROOT, env=alone, capture_output=True, text=True, check=True, timeout=30
    ).stdout
    (phony,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {line.split()[0] for line in listed.splitlines()} == set(phony.split())


@pytest.mark.parametrize(
    "document", ["README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]
)
def test_links_between_documents_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_files_named_in_the_architecture_exist() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    named = set(re.findall(r"`((?:libs|services|protos|scripts|tests)/[\w./-]+\.\w+)`", text))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_no_pickle_and_no_torch_load() -> None:
    for folder in ("libs", "services"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            assert not re.search(r"^\s*(import|from) (pickle|cloudpickle|dill|joblib|shelve)\b", text, re.MULTILINE), (
                path
            )
            assert "torch.load(" not in text, path
