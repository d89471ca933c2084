"""Studies: the only room that sees both the measurements and the bounds.

A topic is a folder, found by being there: ``experiments`` (what is to be run, without JAX),
``loops`` (what only this topic runs), ``claims`` (statements, judged) and ``figures``. A user's
study is a file: see `load`. From here alone it needs `Claim`, `Cell`, `Judged` and `Loops`; for
an experiment that is no loop of a problem, `Experiment`, whose members it derives from.

================  ===================================================================
``judging``       what a claim is and how it is judged
``study``         a user's study, from its file
``claims``        all claims of the package
``cells``         what claims share
``presets``       sizes of the main job
``laboratory``    running whatever experiments claims ask for
``table``         judged claims in words
``drawing``       what figures share
``figures``       a run folder's figures, captions and manifest, and their check
================  ===================================================================
"""

from icl_stl.lab.experiments import Experiment, Loops
from icl_stl.studies.judging import Cell, Claim, Evidence, Judged, judge
from icl_stl.studies.study import Study, load

__all__ = ["Cell", "Claim", "Evidence", "Experiment", "Judged", "Loops", "Study", "judge", "load"]
