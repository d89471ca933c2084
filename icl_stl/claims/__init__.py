"""Claims: the only room that sees both the measurements and the bounds.

=================  ==============================================================
``judging``        what a claim is and how it is judged
``transformer``    claims about loops of the trained transformer
``solvable``       claims about loops whose every quantity has a closed form
``certificates``   the claim about certificates of trained networks in context
=================  ==============================================================
"""

from icl_stl.claims import certificates, solvable, transformer
from icl_stl.claims.judging import Cell, Claim, Evidence, Judged, judge

CLAIMS = {
    claim.name: claim for claim in (*transformer.CLAIMS, *solvable.CLAIMS, *certificates.CLAIMS)
}
"""All claims by name, in the order in which they are shown."""

__all__ = [
    "CLAIMS",
    "Cell",
    "Claim",
    "Evidence",
    "Judged",
    "certificates",
    "judge",
    "solvable",
    "transformer",
]
