"""Claims: the only room that sees both the measurements and the bounds.

=================  ==============================================================
``judging``        what a claim is and how it is judged
``transformer``    claims about loops of the trained transformer
``solvable``       claims about loops whose every quantity has a closed form
=================  ==============================================================
"""

from icl_stl.claims import solvable, transformer
from icl_stl.claims.judging import Cell, Claim, Evidence, Judged, judge

CLAIMS = {claim.name: claim for claim in (*transformer.CLAIMS, *solvable.CLAIMS)}
"""All claims by name, in the order in which they are shown."""

__all__ = ["CLAIMS", "Cell", "Claim", "Evidence", "Judged", "judge", "solvable", "transformer"]
