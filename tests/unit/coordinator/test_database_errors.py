"""Every error that asyncpg can raise has a kind, and the ones that people meet have the right one."""

from __future__ import annotations

import inspect

import asyncpg
import pytest
from asyncpg import exceptions

from holdfast.services.coordinator.postgres.errors import CAUGHT, TABLE, Kind, classify

# Told to a listener, never raised.
NEVER_RAISED = (Warning,)
RAISED = [
    kind
    for kind in vars(exceptions).values()
    if inspect.isclass(kind) and issubclass(kind, Exception) and not issubclass(kind, NEVER_RAISED)
]
# The roots stand for nothing in particular: a class that only they cover is one that nobody has thought about.
ROOTS = {asyncpg.PostgresError}


def test_the_walk_sees_the_whole_tree() -> None:
    assert len(RAISED) > 250
    assert set(exceptions.__all__) >= {"DiskFullError", "InternalClientError"}


def test_every_class_is_caught_and_classified() -> None:
    unclassified = [kind for kind in RAISED if kind not in ROOTS and not any(base in TABLE for base in kind.__mro__)]
    assert not unclassified
    assert not [kind for kind in RAISED if not issubclass(kind, CAUGHT)]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (asyncpg.DiskFullError("No space left on device"), Kind.TRANSIENT),
        (asyncpg.OutOfMemoryError(), Kind.TRANSIENT),
        (asyncpg.TooManyConnectionsError(), Kind.TRANSIENT),
        (asyncpg.ConfigurationLimitExceededError(), Kind.TRANSIENT),
        (asyncpg.LockNotAvailableError(), Kind.TRANSIENT),
        (asyncpg.QueryCanceledError("canceling statement due to statement timeout"), Kind.TRANSIENT),
        (asyncpg.SerializationError(), Kind.TRANSIENT),
        (asyncpg.DeadlockDetectedError(), Kind.TRANSIENT),
        (asyncpg.ReadOnlySQLTransactionError(), Kind.TRANSIENT),
        (asyncpg.AdminShutdownError(), Kind.TRANSIENT),
        (asyncpg.InterfaceError("connection is closed"), Kind.TRANSIENT),
        (ConnectionResetError(), Kind.TRANSIENT),
        (TimeoutError(), Kind.TRANSIENT),
        (asyncpg.UniqueViolationError(), Kind.DOMAIN),
        (asyncpg.InterfaceError("the server expects 2 arguments"), Kind.DEFECT),
        (asyncpg.PostgresSyntaxError(), Kind.DEFECT),
        (asyncpg.CharacterNotInRepertoireError("a NUL"), Kind.DEFECT),
        (asyncpg.PostgresError("of no class at all"), Kind.DEFECT),
        (asyncpg.UndefinedTableError(), Kind.FATAL),
        (asyncpg.UndefinedFunctionError(), Kind.FATAL),
        (asyncpg.InvalidPasswordError(), Kind.FATAL),
        (asyncpg.DataCorruptedError(), Kind.FATAL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.value,
)
def test_what_people_meet(error: Exception, kind: Kind) -> None:
    assert classify(error) is kind
