"""Networks that are certified. No JAX."""

from dataclasses import dataclass
from typing import ClassVar

from icl_stl.config import QueryArchitecture, Training, require, whole
from icl_stl.lab.experiments import Experiment
from icl_stl.laws import LinearRegression


@dataclass(frozen=True)
class CertifiedNetworks(Experiment):
    """Networks that answer queries: trained, then certified, searched and sampled."""

    runner: ClassVar[str] = "icl_stl.studies.certificates.networks:run_networks"
    generation_axis: ClassVar[int | None] = None
    task: LinearRegression
    """The real law; m is its context."""
    architecture: QueryArchitecture
    """What the networks are."""
    training: Training
    """How they are trained."""
    runs: int
    """Networks, each from its own seed."""
    restarts: int
    """Starts of a search."""
    search_steps: int
    """Gradient steps of a search."""
    prompts: int
    """Prompts with a random replacement."""
    contexts: tuple[int, ...]
    """Context lengths at which the same weights are used."""
    long_prompts: int
    """Prompts of these lengths."""
    label_bound: float = 3.0
    """B_y, in units of a label's deviation."""

    def __post_init__(self) -> None:
        for name in ("runs", "restarts", "search_steps", "prompts", "long_prompts"):
            whole(name, getattr(self, name), 1)
        require(self.label_bound > 0, "label_bound", self.label_bound, "a positive number")

    @property
    def words(self) -> str:
        a = self.architecture
        extras = ", norm" * a.norm + ("" if a.cap is None else f", cap {a.cap:g}")
        return f"certified networks, {a.depth} layers, {a.attention} {a.kind}{extras}"
