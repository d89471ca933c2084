"""The bounds, as a calculator: `python -m icl_stl.bounds` by another name."""

from dataclasses import dataclass
from typing import Literal

import tyro

from icl_stl.bounds.__main__ import main

__all__ = ["Arguments", "main"]


@dataclass(frozen=True)
class Arguments:
    """Bounds for self-consuming training loops: every term, never capped."""

    command: tyro.conf.Positional[Literal["drift", "gap", "plateau", "stability", "optimum"]]
    """What to bound; see `icl-stl bounds COMMAND --help`."""
