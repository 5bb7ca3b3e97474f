"""The kit of the tests: real PostgreSQL, real gRPC, real processes. Holds no test.

waiting           `until` and `wait_until`: conditions, never times
postgres          a template database, cloned per test
cluster           a whole Holdfast of real processes, to disturb and to ask
command_line      the `holdfast` command, as a person runs it
workloads         trainings and backtests, and the bytes that they end with
coordinator       a coordinator in this process, and a caller
scripted_worker   a worker that does exactly what a test says, for the coordinator's tests
scripted          a coordinator that answers from a script, for the client's tests
stored            checkpoints and results in the store, without a run
proxy             a connection that can be cut or go half-open
future            messages of a later version

A run that records is `holdfast.testing.RecordingRun`; a real worker's coordinator is tests/integration/worker_support.
"""
