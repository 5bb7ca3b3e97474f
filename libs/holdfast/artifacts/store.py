"""The contract of an artifact store: directories of files, written once, never changed. Owns path safety.

Whatever lies in a store is named by its path relative to the store ("training-3f9c1b2a7d4e/1-20"), in rows, messages
and results alike, so that a store can be moved, mounted elsewhere or restored, and everything in it still be found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from holdfast.errors import InvalidRequest, Violation

__all__ = [
    "MANIFEST",
    "UNFINISHED",
    "Buffer",
    "Parts",
    "Store",
    "StoredFile",
    "artifact_path",
    "open_store",
    "safe_name",
    "safe_path",
    "size_of",
]

# A file's content: one buffer, or several that follow each other (a header and the tensors, without a copy between).
Buffer = bytes | bytearray | memoryview
Parts = Sequence[Buffer]

MANIFEST = "manifest.json"
# Lies in a directory from its first moment until its manifest does, and says whose it is.
UNFINISHED = "unfinished.json"

# No leading dot, no slash: neither "..", nor a hidden file, nor an absolute path can be spelt with it.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of the store: path relative to its root, size in bytes, last change as seconds since the epoch."""

    path: str
    size: int
    modified: float


class Store(Protocol):
    """Where artifacts lie, by paths relative to its root. Methods block; call them off the event loop."""

    @property
    def url(self) -> str:
        """What the store was opened with, normalised."""

    def create(self, path: str, content: bytes) -> None:
        """Writes one file, durably. Raises FileExistsError when there is one: of many at once, one succeeds."""

    def write_new(
        self, prefix: str, files: Mapping[str, Parts], manifest: Callable[[], bytes], unfinished: bytes = b"{}"
    ) -> None:
        """Writes a new directory: the files first, durably, then the manifest, so that it exists only when whole.

        First of all `unfinished` is written into the file of that name, which goes once the manifest is there.
        `manifest` is called once the files are written, so that digests can be computed beside the writing.
        Raises FileExistsError when the directory already holds a manifest, StoreFull when there is no room. A write
        that fails removes what it made.
        """

    def read(self, path: str, *, max_bytes: int) -> bytes:
        """One file. Raises FileNotFoundError, or ValueError when it is larger or not a plain file."""

    def list(self, prefix: str = "") -> Iterator[StoredFile]:
        """Every file below a directory, in no order; nothing when it does not exist."""

    def delete(self, prefix: str) -> int:
        """Deletes a directory, the manifest first so that no half of it looks whole. Returns the bytes freed."""

    def move(self, prefix: str, target: str) -> None:
        """Moves a directory inside the store. Raises FileExistsError when the target is there."""

    def empty_directories(self) -> Sequence[str]:
        """The names of the empty directories directly in the store."""

    def remove_empty(self, prefix: str) -> bool:
        """Removes a directory if it is empty; whether it was removed."""


def open_store(url: str) -> Store:
    """Opens a directory ("/mnt/store", "file:///mnt/store") or an S3 bucket ("s3://bucket/prefix").

    S3 credentials, region and endpoint come from the AWS_* environment variables. Raises InvalidRequest for another
    scheme.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "file", url
    if scheme == "file" and rest:
        from holdfast.artifacts.local import LocalStore

        return LocalStore(rest)
    if scheme == "s3" and rest:
        from holdfast.artifacts.s3 import S3Store

        return S3Store(url)
    allowed = "a directory, file:///directory or s3://bucket/prefix"
    raise InvalidRequest(
        f"The artifact store {url!r} is not one that Holdfast knows. HOLDFAST_STORE_URL must be {allowed}.",
        violations=[Violation("HOLDFAST_STORE_URL", repr(url), allowed)],
        reason="INVALID_SETTING",
    )


def safe_name(name: str) -> str:
    """`name` itself when it can be one path component. Raises ValueError otherwise."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a plain name: letters, digits, '.', '_' and '-', not starting with a dot")
    return name


def artifact_path(path: str) -> str:
    """`path` itself when it can lie in a store. Raises InvalidRequest for an absolute or otherwise unsafe one."""
    try:
        return safe_path(path)
    except ValueError as error:
        raise InvalidRequest(
            f"{path!r} is no path in the artifact store: {error}. A reference is relative to the store, such as "
            "training-3f9c1b2a7d4e/1-20, and never an address of its own. Use one that the coordinator gave.",
            reason="INVALID_ARTIFACT_PATH",
        ) from error


def safe_path(path: str) -> str:
    """`path` itself when every component is a safe name. Raises ValueError otherwise."""
    for component in path.split("/"):
        safe_name(component)
    return path


def size_of(parts: Parts) -> int:
    """The bytes of a content."""
    return sum(memoryview(part).nbytes for part in parts)
