"""`holdfast`: runs a command. Owns the exit code and the last words; no traceback ever reaches the user."""

from __future__ import annotations

import os
import sys

from holdfast.cli import exits
from holdfast.errors import HoldfastError

__all__ = ["main", "run"]


def main(arguments: list[str] | None = None) -> int:
    """Runs one command line and returns its exit code: see holdfast.cli.exits."""
    # gRPC's core prints its own notes ("Got goaway") to stderr otherwise.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from holdfast.cli.app import app

    try:
        app(arguments, prog_name="holdfast")
    except SystemExit as done:
        # typer's own way out: usage errors (2), --help (0), and the code a command returned.
        return exits.FAILED if done.code is None or isinstance(done.code, str) else int(done.code)
    except HoldfastError as error:
        return exits.explain(error)
    except KeyboardInterrupt:
        print("\nholdfast: interrupted. `holdfast operations list` shows what runs.", file=sys.stderr)
        return exits.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output (head, say) has gone: nobody is left to tell. Python must not try to flush either.
        sys.stderr.close()
        return exits.INTERRUPTED
    except ModuleNotFoundError as error:
        return exits.explain_missing(error)
    except Exception as error:  # noqa: BLE001 - the boundary: the details go to a file, one line to the user
        return exits.explain_defect(error)
    return exits.DONE


def run() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
