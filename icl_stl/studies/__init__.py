"""Claims: the only room that sees both the measurements and the bounds.

=================  ==============================================================
``judging``        what a claim is and how it is judged
``transformer``    claims about loops of the trained transformer
``solvable``       claims about loops whose every quantity has a closed form
``stability``      claims about recursive stability
``collapse``       the claim about generators that forget their uncertainty
``certificates``   the claim about certificates of trained networks in context
``context_loop``   the claim about loops of frozen predictors in their own context
``convergence``    claims about the transformer over sizes
``synthetic``      claims about how much synthetic data
=================  ==============================================================
"""

from icl_stl.studies.certificates import claims as certificates
from icl_stl.studies.collapse import claims as collapse
from icl_stl.studies.context_loop import claims as context_loop
from icl_stl.studies.convergence import claims as convergence
from icl_stl.studies.judging import Cell, Claim, Evidence, Judged, judge
from icl_stl.studies.solvable import claims as solvable
from icl_stl.studies.stability import claims as stability
from icl_stl.studies.synthetic import claims as synthetic
from icl_stl.studies.transformer import claims as transformer

_ROOMS = (
    *(transformer, solvable, stability, convergence, synthetic),
    *(certificates, context_loop, collapse),
)
CLAIMS = {claim.name: claim for room in _ROOMS for claim in room.CLAIMS}
"""All claims by name, in the order in which they are shown."""

__all__ = [
    "CLAIMS",
    "Cell",
    "Claim",
    "Evidence",
    "Judged",
    "certificates",
    "collapse",
    "context_loop",
    "convergence",
    "judge",
    "solvable",
    "stability",
    "synthetic",
    "transformer",
]
