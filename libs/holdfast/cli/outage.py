"""What `holdfast status` says of an unavailable part, and what to do about it. Mends nothing; `holdfast up` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import Unavailable
from holdfast.local.records import COORDINATOR, coordinator_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.local.parts import Part
    from holdfast.v1 import coordinator_service_pb2

__all__ = ["database_away", "frozen_coordinator", "unreachable"]

_STYLES = {"running": "green", "frozen": "yellow", "ended": "red"}


def unreachable(target: str, error: Unavailable, *, as_json: bool) -> Unavailable:
    """Prints how the processes of this machine do, when it is they who are asked for; returns the error to end with."""
    from dataclasses import asdict

    from holdfast.cli.output import print_json
    from holdfast.local.parts import advice

    parts = _local_parts(target)
    shown = error
    if parts:
        transport = error.metadata.get("transport", error.message)
        words = advice(parts) or (
            f"All processes run, so it is busy or ill: see {_coordinator(parts).log}. `holdfast down` stops everything "
            "(runs save a checkpoint first), `holdfast up` starts it again."
        )
        shown = Unavailable(
            f"The coordinator at {target} does not answer ({transport}). {words}",
            reason=error.reason,
            metadata=error.metadata,
        )
    if as_json:
        rows = [asdict(part) for part in parts]
        print_json({"target": target, "reachable": False, "processes": rows, "next": shown.message})
    elif parts:
        _print_parts(parts)
    return shown


def frozen_coordinator(target: str) -> Unavailable | None:
    """What asking would find out only by waiting in vain."""
    from holdfast.local.parts import State

    frozen = any(part.name == COORDINATOR and part.state is State.FROZEN for part in _local_parts(target))
    return Unavailable("its process is stopped", reason="COORDINATOR_NOT_ANSWERING") if frozen else None


def database_away(target: str, answer: coordinator_service_pb2.GetSystemStatusResponse) -> Unavailable:
    """The error to end with when the coordinator answers and its database does not."""
    from holdfast.local.parts import POSTGRES, advice

    postgres = [part for part in _local_parts(target) if part.name == POSTGRES]
    if postgres:
        way_out = advice(postgres) or (
            f"postgres (process {postgres[0].pid}) runs and does not answer: its log is {postgres[0].log}. It may be "
            "recovering; if it stays so, `holdfast down` and `holdfast up` start it again."
        )
    else:
        way_out = (
            "Bring back the server that HOLDFAST_DATABASE_URL named when the coordinator was started; "
            "nothing else has to be restarted."
        )
    return Unavailable(
        f"The database is unavailable. Runs go on and keep what they have to report; calls wait. {way_out}",
        reason="DATABASE_UNAVAILABLE",
        metadata={"error": answer.database_error},
    )


def _local_parts(target: str) -> Sequence[Part]:
    """The parts that `holdfast up` started here; none when another coordinator is meant, or none was started."""
    from holdfast.local.parts import look
    from holdfast.settings import load_settings

    home = load_settings().home
    return look(home) if coordinator_address(home) == target else []


def _coordinator(parts: Sequence[Part]) -> Part:
    return next(part for part in parts if part.name == COORDINATOR)


def _print_parts(parts: Sequence[Part]) -> None:
    from rich.markup import escape

    from holdfast.cli.output import table

    table(
        ["PROCESS", "STATE", "PID", "LAST WORDS", "LOG"],
        [
            [
                part.name,
                f"[{_STYLES[part.state]}]{part.state}[/]",
                str(part.pid or ""),
                escape(part.last_words),
                part.log,
            ]
            for part in parts
        ],
        right=["PID"],
    )
