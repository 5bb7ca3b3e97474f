"""The command line. Modules here import nothing heavier than typer until a command runs: `--help` must answer at once.

__main__                             the entry point: errors become one message and an exit code
app                                  the tree of commands
runs, operations, checkpoints, …     one module per group of commands
follow                               the live bar, and what Ctrl-C does
output, plain, words                 tables, JSON, and how numbers and times are written
"""

__all__: list[str] = []
