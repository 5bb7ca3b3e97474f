"""Holdfast on one machine: what `holdfast up` starts and `holdfast down` stops.

records     pid files: who was started, told apart from a stranger that got the same pid
processes   starts detached processes, waits for them, stops them
parts       the status of each process, seen from outside, and what to do about it
stack       PostgreSQL, coordinator and workers, in order
"""

__all__: list[str] = []
