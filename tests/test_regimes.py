import dataclasses
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icl_stl import regimes
from icl_stl.bounds import accumulate_weights, anchored_weights, varying_share_weights
from icl_stl.regimes import (
    MAD_LOOPS,
    REAL,
    Accumulate,
    AccumulateFresh,
    AccumulateSubsample,
    Anchored,
    Augment,
    AugmentSameInputs,
    Curated,
    Edit,
    FreshReal,
    Hidden,
    RealOnly,
    Regime,
    Replace,
    Scheduled,
    Selecting,
    Varying,
    Verified,
    mixing_weights,
    real_share,
    source_shares,
    training_size,
)
from icl_stl.regimes.ratio import ByRatio

REGIMES = [
    Augment(0.25),
    Augment(0.5),
    Augment(0.8),
    Augment(0.25, weight=0.9),
    AugmentSameInputs(0.75),
    Replace(),
    Replace(0.5),
    RealOnly(),
    FreshReal(),
    FreshReal(2.0, weight=0.1),
    AccumulateFresh(),
    AccumulateFresh(0.25),
    Accumulate(2.0),
    AccumulateSubsample(0.5),
    Anchored(0.3),
    Edit((3.0, 0.25)),
    Hidden(0.3, alpha_decay=0.5, growth=1.0, until=3),
    Varying(0.6, alpha_decay=1.0, growth=0.5, until=4, lam=0.5),
    Verified(Augment(0.5)),
    Curated(FreshReal()),
]
KINDS = {
    Augment: (0.5,),
    AugmentSameInputs: (0.5,),
    Replace: (),
    RealOnly: (),
    FreshReal: (),
    AccumulateFresh: (),
    Accumulate: (),
    AccumulateSubsample: (),
    Anchored: (0.5,),
    Edit: (),
    Hidden: (),
    Varying: (),
    Verified: (),
    Curated: (),
}
HAVE_LAM = [Replace, FreshReal, AccumulateFresh, Accumulate, AccumulateSubsample, Varying]


def test_every_kind_of_regime_is_tested():
    def below(kind):
        return {kind}.union(*map(below, kind.__subclasses__()))

    own = {kind for kind in below(Regime) if kind.__module__.startswith("icl_stl.regimes")}
    assert set(KINDS) == set(regimes.REGIMES.values())
    assert own - set(KINDS) == {Regime, ByRatio, Scheduled, Selecting}  # what they share
    assert {type(regime) for regime in REGIMES} == set(KINDS)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.5, 1.5, math.nan, math.inf])
def test_augment_refuses_a_share_outside_the_open_interval(alpha):
    with pytest.raises(ValueError, match=rf"^alpha must be in \(0, 1\), but it is {alpha!r}"):
        Augment(alpha)


@pytest.mark.parametrize("lam", [0.0, -1.0, math.nan, math.inf])
def test_augment_refuses_a_ratio_that_is_not_positive(lam):
    with pytest.raises(ValueError, match=f"^lam must be a positive number, but it is {lam!r}"):
        Augment.from_lam(lam)


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        (Augment, "without real data use the regime 'replace', without synthetic data 'real-only'"),
        (
            AugmentSameInputs,
            "without real data use the regime 'replace', without synthetic data 'real-only'",
        ),
        (Anchored, "for equal rows use 'accumulate-fresh'"),
    ],
)
@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.5, math.nan])
def test_a_share_that_is_none_is_refused_with_advice(kind, advice, alpha):
    message = rf"^alpha must be in \(0, 1\), but it is {alpha!r}; {advice}$"
    with pytest.raises(ValueError, match=message):
        kind(alpha)


@pytest.mark.parametrize("kind", [*HAVE_LAM, Anchored])
@pytest.mark.parametrize("lam", [0.0, -1.0, math.nan, math.inf])
def test_a_ratio_that_is_not_positive_is_refused(kind, lam):
    with pytest.raises(ValueError, match=f"^lam must be a positive number, but it is {lam!r}$"):
        kind(*KINDS[kind], lam=lam)


@pytest.mark.parametrize("kind", [Augment, AugmentSameInputs, FreshReal])
@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan, math.inf])
def test_a_weight_that_is_no_share_is_refused(kind, weight):
    with pytest.raises(ValueError, match=rf"^weight must be in \[0, 1\], but it is {weight!r}$"):
        kind(*KINDS[kind], weight=weight)


@pytest.mark.parametrize("kind", [*HAVE_LAM, Anchored])
@pytest.mark.parametrize(
    ("lam", "samples", "asked", "near"),
    [
        (0.3, 5, "1.5", r"lam = 0\.2 for 1, lam = 0\.4 for 2"),
        (0.01, 10, "0.1", r"lam = 0\.1 for 1"),
        (0.28, 5, "1.4", r"lam = 0\.2 for 1, lam = 0\.4 for 2"),
        (0.32, 5, "1.6", r"lam = 0\.4 for 2, lam = 0\.2 for 1"),
        (1 + 1e-8, 10, r"10\.0000001", r"lam = 1\.0 for 10, lam = 1\.1 for 11"),
    ],
)
def test_a_fraction_of_a_row_is_refused(kind, lam, samples, asked, near):
    message = (
        f"^lam = {lam} asks for {asked} synthetic rows beside samples = {samples} real ones; "
        f"that must be a whole number of at least 1: {near}$"
    )
    with pytest.raises(ValueError, match=message):
        kind(*KINDS[kind], lam=lam).synthetic_size(samples)


@pytest.mark.parametrize(
    ("alpha", "samples", "asked"), [(0.3, 10, "23.3333"), (0.99, 10, "0.10101"), (0.6, 10, "6.667")]
)
def test_augment_refuses_a_fraction_of_a_prompt(alpha, samples, asked):
    message = f"alpha = {alpha!r} asks for {asked[:-1]}.* samples = {samples} .* whole number"
    with pytest.raises(ValueError, match=message):
        Augment(alpha).synthetic_size(samples)


@given(st.sampled_from([*HAVE_LAM, Anchored, Augment]), st.floats(1e-3, 40), st.integers(1, 900))
def test_values_that_a_message_names_work(kind, lam, samples):
    regime = Augment(1 / (1 + lam)) if kind is Augment else kind(lam=lam)
    try:
        regime.synthetic_size(samples)
    except ValueError as refusal:
        named = re.findall(r"(\w+) = ([\d.e-]+) for (\d+)", str(refusal))
        assert len(named) == 1 + (samples * lam > 1)
        for name, value, rows in named:
            own = dataclasses.replace(regime, **{name: float(value)})
            assert own.synthetic_size(samples) == int(rows)


@pytest.mark.parametrize(
    ("kind", "options", "regime"),
    [
        (Augment, {}, Augment(0.5)),
        (Augment, {"alpha": 0.2, "lam": None}, Augment(0.2)),
        (Augment, {"lam": 3.0, "alpha": None, "weight": 0.1}, Augment(0.25, 0.1)),
        (AugmentSameInputs, {"lam": 3.0}, AugmentSameInputs(0.25)),
        (FreshReal, {}, FreshReal()),
        (FreshReal, {"lam": 2.0, "weight": 0.3}, FreshReal(2.0, 0.3)),
        (FreshReal, {"alpha": 0.25}, FreshReal(3.0)),
        (Anchored, {"alpha": 0.3, "lam": 2.0}, Anchored(0.3, 2.0)),
        (Replace, {"lam": 2.0}, Replace(2.0)),
        (RealOnly, {}, RealOnly()),
    ],
)
def test_a_regime_is_made_from_options_of_a_command(kind, options, regime):
    assert regimes.REGIMES[kind.name].from_options(**options) == regime
    known = {field.name for field in dataclasses.fields(kind)} | set(kind.other_options)
    assert set(options) <= known


@pytest.mark.parametrize("kind", [Augment, AugmentSameInputs, FreshReal])
def test_a_share_and_a_ratio_say_the_same_thing(kind):
    with pytest.raises(ValueError, match=r"^alpha = 0.5 and lam = 1.0 say the same thing"):
        kind.from_options(alpha=0.5, lam=1.0)


@pytest.mark.parametrize(
    ("regime", "samples", "n_syn"),
    [
        (Augment(0.5), 10, 10),
        (Augment(0.2), 10, 40),
        (Augment(0.8), 64, 16),
        (Augment(1 / 3), 7, 14),
        (Augment.from_lam(3.0), 5, 15),
        (Replace(), 10, 10),
        (RealOnly(), 10, 0),
        (Replace(0.3), 10, 3),
        (AugmentSameInputs(0.4), 4, 6),
        (Augment(0.2, weight=0.9), 10, 40),
        (AugmentSameInputs.from_lam(0.5, weight=0.9), 10, 5),
        (FreshReal(2.0, weight=0.1), 7, 14),
        (AccumulateFresh(0.1), 30, 3),
        (Accumulate(1.5), 4, 6),
        (AccumulateSubsample(3), 5, 15),
        (Anchored(0.2, lam=1 / 3), 9, 3),
        (Hidden(growth=0.5, until=3), 10, 17),
        (Varying(growth=0.5, until=3, lam=0.5), 10, 9),
    ],
)
def test_synthetic_sizes(regime, samples, n_syn):
    assert regime.synthetic_size(samples) == n_syn


@given(samples=st.integers(1, 10_000), n_syn=st.integers(1, 100_000))
def test_augment_from_lam_gives_the_rows_asked_for(samples, n_syn):
    regime = Augment.from_lam(n_syn / samples)
    assert regime.synthetic_size(samples) == n_syn
    shares = source_shares(regime, samples, 3)
    assert shares == {
        REAL: pytest.approx(float(Fraction(samples, samples + n_syn)), rel=1e-15),
        2: pytest.approx(float(Fraction(n_syn, samples + n_syn)), rel=1e-11),
    }
    assert shares[REAL] == regime.alpha


@pytest.mark.parametrize("regime", REGIMES)
def test_every_regime_starts_from_the_real_law_and_mixes_to_one(regime):
    assert isinstance(regime, Regime)
    assert hash(regime) == hash(type(regime)(**vars(regime)))
    assert source_shares(regime, 12, 0) == {REAL: 1.0}
    for generation in range(1, 5):
        shares = source_shares(regime, 12, generation)
        assert math.isclose(sum(shares.values()), 1)
        assert all(REAL <= source < generation for source in shares)


@pytest.mark.parametrize("kind", [Augment, AugmentSameInputs])
def test_a_ratio_gives_a_regime_of_the_same_kind(kind):
    assert kind.from_lam(3.0) == kind(0.25)
    assert kind.from_lam(3.0, weight=0.5) == kind(0.25, weight=0.5)
    assert kind.from_lam(3.0) != kind.from_lam(3.0, weight=0.25)


def test_names_are_those_of_the_command_line():
    known = {
        "augment": Augment,
        "augment-same-inputs": AugmentSameInputs,
        "replace": Replace,
        "real-only": RealOnly,
        "fresh": FreshReal,
        "accumulate-fresh": AccumulateFresh,
        "accumulate": Accumulate,
        "accumulate-subsample": AccumulateSubsample,
        "anchored": Anchored,
        "edit": Edit,
        "hidden": Hidden,
        "varying": Varying,
        "verified": Verified,
        "curated": Curated,
    }
    assert known == regimes.REGIMES


@pytest.mark.parametrize(
    ("flag", "kinds"),
    [
        ("keeps_history", {AccumulateFresh, Accumulate, AccumulateSubsample, Anchored}),
        ("reuses_inputs", {AugmentSameInputs, Accumulate, Edit}),
        ("keeps_training_set", {Edit}),
        ("fresh_real", {FreshReal, Hidden}),
    ],
)
def test_what_sets_a_regime_apart(flag, kinds):
    own = {kind for kind in KINDS if not issubclass(kind, Selecting)}  # those say what theirs do
    assert {kind for kind in own if getattr(kind, flag)} == kinds


@pytest.mark.parametrize("lam", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("kind", [AccumulateFresh, Accumulate, AccumulateSubsample])
def test_rows_kept_share_equally(kind, lam):
    n_syn = 8 * lam
    for i in range(1, 5):
        total = 8 + i * n_syn
        shares = {REAL: 8 / total, **dict.fromkeys(range(i), n_syn / total)}
        assert source_shares(kind(lam=lam), 8, i) == pytest.approx(shares)


@pytest.mark.parametrize("kind", [AccumulateFresh, Accumulate, AccumulateSubsample])
def test_mixing_weights_of_equal_batches_are_those_of_the_accumulating_bound(kind):
    np.testing.assert_allclose(mixing_weights(kind(), 12, 5), accumulate_weights(5), rtol=1e-14)


@pytest.mark.parametrize("lam", [0.5, 1.0, 3.0])
def test_mixing_weights_of_an_anchor_are_those_of_its_bound_for_any_ratio(lam):
    weights = mixing_weights(Anchored(0.3, lam), 12, 5)
    np.testing.assert_allclose(weights, anchored_weights(0.3, 5), rtol=1e-14)


@pytest.mark.parametrize(
    ("regime", "share"),
    [
        (Augment(0.25), 0.25),
        (AugmentSameInputs(0.75), 0.75),
        (Augment(0.25, weight=0.9), 0.9),
        (Augment(0.25, weight=0.0), 0.0),
        (AugmentSameInputs(0.25, weight=1.0), 1.0),
        (FreshReal(3.0), 0.25),
        (FreshReal(3.0, weight=0.6), 0.6),
        (Replace(2.0), 0.0),
        (RealOnly(), 1.0),
    ],
)
def test_mixing_weights_of_the_last_generation_alone_are_those_of_its_bound(regime, share):
    expected = varying_share_weights(np.full(4, share))
    np.testing.assert_allclose(mixing_weights(regime, 12, 4), expected, rtol=1e-14)
    assert real_share(regime, 12, 3) == pytest.approx(share)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_source_without_a_share_is_no_source(weight):
    sources = set(source_shares(Augment(0.5, weight=weight), 12, 3))
    assert sources == ({REAL} if weight else {2})


@pytest.mark.parametrize(
    ("regime", "sizes"),
    [
        (Augment(0.25), [4, 16, 16, 16]),
        (Augment(0.25, weight=0.9), [4, 16, 16, 16]),
        (AugmentSameInputs(0.8), [4, 5, 5, 5]),
        (Replace(), [4, 4, 4, 4]),
        (Replace(1.5), [4, 6, 6, 6]),
        (RealOnly(), [4, 4, 4, 4]),
        (FreshReal(2.0), [4, 12, 12, 12]),
        (AccumulateFresh(), [4, 8, 12, 16]),
        (Accumulate(0.5), [4, 6, 8, 10]),
        (AccumulateSubsample(2.0), [4, 4, 4, 4]),
        (Anchored(0.3, lam=2.0), [4, 12, 20, 28]),
        (Hidden(growth=1.0, until=2), [4, 4, 8, 8]),
        (Varying(growth=2.0, until=2), [4, 8, 20, 20]),
    ],
    ids=repr,
)
def test_training_sizes(regime, sizes):
    assert [training_size(regime, 4, i) for i in range(4)] == sizes


@pytest.mark.parametrize(
    ("name", "fresh", "shares"),
    [
        ("mad-fully-synthetic", False, {1: 1.0}),
        ("mad-synthetic-augmentation", False, {REAL: 0.5, 1: 0.5}),
        ("mad-fresh-data", True, {REAL: 0.5, 1: 0.5}),
    ],
)
def test_the_loops_that_went_mad(name, fresh, shares):
    assert len(MAD_LOOPS) == 3
    regime = MAD_LOOPS[name]
    assert regime.fresh_real == fresh
    assert regime.synthetic_size(7) == 7
    assert source_shares(regime, 7, 2) == shares


@pytest.mark.parametrize(
    ("regime", "weight"), [(Augment(0.25), 0.75), (Replace(), 1.0), (RealOnly(), 0.0)]
)
def test_mixing_weights_fall_on_the_previous_generation_alone(regime, weight):
    expected = [[0, 0, 0, 0], [weight, 0, 0, 0], [0, weight, 0, 0], [0, 0, weight, 0]]
    np.testing.assert_array_equal(mixing_weights(regime, 12, 3), expected)


def test_mixing_weights_of_generation_zero_alone():
    np.testing.assert_array_equal(mixing_weights(Augment(0.5), 4, 0), [[0.0]])


@pytest.mark.parametrize(
    ("regime", "name", "share"),
    [(Augment(0.25), "augment", 0.25), (Replace(), "replace", 0.0), (RealOnly(), "real-only", 1.0)],
)
def test_the_real_share_completes_the_mixing_weights(regime, name, share):
    assert regime.name == name
    assert [real_share(regime, 12, i) for i in range(3)] == [1.0, share, share]
    mixed = mixing_weights(regime, 12, 2).sum(axis=1)
    np.testing.assert_allclose([1 - real_share(regime, 12, i) for i in range(3)], mixed)


@pytest.mark.parametrize(
    ("field", "value", "right"),
    [
        ("alpha", 0.0, "a positive number"),
        ("alpha", 1.5, r"in \(0, 1\]"),
        ("alpha_decay", -0.1, "a number of at least 0"),
        ("growth", math.nan, "a number of at least 0"),
        ("until", 0, r"a whole number in 1\.\.10000"),
    ],
)
@pytest.mark.parametrize("kind", [Hidden, Varying])
def test_a_schedule_that_is_none_is_refused(kind, field, value, right):
    with pytest.raises(ValueError, match=f"^{field} must be {right}, but it is {value!r}"):
        kind(**{field: value})


@pytest.mark.parametrize("regime", [Hidden, Varying])
def test_shares_fall_and_rows_grow_as_they_are_asked_to(regime):
    one = regime(0.8, alpha_decay=0.5, growth=1.5, until=4)
    shares = [real_share(one, 10, i) for i in range(1, 6)]
    np.testing.assert_allclose(shares, 0.8 / np.sqrt(np.arange(2, 7)), rtol=1e-14)
    assert one.sizes(10, 6) == [10, 28, 52, 80, 80, 80]
    assert real_share(regime(0.8, alpha_decay=1000.0), 10, 5) == 0.0  # too small for a number
    expected = varying_share_weights(np.array(shares))
    np.testing.assert_allclose(mixing_weights(one, 10, 5), expected, rtol=1e-14)
