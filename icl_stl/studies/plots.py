"""Figures, drawn from stored results alone: vector files, the same bytes every time.

================  ==================================================================
``transformer``   loops of the trained transformer, and the claims about them
``solvable``      claims about solvable loops, from their cells alone
``stability``     claims about recursive stability, likewise
``convergence``   the transformer over sizes: convergence, and how much synthetic data
``synthetic``     claims about how much synthetic data, likewise
``certificates``  networks in context: certified, searched and sampled
``context_loop``  the claim about loops in the context, likewise
``collapse``      the claim about generators that forget their uncertainty, likewise
``planning``      how much synthetic data a bound recommends
``files``         a run folder's figures, captions and manifest, and their check
================  ==================================================================
"""

from icl_stl.planning.figure import trade_off
from icl_stl.studies.drawing import PALETTE, STYLE, Drawing, Stored
from icl_stl.studies.figures import (
    DRAWINGS,
    check_folder,
    digest,
    draw_all,
    draw_folder,
    drawings,
    mismatches,
    read_stored,
    svg_of,
    write_figure,
)
from icl_stl.studies.solvable.figures import excess_curve
from icl_stl.studies.transformer.figures import VACUOUS, headline_prefix

__all__ = [
    "DRAWINGS",
    "PALETTE",
    "STYLE",
    "VACUOUS",
    "Drawing",
    "Stored",
    "check_folder",
    "digest",
    "draw_all",
    "draw_folder",
    "drawings",
    "excess_curve",
    "headline_prefix",
    "mismatches",
    "read_stored",
    "svg_of",
    "trade_off",
    "write_figure",
]
