"""`holdfast operations …` (alias `ops`): looks at operations, cancels and resumes them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.clients import client

if TYPE_CHECKING:
    from holdfast.sdk import Operation

__all__ = ["Id", "Json", "app", "cancel", "events", "list_operations", "resume", "show", "watch"]

app = typer.Typer(help="Look at operations, cancel and resume them (alias: ops).", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The operation's id.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_operations(
    status: Annotated[list[str] | None, typer.Option(help="Only this status (repeatable): running, failed, …")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind (repeatable): training, backtest, …")] = None,
    resumable: Annotated[bool, typer.Option("--resumable", help="Only what can be resumed now.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    as_json: Json = False,
) -> None:
    """List operations, newest first."""
    from holdfast.cli.output import note, print_json, table
    from holdfast.cli.plain import plain

    with client() as holdfast:
        found = holdfast.operations(statuses=status or (), kinds=kind or (), resumable=resumable, limit=limit)
    if as_json:
        print_json([plain(operation.message) for operation in found])
        return
    columns = ["ID", "KIND", "STRATEGY", "STATUS", "PROGRESS", "CHECKPOINT", "ATTEMPT", "CREATED"]
    if found:
        table(columns, [_row(operation) for operation in found], right=["ATTEMPT"])
    note(_summary(found, limit))


@app.command()
def show(operation_id: Id, as_json: Json = False) -> None:
    """Show one operation in full."""
    from holdfast.cli.details import print_operation, print_silence
    from holdfast.cli.output import print_json
    from holdfast.cli.plain import plain

    with client() as holdfast:
        operation = holdfast.operation(operation_id)
        if as_json:
            print_json(plain(operation.message))
        else:
            print_operation(operation)
            if operation.status == "RUNNING":
                print_silence(holdfast.events(operation_id), operation.attempt)


@app.command()
def watch(operation_id: Id, as_json: Json = False) -> None:
    """Follow an operation with a live bar; Ctrl-C stops watching, not the operation."""
    from holdfast.cli.follow import watch_only

    with client() as holdfast:
        raise typer.Exit(watch_only(holdfast.operation(operation_id), as_json=as_json))


@app.command()
def cancel(
    operation_id: Id,
    reason: Annotated[str, typer.Option(help="Kept in the operation's events.")] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until its process is gone.")] = True,
    as_json: Json = False,
) -> None:
    """Stop an operation; what it has done is saved and can be resumed."""
    from holdfast.cli.follow import conclude
    from holdfast.cli.output import note, print_json
    from holdfast.cli.plain import plain
    from holdfast.sdk import Status

    with client() as holdfast:
        operation = holdfast.operation(operation_id).cancel(reason)
        if wait and not operation.done:
            note(f"Cancelling {operation.id} and waiting for its checkpoint.")
            operation.wait()
        if as_json:
            print_json(plain(operation.message))
        elif operation.done:
            conclude(operation)
        else:
            note(f"{operation.id} is {operation.status}.")
        # Asked to cancel, cancelled: that is success. A run that ended first is told by its own exit code.
        raise typer.Exit(1 if operation.status is Status.FAILED else 0)


@app.command()
def resume(
    operation_id: Id,
    checkpoint: Annotated[
        str, typer.Option(metavar="REF", help="A checkpoint's id; default: the newest that verifies.")
    ] = "",
    allow_data_change: Annotated[
        bool, typer.Option("--allow-data-change", help="Although the market data has changed since.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow/--detach", help="Follow with a live bar (Ctrl-C cancels).")] = False,
    as_json: Json = False,
) -> None:
    """Continue a failed or cancelled operation from its checkpoint, bit for bit."""
    from holdfast.cli.follow import detached, follow_to_end
    from holdfast.cli.output import note
    from holdfast.kinds import position

    with client() as holdfast:
        operation = holdfast.operation(operation_id).resume(checkpoint, allow_data_change=allow_data_change)
        note(f"Resuming {operation.id} from {position(operation.checkpoint) or 'its checkpoint'}.")
        raise typer.Exit(follow_to_end(operation, as_json=as_json) if follow else detached(operation, as_json=as_json))


@app.command()
def events(operation_id: Id, as_json: Json = False) -> None:
    """Tell an operation's story, from its creation on."""
    from holdfast.cli.output import print_json, table
    from holdfast.cli.plain import plain
    from holdfast.cli.words import when

    with client() as holdfast:
        story = holdfast.events(operation_id)
    if as_json:
        print_json([plain(event) for event in story])
        return
    rows = []
    for event in story:
        fields: dict[str, Any] = plain(event)
        rows.append(
            [str(event.sequence), when(event.time), str(event.attempt), event.type, fields["status"], event.message]
        )
    table(["#", "TIME", "ATTEMPT", "EVENT", "STATUS", "WHAT HAPPENED"], rows, right=["#", "ATTEMPT"])


def _row(operation: Operation) -> list[str]:
    from holdfast.cli.words import STATUS_STYLES, when
    from holdfast.kinds import position

    style = STATUS_STYLES.get(operation.status, "")
    return [
        operation.id,
        operation.kind.lower(),
        operation.strategy_name,
        f"[{style}]{operation.status}[/]",
        _progress(operation),
        position(operation.checkpoint),
        str(operation.attempt),
        when(operation.message.create_time),
    ]


def _progress(operation: Operation) -> str:
    from holdfast.cli.words import progress_line
    from holdfast.kinds import position

    # A finished one may have stopped early on purpose: a share of what was planned would look like a failure.
    if operation.status == "COMPLETED" and operation.progress.unit_name:
        return position(operation.progress)
    return progress_line(operation.progress)


def _summary(found: list[Operation], limit: int) -> str:
    if not found:
        return "No operations. Start one with `holdfast train STRATEGY.yaml`."
    counts = Counter(operation.status.lower() for operation in found)
    words = [f"{count} {status}" for status, count in counts.most_common()]
    resumable = sum(operation.resumable for operation in found)
    noun = "operation" if len(found) == 1 else "operations"
    text = f"{len(found)} {noun}: {', '.join(words)}"
    if resumable:
        text += f"; {resumable} can be resumed (holdfast operations resume ID)"
    if len(found) == limit:
        text += f"; older ones with --limit {limit * 2}"
    return text + "."
