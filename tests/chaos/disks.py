"""Small disks of the campaign's own, which a fault can fill: tmpfs mounts that nobody outside of the campaign sees.

A disk is filled by shrinking it to what lies on it, so that every write that needs a new block meets ENOSPC from the
kernel, and no memory is spent on ballast. Mounting needs a mount namespace of one's own: as root, or as anybody where
the kernel allows user namespaces. Where neither is allowed, the faults that need a disk are left out, and it is said.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

INSIDE = "HOLDFAST_CHAOS_NAMESPACE"
SIZE = 4 << 30  # bytes while not full; memory is used for what is written only
NEEDS_DISK = ("store full", "database full")
_REMOUNT = 32  # MS_REMOUNT
_POLL = 0.02  # seconds


@dataclass(frozen=True, slots=True)
class Disk:
    """One mount."""

    directory: Path

    @property
    def used(self) -> int:
        """Bytes in blocks that are taken."""
        found = os.statvfs(self.directory)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def keep_full(self, seconds: float) -> int:
        """No space for so long, whatever is deleted meanwhile; then space again. Returns the bytes on the full disk."""
        end = time.monotonic() + seconds
        try:
            while True:
                try:
                    _mount(self.directory, self.used, _REMOUNT)
                except OSError:
                    continue  # a write came between the look and the shrinking: look again
                if time.monotonic() > end:
                    return self.used
                time.sleep(_POLL)
        finally:
            _mount(self.directory, SIZE, _REMOUNT)


def enter_namespace(module: str, arguments: list[str]) -> None:
    """Starts this program again in a mount namespace of its own; returns when it is inside already or may not."""
    if INSIDE in os.environ:
        return
    # Root keeps its accounts, because PostgreSQL runs as another one; anybody else stays who they are.
    unshare = ["unshare", "--mount"]
    if os.geteuid() != 0:
        unshare += ["--user", "--map-current-user", "--keep-caps"]
    try:
        allowed = subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if allowed:
        os.environ[INSIDE] = "1"
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # as in the tests: nobody here calls gRPC in a fork
        sys.stdout.flush()
        os.execvp(unshare[0], [*unshare, sys.executable, "-m", module, *arguments])


@contextmanager
def small_disks(root: Path) -> Iterator[dict[str, Disk]]:
    """The disks "store" and "database" below `root`; none where mounting is not allowed."""
    disks: dict[str, Disk] = {}
    try:
        if INSIDE in os.environ:
            for name in ("store", "database"):
                directory = root / name
                directory.mkdir()
                try:
                    _mount(directory, SIZE, 0)
                except PermissionError:
                    break
                disks[name] = Disk(directory)
        yield disks if len(disks) == 2 else {}
    finally:
        for disk in disks.values():
            _call("umount2", str(disk.directory).encode(), 2)  # MNT_DETACH: whatever may still be open there


def _mount(directory: Path, size: int, flags: int) -> None:
    _call("mount", b"tmpfs", str(directory).encode(), b"tmpfs", flags, f"size={size},mode=755".encode())


def _call(name: str, *arguments: bytes | int) -> None:
    # The system's own call: the mount program refuses everybody but root, whatever the namespace allows.
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(arguments[0]))
