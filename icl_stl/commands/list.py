"""What is chosen by name: claims with their statements, presets, learners, regimes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import tyro

from icl_stl.config import PRESETS
from icl_stl.lab.sweeps.grids import OPTIONS, RegimeName

if TYPE_CHECKING:
    from icl_stl.studies import Claim

Kind = Literal["claims", "presets", "learners", "regimes"]


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
            from icl_stl.studies import CLAIMS

            print_claims(CLAIMS)
        elif kind == "presets":
            for name, preset in PRESETS.items():
                sizes = f"n = {preset.samples}, {preset.replicates} loops of "
                print(f"{name}\n    {sizes}{preset.generations} generations")
        elif kind == "learners":
            for name, options in OPTIONS.items():
                print(f"{name}\n    options: {', '.join(options)}")
        else:
            print("\n".join(get_args(RegimeName)))
    return 0
