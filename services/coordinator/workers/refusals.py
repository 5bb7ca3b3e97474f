"""What workers said and the coordinator could not use: counted, logged once, never fatal. Owns the counters."""

from __future__ import annotations

from collections import Counter, OrderedDict

import structlog

from holdfast.errors import HoldfastError

__all__ = ["REMEMBERED", "STRIKES", "UNKNOWN", "Refusals"]

log = structlog.get_logger()

# A fact whose handling met a defect so often is refused: it would end every stream of its worker, and hold up what is
# behind it. If it was a run's end, the orphan rule ends the operation.
STRIKES = 3
REMEMBERED = 4096  # (worker, kind) pairs that were logged, and facts with strikes

UNKNOWN = "unknown"


class Refusals:
    """`refuse` whatever cannot be used; `strike` what met a defect of the coordinator itself."""

    def __init__(self) -> None:
        # By the kind of the message; UNKNOWN is what only a newer worker says.
        self.counts: Counter[str] = Counter()
        self._logged: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._strikes: OrderedDict[tuple[str, str, int], int] = OrderedDict()

    def refuse(self, worker_id: str, kind: str, error: HoldfastError) -> None:
        """Counts one; the first of its kind from this worker is logged."""
        self.counts[kind] += 1
        key = (worker_id, kind)
        if key not in self._logged:
            log.warning("Message refused", worker=worker_id, kind=kind, reason=error.reason, error=error.message)
            _remember(self._logged, key, None)

    def strike(self, worker_id: str, incarnation: str, sequence: int) -> bool:
        """Counts a defect met with this fact; whether it is to be refused now."""
        key = (worker_id, incarnation, sequence)
        strikes = self._strikes.pop(key, 0) + 1
        if strikes < STRIKES:
            _remember(self._strikes, key, strikes)
        return strikes >= STRIKES


def _remember(memory: OrderedDict, key: tuple, value: object) -> None:  # type: ignore[type-arg]
    memory[key] = value
    while len(memory) > REMEMBERED:
        memory.popitem(last=False)
