"""Where artifacts lie, and what makes them whole. Imports neither torch nor numpy.

store       the contract of a store; open_store(url)
local, s3   its two kinds: a directory (or NFS), an S3 bucket
manifest    a directory of files under one manifest with SHA-256 digests; verified whole when read
exact       JSON that keeps every float, NaN and infinity included
checkpoint  one moment of a run, and the manifest that describes it
catalogue   load, verify, discover and delete checkpoints
tensors     torch tensors as safetensors (the one module that imports torch)
"""

__all__: list[str] = []
