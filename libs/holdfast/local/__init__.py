"""Holdfast on one machine: what `holdfast up` starts and `holdfast down` stops.

records     pid files: who was started, told apart from a stranger that got the same pid
processes   starts detached processes, waits for them, stops them
stack       PostgreSQL, coordinator and workers, in order
"""
