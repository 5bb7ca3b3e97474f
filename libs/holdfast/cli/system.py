"""`holdfast up`, `down` and `status`: Holdfast on this machine, and the coordinator's status."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.clients import client

if TYPE_CHECKING:
    from holdfast.v1 import coordinator_service_pb2

__all__ = ["Json", "down", "status", "up"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def up(
    trainers: Annotated[int, typer.Option(min=0, max=64, help="How many trainers.")] = 1,
    backtesters: Annotated[int, typer.Option(min=0, max=64, help="How many backtesters.")] = 1,
    slots: Annotated[
        int, typer.Option(min=0, max=256, help="Runs at once in each worker; 0: HOLDFAST_SLOTS, else 1.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Start PostgreSQL, the coordinator and workers on this machine; each that runs already is left alone."""
    from dataclasses import asdict

    from holdfast.cli.output import note, print_json, table
    from holdfast.local.stack import bring_up
    from holdfast.settings import load_settings

    settings = load_settings()
    parts = bring_up(settings, trainers=trainers, backtesters=backtesters, slots=slots, tell=note)
    if as_json:
        print_json([asdict(part) for part in parts])
        return
    table(
        ["PROCESS", "PID", "", "ADDRESS", "LOG"],
        [
            [part.name, str(part.pid), "started" if part.started else "was running", part.address, part.log]
            for part in parts
        ],
        right=["PID"],
    )
    note(f"Holdfast is up in {settings.home}. `holdfast status` looks at it, `holdfast down` stops it.")


def down() -> None:
    """Stop what `holdfast up` started; running operations save a checkpoint first."""
    from holdfast.cli.output import note
    from holdfast.local.stack import take_down
    from holdfast.settings import load_settings

    stopped = take_down(load_settings(), tell=note)
    note(f"Stopped {', '.join(stopped)}." if stopped else "Nothing was running.")


def status(as_json: Json = False) -> None:
    """Show the coordinator, its database, the workers and the operations; exit code 5 when either is unavailable."""
    from holdfast.cli.outage import database_away, frozen_coordinator, unreachable
    from holdfast.cli.output import print_json
    from holdfast.cli.plain import plain
    from holdfast.errors import Unavailable

    with client() as holdfast:
        target = holdfast.target
        try:
            if frozen := frozen_coordinator(target):
                raise frozen
            answer = holdfast.system_status()
        except Unavailable as error:
            raise unreachable(target, error, as_json=as_json) from error
    lost = None if answer.database_connected else database_away(target, answer)
    if as_json:
        print_json({"target": target, **plain(answer), "next": lost.message if lost else ""})
    else:
        _print_status(target, answer)
    if lost:
        raise lost


def _print_status(target: str, answer: coordinator_service_pb2.GetSystemStatusResponse) -> None:
    from holdfast.cli.details import print_fields
    from holdfast.cli.words import ago, when
    from holdfast.cli.workers import print_workers

    now = datetime.now(UTC)
    detector = answer.orphan_detector
    watch = (
        f"{'running' if detector.running else '[red]not running[/]'}, "
        f"last check {ago(detector.last_check_time, now) or 'not yet'}, {detector.suspects} suspects, "
        f"{detector.orphans_found} orphans found (after {detector.timeout_seconds:g} s, "
        f"checked every {detector.check_interval_seconds:g} s)"
    )
    counts = ", ".join(
        f"{count} {name.lower().replace('_', ' ')}"
        for name, count in sorted(answer.operations_by_status.items())
        if count
    )
    print_fields(
        [
            ("Coordinator", f"{target}, version {answer.version}, term {answer.coordinator_term}"),
            ("Since", f"{when(answer.start_time)}{' [yellow](draining)[/]' if answer.draining else ''}"),
            ("Database", _database(answer, now)),
            ("Store", answer.store_url),
            (
                "Operations",
                (counts or "none yet") if answer.database_connected else "unknown: the database is unavailable",
            ),
            ("Orphan detector", watch),
            ("Stale messages", f"{answer.stale_messages_refused} refused"),
            ("Unusable messages", f"{sum(answer.refused_messages.values())} refused"),
        ]
    )
    print_workers(answer.workers)


def _database(answer: coordinator_service_pb2.GetSystemStatusResponse, now: datetime) -> str:
    from rich.markup import escape

    from holdfast.cli.words import ago, when

    lost = answer.database_lost_time
    since = f" since {when(lost)} ({ago(lost, now)})" if lost.seconds else ""
    why = f"{since}: {escape(answer.database_error)}" if answer.database_error else since
    if not answer.database_connected:
        return f"[red]unavailable{why}[/]"
    # A full disk still reads.
    return f"[yellow]connected, but refusing{why}[/]" if why else "connected"
