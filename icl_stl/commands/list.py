"""What is chosen by name: claims with their statements, presets, problems, regimes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import tyro

if TYPE_CHECKING:
    from icl_stl.studies import Claim

Kind = Literal["claims", "presets", "learners", "problems", "regimes"]


@dataclass(frozen=True)
class Arguments:
    """List what is chosen by name."""

    kinds: tyro.conf.Positional[tuple[Kind, ...]] = ()
    """What to list; everything if not given."""


def print_claims(claims: Mapping[str, "Claim"]) -> None:
    """Names, statements and sources."""
    for name, claim in claims.items():
        print(f"{name}\n    {claim.statement}\n    source: {claim.source}")


def main(arguments: Arguments) -> int:
    """List; the exit status."""
    for kind in arguments.kinds or get_args(Kind):
        if len(arguments.kinds) != 1:
            print(f"{kind}:")
        if kind == "claims":
            from icl_stl.studies.claims import CLAIMS

            print_claims(CLAIMS)
        elif kind == "presets":
            from icl_stl.studies.presets import PRESETS

            for name, preset in PRESETS.items():
                loops = f"{preset.replicates} loops of {preset.generations} generations"
                print(f"{name}\n    n = {preset.samples}, {loops}")
        else:
            from icl_stl.members import listed

            print("\n".join(listed(kind)))
    return 0
