"""ResearchService: not built yet, and says so. The protocol stands so that clients can be written against it."""

from __future__ import annotations

from typing import Any, NoReturn

from holdfast.errors import Unimplemented
from holdfast.v1 import research_service_pb2_grpc

__all__ = ["NAME", "ResearchServicer"]

NAME = "holdfast.v1.ResearchService"


class ResearchServicer(research_service_pb2_grpc.ResearchServiceServicer):
    """Every method answers UNIMPLEMENTED with the reason."""

    async def StartResearch(self, request: Any, context: Any) -> NoReturn:  # noqa: N802
        raise _not_built()

    async def GetResearch(self, request: Any, context: Any) -> NoReturn:  # noqa: N802
        raise _not_built()

    async def ListResearches(self, request: Any, context: Any) -> NoReturn:  # noqa: N802
        raise _not_built()

    async def CancelResearch(self, request: Any, context: Any) -> NoReturn:  # noqa: N802
        raise _not_built()

    async def ListTrials(self, request: Any, context: Any) -> NoReturn:  # noqa: N802
        raise _not_built()


def _not_built() -> Unimplemented:
    return Unimplemented(
        "Research is not built yet: this coordinator trains and backtests. Use StartTraining and StartBacktest.",
        reason="RESEARCH_NOT_BUILT",
    )
