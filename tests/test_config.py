import dataclasses
import math

import pytest

from icl_stl.config import PRESETS, Architecture, LinearRegression, Preset, Training
from icl_stl.regimes import Augment, RealOnly, Replace

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("make", "name", "value", "admissible"),
    [
        *[
            (LinearRegression, name, value, f"whole number of at least {least}")
            for name, least in {"dim": 1, "context": 2}.items()
            for value in (least - 1, -3, 2.5, NAN)
        ],
        *[
            (LinearRegression, name, value, "a positive number")
            for name in ("noise", "prior_scale")
            for value in (0.0, -1.0, NAN, INF)
        ],
        (LinearRegression, "inputs", "cube", "'gaussian' or 'sphere'"),
        (LinearRegression, "tasks", "cube", "'gaussian' or 'sphere'"),
        (LinearRegression, "tasks", "uniform", "'gaussian' or 'sphere'"),
        (LinearRegression, "noise_law", "cauchy", "'gaussian' or 'uniform'"),
        (LinearRegression, "noise_law", "sphere", "'gaussian' or 'uniform'"),
        (LinearRegression, "noise", 0.0099, r"at least a hundredth of prior_scale \(1.0\)"),
        *[
            (Architecture, name, value, "whole number of at least 1")
            for name in ("depth", "width", "heads")
            for value in (0, -1, 1.5)
        ],
        (Architecture, "heads", 5, r"a divisor of the width \(32\)"),
        (Architecture, "heads", 64, r"a divisor of the width \(32\)"),
        *[
            (Training, name, value, "whole number of at least 1")
            for name in ("steps", "batch")
            for value in (0, -1, 1.5)
        ],
        *[(Training, "learning_rate", v, "a positive number") for v in (0.0, -1.0, NAN, INF)],
        *[(Training, "weight_decay", v, "a number of at least 0") for v in (-0.1, NAN, INF)],
        *[(Training, "warmup", v, r"in \[0, 1\]") for v in (-0.1, 1.1, NAN)],
    ],
)
def test_bad_settings_are_refused_by_name_and_value(make, name, value, admissible):
    with pytest.raises(ValueError, match=f"^{name} must be .*{admissible}, but it is {value!r}$"):
        make(**{name: value})


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
    ("name", "value", "complaint"),
    [
        ("samples", 0, "^samples must be .* but it is 0$"),
        ("generations", -1, "^generations must be .* but it is -1$"),
        *[(name, 1, f"^{name} must be .* but it is 1$") for name in ("held_out",)],
        ("samples", 10.5, "^samples must be a whole number"),
        ("shares", (0.5, 1.0), r"^alpha must be in \(0, 1\), but it is 1.0"),
        ("shares", (0.3,), "^alpha = 0.3 asks for .* samples = 2000"),
    ],
)
def test_presets_refuse_what_cannot_run(name, value, complaint):
    with pytest.raises(ValueError, match=complaint):
        Preset("bad", **{name: value})


def test_presets_are_known_by_their_names_and_run_every_regime():
    assert all(preset.name == name for name, preset in PRESETS.items())
    regimes = Preset("some", shares=(0.2, 0.5)).regimes
    assert regimes == (RealOnly(), Augment(0.2), Augment(0.5), Replace())


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
