import dataclasses

import pytest

from icl_stl.config import Architecture, Training
from icl_stl.laws import LinearRegression
from icl_stl.regimes import Augment, Replace
from icl_stl.studies.presets import PRESETS, ConvergenceSize, Preset


def test_noise_is_measured_against_the_scale_of_the_tasks():
    message = r"^noise must be .* hundredth of prior_scale \(200.0\), but it is 0.5$"
    with pytest.raises(ValueError, match=message):
        LinearRegression(prior_scale=200.0)


@pytest.mark.parametrize(
    "admissible",
    [
        lambda: LinearRegression(dim=1, context=2, noise=1e-9, prior_scale=1e-9, inputs="sphere"),
        lambda: LinearRegression(noise=0.02, prior_scale=2.0),
        lambda: LinearRegression(tasks="sphere", noise_law="uniform"),
        lambda: Architecture(depth=1, width=1, heads=1),
        lambda: Architecture(width=6, heads=6),
        lambda: Training(steps=1, batch=1, weight_decay=0.0, warmup=0.0),
        lambda: Training(warmup=1.0),
    ],
)
def test_settings_on_the_edge_are_accepted(admissible):
    admissible()


@pytest.mark.parametrize("settings", [LinearRegression(), Architecture(), Training()])
def test_settings_are_hashable_and_frozen(settings):
    assert hash(settings) == hash(dataclasses.replace(settings))
    field = dataclasses.fields(settings)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, field, 3)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Preset("bad", shares=(0.5, 1.0)), r"^alpha must be in \(0, 1\), but it is 1.0"),
        (lambda: Preset("bad", shares=(0.3,)), "^alpha = 0.3 asks for .* samples = 4000"),
        (
            lambda: ConvergenceSize(lam_samples=(250,), lams=(0, 0.001)),
            "^lams must be 0, or a prompt beside n = 250, but it is 0.001",
        ),
        (
            lambda: Preset("bad", convergence=ConvergenceSize((4000,))),
            r"^convergence.samples must be other sizes than the main job's \(4000\)",
        ),
    ],
)
def test_sizes_of_what_is_mixed_are_whole(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()


def test_presets_are_known_by_their_names_and_run_every_regime():
    assert all(preset.name == name for name, preset in PRESETS.items())
    regimes = Preset("some", shares=(0.2, 0.5)).regimes
    assert regimes == (Augment(0.2), Augment(0.5), Replace())


def test_label_variance_adds_signal_and_noise():
    task = LinearRegression(dim=3, prior_scale=2.0, noise=0.5)
    assert task.label_variance == 3 * 4 + 0.25
    others = dataclasses.replace(task, inputs="sphere", tasks="sphere", noise_law="uniform")
    assert others.label_variance == task.label_variance


def test_laws_are_normal_unless_asked_otherwise():
    task = LinearRegression()
    assert (task.inputs, task.tasks, task.noise_law) == ("gaussian",) * 3


@pytest.mark.parametrize(
    ("context", "prefixes"),
    [
        (2, (1, 2)),
        (3, (1, 2, 3)),
        (4, (1, 2, 4)),
        (5, (1, 2, 4, 5)),
        (8, (1, 2, 4, 8)),
        (12, (1, 2, 4, 8, 12)),
    ],
)
def test_prefixes_double_up_to_the_whole_prompt(context, prefixes):
    assert LinearRegression(context=context).prefixes == prefixes


def test_every_preset_has_loops_enough_to_judge():
    """Of fewer than three nothing is decided: `judge`."""
    for preset in PRESETS.values():
        for size in (preset, preset.stability, preset.architectures, preset.convergence):
            assert size.replicates >= 3
