"""Processes for runs: the fork server, its children, and the pipe to each. Nothing here may import grpc or torch.

executor    the seam: how a run gets a process
processes   the `process` executor, the worker's side
client      the control socket of the fork server
forkserver  the fork server's process
child       a run's process, from fork to exit
pipe, runpipe, wire    the two ends of the pipe, and its frames
"""

__all__: list[str] = []
