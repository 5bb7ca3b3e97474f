"""The coordinator: the only process that talks to PostgreSQL. Imports no torch, numba, polars, numpy or TA-Lib.

operations/   the life-cycle, and everything that moves an operation: start, cancel, resume, watch, progress
workers/      who they are, what they run, what they say: registration, supervision, dispatch, reconciliation, orphans
catalogue/    checkpoints, their sweep, and the pairing of database and artifact store
postgres/     the pool, the queries, the schema, leadership
rpc/          the services: check requests, call the rooms above
tasks         background tasks: named, awaited, cancelled; which of them are essential
app           puts it together and takes it down
"""

__all__: list[str] = []
