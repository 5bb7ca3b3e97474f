"""`holdfast store …`: which artifact store this is, and binding a database to it."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Json", "adopt", "app", "show"]

app = typer.Typer(help="Look at the artifact store, and bind a database to it.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(as_json: Json = False) -> None:
    """Show where the artifact store of these settings is, its id, and what lies in it."""
    from holdfast.artifacts.identity import read_store_id
    from holdfast.artifacts.store import open_store
    from holdfast.cli.details import print_fields
    from holdfast.cli.output import print_json
    from holdfast.cli.words import size
    from holdfast.settings import load_settings

    store = open_store(load_settings().store)
    store_id = read_store_id(store)
    files = list(store.list())
    held = [file for file in files if file.path.startswith("quarantine/")]
    total, held_bytes = sum(file.size for file in files), sum(file.size for file in held)
    if as_json:
        print_json({"url": store.url, "store_id": store_id, "bytes": total, "quarantined_bytes": held_bytes})
        return
    print_fields(
        [
            ("Store", store.url),
            ("Id", store_id or "none yet: the first coordinator that uses it writes one"),
            ("Size", size(total)),
            ("In quarantine", size(held_bytes) if held else ""),
        ]
    )


@app.command()
def adopt() -> None:
    """Bind the database to the artifact store as both are now; no coordinator may run.

    For a new database over an old store, or a new store for an old database. Nothing in the store is deleted.
    """
    from holdfast.cli.output import console, note
    from holdfast.local.adoption import adopt_store
    from holdfast.settings import load_settings

    console().print(adopt_store(load_settings(), tell=note), markup=False, soft_wrap=True)
