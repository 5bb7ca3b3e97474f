"""`holdfast workers …`: who runs the runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.clients import client

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.v1 import worker_pb2

__all__ = ["Json", "app", "drain", "list_workers", "print_workers"]

app = typer.Typer(help="Look at workers, and drain them.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_workers(as_json: Json = False) -> None:
    """List trainers and backtesters with their slots and runs."""
    from holdfast.cli.output import note, print_json
    from holdfast.cli.plain import plain

    with client() as holdfast:
        found = holdfast.workers()
    if as_json:
        print_json([plain(worker) for worker in found])
    elif found:
        print_workers(found)
    else:
        note("No worker has registered. `holdfast up` starts some on this machine.")


@app.command()
def drain(
    worker_id: Annotated[str, typer.Argument(metavar="WORKER", help="The worker's id.")],
    stop_runs: Annotated[
        bool, typer.Option("--stop-runs", help="Checkpoint and stop its runs now; else they finish.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Give a worker no new runs, so that it can be taken away."""
    from holdfast.cli.output import note, print_json
    from holdfast.cli.plain import plain

    with client() as holdfast:
        worker = holdfast.drain_worker(worker_id, stop_runs=stop_runs)
    if as_json:
        print_json(plain(worker))
    else:
        what = "checkpoint and stop" if stop_runs else "finish"
        note(f"{worker.worker_id} takes no new runs; its {len(worker.runs)} runs {what}. Restart it to end the drain.")


def print_workers(found: Iterable[worker_pb2.Worker]) -> None:
    """The table of workers."""
    from holdfast.cli.output import table
    from holdfast.cli.plain import plain
    from holdfast.cli.words import ago

    styles = {"CONNECTED": "green", "DISCONNECTED": "red", "DRAINING": "yellow"}
    now = datetime.now(UTC)
    rows = []
    for worker in found:
        fields = plain(worker)
        status = str(fields["status"])
        runs = ", ".join(f"{run.operation_id}#{run.attempt}" for run in worker.runs)
        rows.append(
            [
                worker.worker_id,
                str(fields["kind"]).lower(),
                f"[{styles.get(status, '')}]{status}[/]",
                f"{len(worker.runs)}/{worker.slots}",
                runs,
                worker.address,
                ago(worker.last_heartbeat_time, now),
                worker.version,
            ]
        )
    table(["WORKER", "KIND", "STATUS", "SLOTS", "RUNS", "ADDRESS", "HEARD", "VERSION"], rows, right=["SLOTS"])
