"""Loops of frozen predictors in their own context. No JAX."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from icl_stl.config import QueryArchitecture, Training, require, whole
from icl_stl.lab.experiments import Experiment
from icl_stl.laws import LinearRegression

IN_CONTEXT = ("ridge", "least_squares", "linear_attention")


@dataclass(frozen=True)
class ContextLoops(Experiment):
    """Loops of frozen predictors in their own context, one for each share that is kept.

    All predictors and shares of one prompt, and both loops of a pair, have the same randomness.
    """

    runner: ClassVar[str] = "icl_stl.studies.context_loop.loops:run_experiment"
    generation_axis: ClassVar[int | None] = 3
    task: LinearRegression
    """The real law; m examples a prompt."""
    predictors: tuple[tuple[str, float], ...]
    """Names of ideal predictors, of `IN_CONTEXT`, each with its setting: λ of `ridge`, c of
    `linear_attention` with Γ = c I; `least_squares` has none."""
    kept: tuple[int, ...]
    """k, examples that keep their real labels; one loop for each."""
    generations: int
    """G, generations after generation 0."""
    runs: int
    """Independent prompts, or networks."""
    relabel_noise: float = 0.0
    """s, deviation of the noise on new labels."""
    fresh: Literal["none", "inputs", "all"] = "none"
    """What is drawn anew in every generation: nothing, the inputs of the relabelled examples, or
    the real examples too."""
    change: Literal["none", "start", "first"] = "none"
    """What the second loop of a pair starts from: there is none; other labels on the examples that
    will be relabelled; a label of the first example that is one larger."""
    one_input: bool = False
    """Whether all kept examples have the first one's input; new labels are cut off then."""
    network: QueryArchitecture | None = None
    """A network, trained in every run, that loops before the ideal predictors."""
    training: Training | None = None
    """How it is trained."""
    prompts: int = 1
    """Prompts that each network is given."""

    def __post_init__(self) -> None:
        m = self.task.context
        for name, least in (("runs", 1), ("prompts", 1), ("generations", 0)):
            whole(name, getattr(self, name), least)
        for predictor, setting in self.predictors:
            require(predictor in IN_CONTEXT, "predictor", predictor, f"one of {IN_CONTEXT}")
            require(setting >= 0, "setting", setting, "a number of at least 0")
        require(
            bool(self.kept) and all(0 <= k <= m for k in self.kept),
            "kept",
            self.kept,
            f"whole numbers in 0..{m}",
        )
        require(
            not self.one_input or (len(self.kept) == 1 and self.fresh != "all"),
            "one_input",
            self.one_input,
            "false, where several shares or new real examples are asked for",
        )
        law = self.task.noise_law
        require(law == "gaussian", "noise_law", law, "'gaussian' in a loop in the context")
        noise = self.relabel_noise
        require(noise >= 0, "relabel_noise", noise, "a number of at least 0")
        require(
            self.change != "first" or self.fresh != "all",
            "change",
            self.change,
            "'none' or 'start' where real examples are drawn anew",
        )
        require(
            (self.network is None) == (self.training is None),
            "training",
            self.training,
            "given with a network, and only then",
        )

    @property
    def words(self) -> str:
        names = ["network"] * (self.network is not None) + [name for name, _ in self.predictors]
        what = {"none": [], "inputs": ["fresh inputs"], "all": ["all fresh"]}[self.fresh]
        what = [*what, *["one input"] * self.one_input]
        return ", ".join(["context", *names, *what, f"m{self.task.context}"]).replace("_", " ")
