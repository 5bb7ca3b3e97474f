"""Seeded faults against real processes: nothing may be stuck, lost or done twice, and no bit may change.

plan        what happens in a run, drawn from a seed
faults      how each fault is done to a cluster
disks       small disks that a fault can fill
future      what a peer of a newer version says
work        what is done meanwhile, by the SDK and by the command line
campaign    runs a plan, resumes what must be resumed, and compares with the undisturbed results
__main__    the command line: `make chaos SEED=… RUNS=…`
"""
