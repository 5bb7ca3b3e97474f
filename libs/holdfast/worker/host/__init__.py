"""Processes for runs: the fork server, its children, and the pipe to each. Nothing here may import grpc or torch.

In the worker:
    executor    the seam: how a run gets a process
    processes   the `process` executor: keeps a fork server, lets it fork
    client      the control socket of the fork server
    connection  the pipe to a run, the worker's end
    procfs      what the kernel says of a run's process

In the fork server and in what it forks:
    forkserver  the fork server's process
    child       a run's process, from fork to exit
    childrun    the pipe to the worker, the run's end: what the run's code holds

In both:
    context     what every run of a worker has in common: told to the fork server once
    wire        frames on the pipe: the order and a stop down, messages and beats up
"""

__all__: list[str] = []
