"""Seeded faults against real processes: nothing may be stuck, lost or done twice, and no bit may change.

plan        what happens in a run, drawn from a seed
faults      how each fault is done to a cluster
campaign    runs a plan, resumes what must be resumed, and compares with the undisturbed results
__main__    the command line: `make chaos SEED=… RUNS=…`
"""
