"""Generates libs/holdfast/v1 from protos/: messages, services and their type stubs. `--check` fails on drift."""

from __future__ import annotations

import filecmp
import os
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PACKAGE = Path("holdfast/v1")
TARGET = ROOT / "libs" / PACKAGE


def generate(into: Path) -> None:
    """Writes the generated package below `into`."""
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    outputs = [f"--{plugin}_out={into}" for plugin in ("python", "pyi", "grpc_python")]
    outputs.append(f"--mypy_grpc_out=quiet:{into}")
    # protoc looks for protoc-gen-mypy_grpc on the path; it lies beside the interpreter, active environment or not.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    status = protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", *outputs, *sources])
    if status != 0:
        sys.exit(f"protoc failed with status {status}: see its message above.")
    (into / PACKAGE / "__init__.py").write_text(
        '"""Generated from protos/holdfast/v1 by `make protos`; never edited by hand."""\n'
    )


def main() -> None:
    """Replaces the generated files, or with --check only compares them."""
    check = "--check" in sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = {path.name: path for path in (Path(scratch) / PACKAGE).iterdir()}
        present = {path.name: path for path in TARGET.iterdir() if path.is_file()} if TARGET.is_dir() else {}
        drifted = sorted(
            name
            for name in fresh.keys() | present.keys()
            if name not in fresh or name not in present or not filecmp.cmp(fresh[name], present[name], shallow=False)
        )
        if check:
            if drifted:
                sys.exit(f"Generated code differs from protos/ in {', '.join(drifted)}: run `make protos` and commit.")
            return
        TARGET.mkdir(parents=True, exist_ok=True)
        for name in drifted:
            if name in fresh:
                (TARGET / name).write_bytes(fresh[name].read_bytes())
            else:
                present[name].unlink()
        print(f"{len(fresh)} generated files, {len(drifted)} changed.")


if __name__ == "__main__":
    main()
