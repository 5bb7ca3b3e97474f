"""What the kernel says a process does at this moment: stopped, held, computing, waiting. Reads /proc; owns nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Activity", "activity"]

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Activity:
    """The state's letter as in ps(1), what it means for a person, and what that person can do."""

    letter: str
    words: str
    advice: str


def activity(pid: int, proc: Path = _PROC) -> Activity:
    """What the process does. Never blocks: these files are made from the scheduler's own records."""
    states = dict(_states(proc / str(pid)))
    main = states.get(pid, "")
    if main in {"T", "t"}:
        return Activity(main, "is stopped by a SIGSTOP or a debugger", f"continue it with `kill -CONT {pid}`")
    held = next((thread for thread, state in states.items() if state == "D"), None)
    if held is not None:
        place = _place(proc / str(pid) / "task" / str(held))
        return Activity(
            "D",
            f"waits inside the kernel{place} for a disk or a network file system that does not answer",
            "look at the mounts of the artifact store and of the data directory",
        )
    if main == "R":
        return Activity(
            "R",
            "computes, but does not come back to its main loop",
            "if a single step may take so long, raise RUN_STALLED_SECONDS",
        )
    if main in {"", "Z", "X"}:
        return Activity(main or "gone", "is about to be gone", "wait a moment")
    return Activity(
        main,
        "waits for a lock, a thread, a file system or a connection that does not come",
        "look at the artifact store and the run's log",
    )


def _states(process: Path) -> Iterator[tuple[int, str]]:
    try:
        threads = sorted(process.joinpath("task").iterdir(), key=lambda path: int(path.name))
    except OSError:
        return
    for thread in threads:
        try:
            # The name in front may hold spaces and brackets.
            yield int(thread.name), (thread / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            continue  # a thread that ended since the listing


def _place(thread: Path) -> str:
    try:
        place = (thread / "wchan").read_text().strip("\0 \n")
    except OSError:
        return ""
    return f" (in {place})" if place not in {"", "0"} else ""
