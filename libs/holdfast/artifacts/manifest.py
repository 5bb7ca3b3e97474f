"""A directory of files under one manifest with sizes and SHA-256 digests. Owns writing it whole and refusing it broken.

Checkpoints, model bundles and backtest results are all kept this way.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from holdfast.artifacts import exact
from holdfast.artifacts.identity import mark
from holdfast.artifacts.store import MANIFEST, Buffer, Parts, Store, artifact_path, safe_name, size_of
from holdfast.errors import Corrupted, NotFound

__all__ = [
    "FORMAT",
    "MAX_ARTIFACTS",
    "MAX_ARTIFACT_BYTES",
    "MAX_MANIFEST_BYTES",
    "Artifacts",
    "Content",
    "Written",
    "find_problems",
    "parts_of",
    "read_artifacts",
    "read_manifest",
    "write_artifacts",
]

FORMAT = 1
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_ARTIFACTS = 256
MAX_ARTIFACT_BYTES = 64 * 1024**3

Content = Buffer | Parts | Callable[[], "Buffer | Parts"]


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: its path in the store, SHA-256 of the manifest, of the contents alone, all sizes' sum in bytes.

    `seconds`: how long it took.

    `content_digest` covers names, sizes and digests of the files but not the manifest's other fields (times, ids): two
    runs that computed the same have the same.
    """

    path: str
    manifest_digest: str
    content_digest: str
    size_bytes: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Artifacts:
    """What was read and verified: the manifest's own fields, and the files by name."""

    path: str
    manifest_digest: str
    content_digest: str
    manifest: dict[str, Any]
    files: dict[str, bytes] = field(repr=False)
    size_bytes: int


def write_artifacts(store: Store, path: str, artifacts: Mapping[str, Content], manifest: Mapping[str, Any]) -> Written:
    """Writes a new directory at `path` in the store, with its manifest last.

    `artifacts`: content by file name, or callables that make it (called here, on the writer's thread).
    `manifest`: further fields, exact JSON. Raises FileExistsError when the directory is already there, StoreFull when
    there is no room, OSError when the store fails otherwise; whatever is raised, what was written is removed.
    """
    began = time.monotonic()
    files = {safe_name(name): parts_of(content) for name, content in artifacts.items()}
    owner = mark(store)
    # Hashing and writing both leave the GIL: side by side they cost what the slower one costs.
    with ThreadPoolExecutor(1, thread_name_prefix="artifact-digests") as pool:
        digests = pool.submit(_digest_table, files)
        record = b""

        def seal() -> bytes:
            nonlocal record
            record = exact.dumps({**manifest, **owner, "format": FORMAT, "artifacts": digests.result()})
            return record

        store.write_new(path, files, seal, exact.dumps(owner))
        table = digests.result()
    return Written(
        path=path,
        manifest_digest=hashlib.sha256(record).hexdigest(),
        content_digest=_content_digest(table),
        size_bytes=len(record) + sum(int(row["size"]) for row in table.values()),
        seconds=time.monotonic() - began,
    )


def read_manifest(store: Store, path: str, manifest_digest: str = "") -> tuple[dict[str, Any], str, int]:
    """The manifest with its form checked, its SHA-256, its size; the artifacts themselves are not read.

    Raises NotFound when there is none, Corrupted when it is not what was stored, InvalidRequest when `path` is none.
    """
    artifact_path(path)
    try:
        record = store.read(f"{path}/{MANIFEST}", max_bytes=MAX_MANIFEST_BYTES)
    except FileNotFoundError as error:
        raise NotFound(
            f"Nothing complete is stored at {path} in {store.url}: it has no {MANIFEST}.",
            reason="CHECKPOINT_NOT_FOUND",
            metadata={"uri": path},
        ) from error
    except ValueError as error:
        raise _corrupted(path, MANIFEST, str(error)) from error
    digest = hashlib.sha256(record).hexdigest()
    if manifest_digest and not hmac.compare_digest(digest, manifest_digest):
        raise _corrupted(path, MANIFEST, "its SHA-256 differs from the reference's")
    try:
        manifest = exact.loads(record)
        _check_table(manifest)
    except (ValueError, TypeError, RecursionError) as error:
        raise _corrupted(path, MANIFEST, str(error)) from error
    return manifest, digest, len(record)


def read_artifacts(store: Store, path: str, manifest_digest: str = "") -> Artifacts:
    """Reads a directory and verifies every byte of it.

    Raises NotFound when there is none, Corrupted (naming the file) when anything is missing or differs, InvalidRequest
    when `path` is none of a store.
    """
    manifest, digest, size = read_manifest(store, path, manifest_digest)
    files: dict[str, bytes] = {}
    for name in manifest["artifacts"]:
        problem, content = _read_verified(store, path, name, manifest["artifacts"][name])
        if problem:
            raise _corrupted(path, name, problem)
        files[name] = content
        size += len(content)
    return Artifacts(path, digest, _content_digest(manifest["artifacts"]), manifest, files, size)


def find_problems(store: Store, path: str, manifest_digest: str = "") -> tuple[list[str], int]:
    """Every file that is not what was stored, one line each, and the bytes read."""
    try:
        manifest, _, size = read_manifest(store, path, manifest_digest)
    except (NotFound, Corrupted) as error:
        return [error.message], 0
    problems = []
    for name, row in manifest["artifacts"].items():
        problem, content = _read_verified(store, path, name, row)
        size += len(content)
        if problem:
            problems.append(f"{name}: {problem}")
    return problems, size


def _read_verified(store: Store, path: str, name: str, row: Mapping[str, Any]) -> tuple[str, bytes]:
    try:
        content = store.read(f"{path}/{name}", max_bytes=row["size"])
    except FileNotFoundError:
        return "it is missing", b""
    except ValueError as error:
        return str(error), b""
    if len(content) != row["size"]:
        return f"it has {len(content)} bytes instead of {row['size']}", content
    if not hmac.compare_digest(hashlib.sha256(content).hexdigest(), row["sha256"]):
        return "its SHA-256 differs from the manifest's", content
    return "", content


def _check_table(manifest: Any) -> None:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"it is not a manifest of format {FORMAT}")
    table = manifest.get("artifacts")
    if not isinstance(table, dict) or len(table) > MAX_ARTIFACTS:
        raise ValueError("its list of artifacts is not one")
    for name, row in table.items():
        safe_name(name)
        if not isinstance(row, dict) or row.keys() != {"size", "sha256"}:
            raise ValueError(f"its entry for {name} is not one")
        size, sha256 = row["size"], row["sha256"]
        if type(size) is not int or not 0 <= size <= MAX_ARTIFACT_BYTES:
            raise ValueError(f"its size for {name} is not one")
        if not isinstance(sha256, str) or len(sha256) != 64 or not sha256.isascii():
            raise ValueError(f"its digest for {name} is not one")


def _corrupted(path: str, name: str, problem: str) -> Corrupted:
    return Corrupted(
        f"{name} in {path} cannot be used: {problem}. "
        "Resume from an older checkpoint (`holdfast checkpoints list`) or start over.",
        metadata={"uri": path, "artifact": name},
    )


def parts_of(content: Content) -> Parts:
    """The buffers of a content, made now if it is a callable."""
    if callable(content):
        content = content()
    return [content] if isinstance(content, bytes | bytearray | memoryview) else content


def _content_digest(table: Mapping[str, Any]) -> str:
    return hashlib.sha256(exact.dumps(table)).hexdigest()


def _digest_table(files: Mapping[str, Parts]) -> dict[str, dict[str, Any]]:
    table = {}
    for name, parts in files.items():
        digest = hashlib.sha256()
        for part in parts:
            digest.update(memoryview(part).cast("B"))
        table[name] = {"size": size_of(parts), "sha256": digest.hexdigest()}
    return table
