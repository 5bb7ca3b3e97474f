"""What a run is and how it stays durable: its contract, its checkpoints, its end. Imports no grpc.

contract    what a run sees of Holdfast
session     what a run holds to stay durable: stops, progress, saves, last writes
notes       what its result must say about lost exactness
market      bars and their digest, of one moment
final       the last writes, which wait for room in a full store
writer      saves snapshots beside the run
saver       the process that hashes and writes them
pace        when a periodic save is worth it
"""

__all__: list[str] = []
