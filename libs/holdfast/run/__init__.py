"""What a run is and how it stays durable: its contract, its checkpoints, its end. Imports no grpc.

contract    what a run sees of Holdfast
writer      saves snapshots beside the run
saver       the process that hashes and writes them
pace        when a periodic save is worth it
"""

__all__: list[str] = []
