"""The coordinator: the only process that talks to PostgreSQL. Imports no torch, numba, polars, numpy or TA-Lib.

app            makes every room from those before it, runs them, and takes them down
tasks          background tasks, and which death ends the process
rpc/           the services: check requests, call the rooms
operations/    lifecycle, store, start, cancel, resume, automatic resume, watch, progress
workers/       registry, links, registration, supervision, intake of facts, reconciliation, dispatch, orphans
catalogue/     checkpoints; the sweep of the store; database and store belong together
postgres/      pool, patience, health, leadership, migrations, sql/
"""

__all__: list[str] = []
