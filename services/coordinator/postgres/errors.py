"""Sorts every error of asyncpg into what it means for the coordinator. Pure: owns one table and no connection.

A class that the table does not name is what its nearest named ancestor is; a test walks asyncpg's whole tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import asyncpg
from asyncpg import exceptions as pg

__all__ = ["CAUGHT", "TABLE", "Kind", "classify"]


class Kind(Enum):
    """What follows from an error."""

    # The world's doing, and it passes: background work waits, callers get UNAVAILABLE.
    TRANSIENT = "transient"
    # A constraint of the schema: a race that was lost, or a defect; its name decides (database.domain_error).
    DOMAIN = "domain"
    # Our statement or our value was wrong, and a repeat would be as wrong: INTERNAL, for this call or this fact alone.
    DEFECT = "defect"
    # Going on would do harm, or never succeed: the process ends and says why.
    FATAL = "fatal"


# Each group with its reason. What is only a guess is TRANSIENT: waiting loses nothing, refusing a fact may.
TABLE: Mapping[type[BaseException], Kind] = {
    # The connection, or the way to it, is broken.
    OSError: Kind.TRANSIENT,
    TimeoutError: Kind.TRANSIENT,
    pg.PostgresConnectionError: Kind.TRANSIENT,
    # asyncpg met a connection in a state it did not expect: the server has said goodbye, or its schema cache is old.
    pg.InternalClientError: Kind.TRANSIENT,
    # The server stops, starts, is restored, or has cancelled us (statement_timeout, an administrator).
    pg.OperatorInterventionError: Kind.TRANSIENT,
    pg.InvalidCatalogNameError: Kind.TRANSIENT,
    pg.InvalidAuthorizationSpecificationError: Kind.TRANSIENT,  # pg_hba.conf closed during maintenance
    pg.ConfigFileError: Kind.TRANSIENT,
    pg.InsufficientPrivilegeError: Kind.TRANSIENT,  # granted again without a restart
    # Disk, memory, connections or a configured limit are used up: 53100 is the full disk.
    pg.InsufficientResourcesError: Kind.TRANSIENT,
    # 54000 itself is the stop before the wraparound of transaction ids; our keys are too short for its other cause.
    pg.ProgramLimitExceededError: Kind.TRANSIENT,
    # Files of the server that cannot be read or written now.
    pg.PostgresSystemError: Kind.TRANSIENT,
    # Somebody else holds what we need, or was faster: deadlock, serialization, lock_timeout, ALLOW_CONNECTIONS false.
    pg.TransactionRollbackError: Kind.TRANSIENT,
    pg.ObjectNotInPrerequisiteStateError: Kind.TRANSIENT,
    pg.SnapshotTooOldError: Kind.TRANSIENT,
    pg.ReadOnlySQLTransactionError: Kind.TRANSIENT,  # a standby, until it is promoted
    pg.IdleInTransactionSessionTimeoutError: Kind.TRANSIENT,
    pg.TransactionTimeoutError: Kind.TRANSIENT,
    # A plan made before a change of the schema; the next one is made after it.
    pg.InvalidCachedStatementError: Kind.TRANSIENT,
    # "Should not occur" inside the server, such as a row that two sessions change at once; a repeat as a rule succeeds.
    pg.InternalServerError: Kind.TRANSIENT,
    # A code that asyncpg does not know: an extension's or a newer server's.
    pg.FatalPostgresError: Kind.TRANSIENT,
    # The schema's own rules.
    pg.IntegrityConstraintViolationError: Kind.DOMAIN,
    # Only a restart with other credentials helps.
    pg.InvalidPasswordError: Kind.FATAL,
    # The schema is not the one that this process has migrated: restored, dropped or changed below it. A start migrates.
    pg.UndefinedTableError: Kind.FATAL,
    pg.UndefinedColumnError: Kind.FATAL,
    pg.UndefinedFunctionError: Kind.FATAL,
    pg.InvalidSchemaNameError: Kind.FATAL,
    # The server's files are damaged: every further write makes it worse.
    pg.DataCorruptedError: Kind.FATAL,
    pg.IndexCorruptedError: Kind.FATAL,
    # A value or a statement of ours that the server cannot take.
    pg.DataError: Kind.DEFECT,
    pg.SyntaxOrAccessError: Kind.DEFECT,
    pg.FeatureNotSupportedError: Kind.DEFECT,
    pg.StatementTooComplexError: Kind.DEFECT,
    pg.TooManyColumnsError: Kind.DEFECT,
    pg.TooManyArgumentsError: Kind.DEFECT,
    pg.CantChangeRuntimeParamError: Kind.DEFECT,
    pg.UnsafeNewEnumValueUsageError: Kind.DEFECT,
    pg.CardinalityViolationError: Kind.DEFECT,
    pg.CaseNotFoundError: Kind.DEFECT,
    pg.WithCheckOptionViolationError: Kind.DEFECT,
    pg.InvalidArgumentForXqueryError: Kind.DEFECT,
    # A transaction, cursor, savepoint or prepared statement used in the wrong order.
    pg.SQLStatementNotYetCompleteError: Kind.DEFECT,
    pg.InvalidTransactionStateError: Kind.DEFECT,
    pg.InvalidTransactionInitiationError: Kind.DEFECT,
    pg.InvalidTransactionTerminationError: Kind.DEFECT,
    pg.InvalidCursorStateError: Kind.DEFECT,
    pg.InvalidCursorNameError: Kind.DEFECT,
    pg.InvalidSQLStatementNameError: Kind.DEFECT,
    pg.SavepointError: Kind.DEFECT,
    pg.LocatorError: Kind.DEFECT,
    pg.DiagnosticsError: Kind.DEFECT,
    # Roles and dependent objects: no statement of ours touches them.
    pg.InvalidGrantorError: Kind.DEFECT,
    pg.InvalidRoleSpecificationError: Kind.DEFECT,
    pg.DependentPrivilegeDescriptorsStillExistError: Kind.DEFECT,
    # Triggers and foreign tables, of which the schema has none, so that somebody has added them; and our one function.
    pg.TriggeredActionError: Kind.DEFECT,
    pg.TriggeredDataChangeViolationError: Kind.DEFECT,
    pg.SQLRoutineError: Kind.DEFECT,
    pg.ExternalRoutineError: Kind.DEFECT,
    pg.ExternalRoutineInvocationError: Kind.DEFECT,
    pg.PLPGSQLError: Kind.DEFECT,
    pg.FDWError: Kind.DEFECT,
    # asyncpg was called wrongly; but for its words about connections, see `classify`.
    pg.InterfaceError: Kind.DEFECT,
}

# What `Database` catches; everything else is no error of a database.
CAUGHT = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


def classify(error: BaseException) -> Kind:
    """The kind of an error that is one of CAUGHT."""
    if type(error) is pg.InterfaceError and _of_a_connection(error):
        return Kind.TRANSIENT
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), Kind.DEFECT)


def _of_a_connection(error: BaseException) -> bool:
    # asyncpg says with one class both "connection is closed" and "you called me wrongly".
    return any(word in str(error) for word in ("closed", "closing", "released", "another operation"))
