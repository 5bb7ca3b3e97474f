"""`holdfast checkpoints …`: the catalogue of what operations have saved."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli.clients import client

__all__ = ["Json", "Reference", "app", "cleanup", "delete", "list_checkpoints", "show", "stats", "verify"]

app = typer.Typer(help="Look at checkpoints, verify and delete them.", no_args_is_help=True)

Reference = Annotated[
    str, typer.Argument(metavar="REF", help="A checkpoint's id, or an operation's: its newest is meant.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_checkpoints(
    operation_id: Annotated[str, typer.Argument(metavar="[OPERATION]", help="Only this operation's.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 100,
    as_json: Json = False,
) -> None:
    """List checkpoints, newest first."""
    from holdfast.cli.output import note, print_json, table
    from holdfast.cli.plain import plain
    from holdfast.cli.words import size, when
    from holdfast.kinds import position

    with client() as holdfast:
        found = holdfast.checkpoints(operation_id, limit=limit)
    if as_json:
        print_json([plain(checkpoint) for checkpoint in found])
        return
    rows = [
        [
            checkpoint.checkpoint_id,
            position(checkpoint),
            str(plain(checkpoint)["type"]).lower(),
            size(checkpoint.size_bytes),
            when(checkpoint.create_time),
        ]
        for checkpoint in found
    ]
    if rows:
        table(["CHECKPOINT", "AT", "TYPE", "SIZE", "CREATED"], rows, right=["SIZE"])
    note(f"{len(found)} checkpoints, {size(sum(checkpoint.size_bytes for checkpoint in found))}.")


@app.command()
def show(reference: Reference, as_json: Json = False) -> None:
    """Show one checkpoint."""
    from holdfast.cli.details import print_checkpoint
    from holdfast.cli.output import print_json
    from holdfast.cli.plain import plain

    with client() as holdfast:
        checkpoint = holdfast.checkpoint(reference)
    if as_json:
        print_json(plain(checkpoint))
    else:
        print_checkpoint(checkpoint)


@app.command()
def verify(reference: Reference, as_json: Json = False) -> None:
    """Read every artifact of a checkpoint and compare its SHA-256; exit code 1 when something is wrong."""
    from holdfast.cli.output import console, note, print_json
    from holdfast.cli.plain import plain
    from holdfast.cli.words import size

    with client() as holdfast:
        answer = holdfast.verify_checkpoint(reference)
    if as_json:
        print_json(plain(answer))
    elif answer.valid:
        console().print(f"{reference} is whole: {size(answer.bytes_read)} read and compared.", markup=False)
    else:
        for problem in answer.problems:
            console().print(problem, markup=False, soft_wrap=True)
        note(f"{reference} is damaged. A resume falls back to the newest one that verifies; see `checkpoints list`.")
    raise typer.Exit(0 if answer.valid else 1)


@app.command()
def delete(
    checkpoint_id: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="The checkpoint's own id.")],
    as_json: Json = False,
) -> None:
    """Delete one checkpoint for ever."""
    from holdfast.cli.output import console, print_json
    from holdfast.cli.words import size

    with client() as holdfast:
        freed = holdfast.delete_checkpoint(checkpoint_id)
    if as_json:
        print_json({"checkpoint_id": checkpoint_id, "bytes_freed": freed})
    else:
        console().print(f"Deleted {checkpoint_id}: {size(freed)} freed.", markup=False)


@app.command()
def cleanup(
    max_age_days: Annotated[int, typer.Option(min=0, help="Older than this; 0: the server's setting.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Delete what is too old, and move what nothing refers to into the quarantine, as the daily sweep does."""
    from holdfast.cli.output import console, note, print_json
    from holdfast.cli.plain import plain
    from holdfast.cli.words import size

    with client() as holdfast:
        answer = holdfast.clean_up_checkpoints(max_age_days=max_age_days, dry_run=dry_run)
    if as_json:
        print_json(plain(answer))
    else:
        for name in (*answer.deleted_checkpoint_ids, *answer.deleted_uris):
            console().print(name, markup=False, soft_wrap=True)
        for name in answer.quarantined_uris:
            console().print(f"{name} (quarantine)", markup=False, soft_wrap=True)
        for failure in answer.failures:
            note(f"Failed: {failure}")
        gone = len(answer.deleted_checkpoint_ids) + len(answer.deleted_uris)
        verb = "would be deleted" if dry_run else "deleted"
        note(f"{gone} {verb}, {size(answer.bytes_freed)} {'to be freed' if dry_run else 'freed'}.")
        if answer.quarantined_uris:
            moved = "would be moved" if dry_run else "moved"
            count = len(answer.quarantined_uris)
            held = f"{size(answer.bytes_quarantined)}, deleted after CHECKPOINT_QUARANTINE_DAYS"
            note(f"{count} {moved} into the store's quarantine: {held}.")
        if answer.note:
            note(answer.note)
    raise typer.Exit(1 if answer.failures else 0)


@app.command()
def stats(as_json: Json = False) -> None:
    """Tell how many checkpoints there are, and how large."""
    from holdfast.cli.details import print_fields
    from holdfast.cli.output import print_json
    from holdfast.cli.plain import plain
    from holdfast.cli.words import duration, size, when

    with client() as holdfast:
        answer = holdfast.checkpoint_stats()
    if as_json:
        print_json(plain(answer))
        return
    by_type = ", ".join(f"{count} {name.lower()}" for name, count in sorted(answer.checkpoints_by_type.items()))
    print_fields(
        [
            ("Checkpoints", str(answer.checkpoints)),
            ("Of operations", str(answer.operations)),
            ("Size", size(answer.bytes)),
            ("By type", by_type),
            ("Oldest", duration(answer.oldest_age_seconds) if answer.checkpoints else ""),
            ("In quarantine", f"{answer.quarantined}, {size(answer.quarantined_bytes)}" if answer.quarantined else ""),
            ("Last sweep", when(answer.last_sweep_time) or "not since the coordinator's start"),
        ]
    )
