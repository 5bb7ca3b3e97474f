"""The artifact store in a directory, local or NFS. Owns fsync and the order of writes."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from holdfast.artifacts.space import check_room, full_directory
from holdfast.artifacts.store import MANIFEST, UNFINISHED, Parts, StoredFile, safe_name, safe_path, size_of
from holdfast.errors import NotPossible

__all__ = ["LocalStore"]

# A half-written manifest; the name can never be one that a reader looks for.
_UNFINISHED = ".manifest.unfinished"


class LocalStore:
    """A directory. The directory itself may be a symbolic link; nothing in it is followed through one."""

    def __init__(self, directory: str) -> None:
        self._root = Path(os.path.realpath(Path(directory).expanduser()))

    @property
    def url(self) -> str:
        return str(self._root)

    def create(self, path: str, content: bytes) -> None:
        target = self._place(path)
        _make_directories(target.parent, [])
        # Written aside and linked: no reader meets half of it, and the second of two fails.
        aside = target.parent / f".{target.name}.{uuid.uuid4().hex}"
        try:
            _write(aside, [content], [])
            os.link(aside, target)
        finally:
            aside.unlink(missing_ok=True)
        _sync_directory(target.parent)

    def write_new(
        self, prefix: str, files: Mapping[str, Parts], manifest: Callable[[], bytes], unfinished: bytes = b"{}"
    ) -> None:
        directory = self._place(prefix)
        if (directory / MANIFEST).exists():
            raise FileExistsError(f"{directory} already holds a manifest: nothing is ever written over")
        needed = sum(size_of(parts) for parts in files.values())
        made: list[Path] = []
        try:
            check_room(directory, needed)
            _make_directories(directory, made)
            # Not synced: it tells of a killed writer. What a power cut leaves may stay for ever.
            _write(directory / UNFINISHED, [unfinished], made, sync=False)
            for name, parts in files.items():
                _write(directory / safe_name(name), parts, made)
            _sync_directory(directory)
            _write(directory / _UNFINISHED, [manifest()], made)
            # The rename is the moment at which the directory counts: all it names is durable by now.
            (directory / _UNFINISHED).rename(directory / MANIFEST)
            made.append(directory / MANIFEST)
            (directory / UNFINISHED).unlink(missing_ok=True)
            _sync_directory(directory)
        except BaseException as error:
            _take_back(made, error)
            full = full_directory(error, directory, needed)
            if full is not None:
                raise full from error
            raise

    def read(self, path: str, *, max_bytes: int) -> bytes:
        target = self._root / safe_path(path)
        if Path(os.path.realpath(target.parent)) != target.parent:
            raise ValueError(f"{path} is reached through a symbolic link")
        # NOFOLLOW: a link may point outside the store. NONBLOCK: a FIFO must not hang the reader.
        try:
            descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except NotADirectoryError as error:
            raise FileNotFoundError(f"{path} does not exist") from error
        except OSError as error:
            if target.is_symlink():
                raise ValueError(f"{path} is a symbolic link") from error
            raise
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"{path} is not a plain file")
            if status.st_size > max_bytes:
                raise ValueError(f"{path} has {status.st_size} bytes, more than the {max_bytes} expected")
            return _read_all(file.fileno(), status.st_size)

    def list(self, prefix: str = "") -> Iterator[StoredFile]:
        top = self._place(prefix) if prefix else self._root
        # followlinks stays False, and links are no files of ours: they are not listed.
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder) / name
                try:
                    status = path.lstat()
                except FileNotFoundError:
                    continue  # deleted by somebody else meanwhile
                if stat.S_ISREG(status.st_mode):
                    yield StoredFile(str(path.relative_to(self._root)), status.st_size, status.st_mtime)

    def delete(self, prefix: str) -> int:
        directory = self._place(prefix)
        if not directory.is_dir():
            return 0
        freed = 0
        if (directory / MANIFEST).exists():
            freed += (directory / MANIFEST).lstat().st_size
            (directory / MANIFEST).unlink()
            _sync_directory(directory)
        for folder, folders, names in os.walk(directory, topdown=False):
            for name in names:
                path = Path(folder) / name
                freed += path.lstat().st_size
                path.unlink()
            for name in folders:
                path = Path(folder) / name
                path.unlink() if path.is_symlink() else path.rmdir()
        directory.rmdir()
        return freed

    def move(self, prefix: str, target: str) -> None:
        source, destination = self._place(prefix), self._place(target)
        if destination.exists():
            raise FileExistsError(f"{destination} is there already")
        _make_directories(destination.parent, [])
        source.rename(destination)
        _sync_directory(destination.parent)
        _sync_directory(source.parent)

    def empty_directories(self) -> Sequence[str]:
        if not self._root.is_dir():
            return []
        return [
            folder.name
            for folder in self._root.iterdir()
            if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())
        ]

    def remove_empty(self, prefix: str) -> bool:
        try:
            self._place(prefix).rmdir()
        except OSError:
            return False  # not empty, or gone
        return True

    def _place(self, path: str) -> Path:
        """Where a directory lies, or would lie. Raises NotPossible when it is reached through a symbolic link.

        A link in the place of a directory would lead a deletion, or a write, out of the store.
        """
        place = self._root / safe_path(path)
        if Path(os.path.realpath(place)) != place:
            raise NotPossible(
                f"{path} in the artifact store {self._root} is reached through a symbolic link, which Holdfast never "
                "follows. Put the directory itself in its place. (The store as a whole may be a link: after moving it, "
                "start Holdfast again.)",
                reason="STORE_LINK",
                metadata={"path": path, "store": str(self._root)},
            )
        return place


def _write(path: Path, parts: Parts, made: list[Path], *, sync: bool = True) -> None:
    new = not path.exists()  # what a crash left there is written over, but it is not this call's to remove
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        if new:
            made.append(path)
        for part in parts:
            view = memoryview(part).cast("B")
            while view:
                view = view[os.write(descriptor, view) :]
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_back(made: list[Path], error: BaseException) -> None:
    """Removes what a failed write made, the newest first. What cannot be removed becomes a note on the first error."""
    for path in reversed(made):
        try:
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        except OSError as problem:
            # Somebody else may have put something into a new directory meanwhile: then it stays.
            if problem.errno != errno.ENOTEMPTY:
                error.add_note(f"{path} was left behind: {problem}")


def _read_all(descriptor: int, size: int) -> bytes:
    # One call as a rule: the kernel fills the result itself, and nothing is copied again.
    parts = [os.read(descriptor, size)]
    done = len(parts[0])
    while done < size and (part := os.read(descriptor, size - done)):
        parts.append(part)
        done += len(part)
    # A file that shrank between stat and read comes back short; its digest then tells.
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _make_directories(directory: Path, made: list[Path]) -> None:
    """Creates the directory and makes every new entry durable in its parent."""
    while not directory.is_dir():
        # From the top: another run's failed write may take an empty parent away at any moment.
        path = next(path for path in (*reversed(directory.parents), directory) if not path.is_dir())
        try:
            path.mkdir()
        except (FileExistsError, FileNotFoundError):
            if os.path.lexists(path) and not path.is_dir():
                raise
            continue
        made.append(path)
        _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
