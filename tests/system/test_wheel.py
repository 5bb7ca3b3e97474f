"""What is released works alone: the wheel, built from the source distribution, in an environment without this tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import psutil
import pytest

from holdfast.local.postgres import EmbeddedPostgres
from holdfast.local.processes import alive
from holdfast.local.records import read_all

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("HOLDFAST_", "PYTHONPATH", "PIP_"))
}
# What the wheel is named after; other projects have these names at the top level.
TAKEN = ("coordinator", "trainer", "backtester", "services", "libs", "tests")
LOOK = f"""
import importlib.util, json, holdfast
from holdfast.services.coordinator.postgres import migrations
found = [name for name in {TAKEN!r} if importlib.util.find_spec(name)]
print(json.dumps([holdfast.__file__, migrations.__file__, found]))
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """A command's stdout; the test fails with all that it said when it does."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, by way of the source distribution, as an index would hand both out. Nothing is downloaded."""
    into = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", into, cwd=ROOT)
    (source,) = into.glob("*.tar.gz")
    offline = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet"]
    run(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", into, source, cwd=into)
    (built,) = into.glob("*.whl")
    return built


@pytest.fixture
def interpreter(wheel: Path, tmp_path: Path) -> Path:
    """The interpreter of an environment with the wheel and, of this one, what does not come from this tree."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    offline = ["--no-deps", "--no-index", "--no-compile", "--quiet"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *offline, wheel, cwd=tmp_path)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    # A directory that a .pth file names is searched, its own .pth files are not: the editable install stays outside.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A data directory; what was started in it is gone at the end, whatever has happened."""
    home = tmp_path / "home"
    home.mkdir()
    yield home
    for record in read_all(home):
        if alive(record):
            psutil.Process(record.pid).kill()
    if (home / "postgres").exists():
        EmbeddedPostgres(home / "postgres").stop(immediate=True)


def test_the_wheel_has_one_name_at_the_top_and_every_file(wheel: Path) -> None:
    names = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in names} == {"holdfast"}
    tracked = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "libs", "services", cwd=ROOT)
    files = [Path(line) for line in tracked.splitlines() if (ROOT / line).is_file()]
    assert any(path.suffix == ".sql" for path in files)
    assert any(path.suffix == ".json" for path in files)
    ours = {str(path if path.parts[0] != "libs" else path.relative_to("libs")) for path in files}
    assert names == {name if name.startswith("holdfast/") else f"holdfast/{name}" for name in ours}


def test_the_wheel_trains_in_a_fresh_environment(interpreter: Path, home: Path, tmp_path: Path) -> None:
    strategy = shutil.copy(ROOT / "examples" / "spx_daily.yaml", tmp_path)

    def holdfast(*words: str | Path) -> str:
        # Port 0: any free one.
        settings = {"HOLDFAST_DATA_DIR": str(home), "HOLDFAST_LISTEN": "127.0.0.1:0"}
        return run(interpreter.parent / "holdfast", *words, cwd=tmp_path, **settings)

    *modules, found = json.loads(run(interpreter, "-c", LOOK, cwd=tmp_path))
    assert found == []
    assert [Path(module).is_relative_to(tmp_path / "venv") for module in modules] == [True, True], modules

    holdfast("up", "--backtesters", "0")
    assert {psutil.Process(record.pid).cmdline()[0] for record in read_all(home)} == {str(interpreter)}
    holdfast("data", "sample")
    trained = json.loads(holdfast("train", strategy, "--epochs", "2", "--json"))
    assert (trained["status"], trained["attempt"]) == ("COMPLETED", 1)
    records = read_all(home)
    holdfast("down")
    assert [record.name for record in records if alive(record)] == []
