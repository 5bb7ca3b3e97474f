"""The coordinator: the only process that talks to PostgreSQL. Imports no torch, numba, polars, numpy or TA-Lib.

lifecycle        which transitions are legal (pure)
sql/             schema, migrations, named queries
database         the pool, lost connections, constraint names to domain errors; migrations; leadership
records          rows to protobuf messages and back
store            operations: create, read, list
transitions      every change of status as one compare-and-set
changes          tells watchers, the dispatcher and others what the store has just written
registry         which workers there are, what they run, who has a free slot
worker_link      commands to a worker and its Supervise stream
supervision      one stream per worker: facts in, acknowledgements out
dispatcher       gives queued operations to free slots
reconciliation   who is right when worker and database disagree; the coordinator's start
orphans          finds what no process runs any more
cancel, resume, automatic
pairing          database and artifact store belong together, or the coordinator stops
checkpoints      the catalogue; sweep cleans up, by the rule of collection, through quarantine
watch            replays and follows events
rpc/             the services: checks requests, calls the rooms above
process          puts it together and takes it down
"""
