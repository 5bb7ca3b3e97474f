"""The client of Holdfast: one implementation for asyncio, and a blocking one derived from it.

_calls       deadlines, retries of UNAVAILABLE, errors of the wire -> holdfast.errors
_resources   what the listings return, and the words for statuses and kinds
_async       AsyncClient and AsyncOperation: everything that is done
_blocking    Client and Operation: the same methods, run on one background event loop
_strategy    strategy files, and overrides such as `training.epochs=5`
"""

from holdfast.sdk._async import AsyncClient
from holdfast.sdk._blocking import Client, Operation, connect
from holdfast.sdk._operation import AsyncOperation
from holdfast.sdk._resources import Kind, Status, Update

__all__ = ["AsyncClient", "AsyncOperation", "Client", "Kind", "Operation", "Status", "Update", "connect"]
