"""Rows from outside, and models outside JAX: files, shipped tables, classes and commands.

`reading` makes rows of a file, or of a table that scikit-learn ships; `outside` fits models that
are a class with `fit` and `sample`, or a command. Needs no JAX, and nothing is ever unpickled.
"""

from icl_stl.data.outside import (
    Command,
    FromFile,
    Outside,
    Task,
    UnfitError,
    Written,
    load_file,
    stop_commands,
)
from icl_stl.data.reading import SHIPPED, Header, Sheet, read_like, read_rows, spread

# fmt: off
__all__ = [
    "SHIPPED", "Command", "FromFile", "Header", "Outside", "Sheet", "Task", "UnfitError",
    "Written", "load_file", "read_like", "read_rows", "spread", "stop_commands",
]
