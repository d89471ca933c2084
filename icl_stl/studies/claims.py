"""All claims of the package, found in the folders of its topics."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from icl_stl.studies.judging import Claim

_FOUND = iter_modules([str(Path(__file__).parent)], f"{__package__}.")
TOPICS = tuple(
    sorted((f.name for f in _FOUND if f.ispkg), key=lambda name: import_module(name).PLACE)
)
"""The packages of the topics, by the `PLACE` that each says."""

CLAIMS: dict[str, Claim] = {
    claim.name: claim for topic in TOPICS for claim in import_module(f"{topic}.claims").CLAIMS
}
"""All claims by name, in the order in which they are shown."""
