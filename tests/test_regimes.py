import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icl_stl.regimes import (
    REAL,
    Augment,
    RealOnly,
    Regime,
    Replace,
    mixing_weights,
    real_share,
    source_shares,
)

REGIMES = [Augment(0.25), Augment(0.5), Augment(0.8), Replace(), RealOnly()]


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.5, 1.5, math.nan, math.inf])
def test_augment_refuses_a_share_outside_the_open_interval(alpha):
    with pytest.raises(ValueError, match=rf"^alpha must be in \(0, 1\), but it is {alpha!r}"):
        Augment(alpha)


@pytest.mark.parametrize("lam", [0.0, -1.0, math.nan, math.inf])
def test_augment_refuses_a_ratio_that_is_not_positive(lam):
    with pytest.raises(ValueError, match=f"^lam must be a positive number, but it is {lam!r}"):
        Augment.from_lam(lam)


@pytest.mark.parametrize(
    ("alpha", "samples", "asked"), [(0.3, 10, "23.3333"), (0.99, 10, "0.10101"), (0.6, 10, "6.667")]
)
def test_augment_refuses_a_fraction_of_a_prompt(alpha, samples, asked):
    message = f"alpha = {alpha!r} asks for {asked[:-1]}.* samples = {samples} .* whole number"
    with pytest.raises(ValueError, match=message):
        Augment(alpha).synthetic_size(samples)


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
        REAL: float(Fraction(samples, samples + n_syn)),
        2: pytest.approx(float(Fraction(n_syn, samples + n_syn)), rel=1e-11),
    }
    assert math.isclose(shares[REAL], regime.alpha, rel_tol=1e-9)


@pytest.mark.parametrize("regime", REGIMES)
def test_every_regime_starts_from_the_real_law_and_mixes_to_one(regime):
    assert isinstance(regime, Regime)
    assert hash(regime) == hash(type(regime)(**vars(regime)))
    assert source_shares(regime, 12, 0) == {REAL: 1.0}
    for generation in range(1, 5):
        shares = source_shares(regime, 12, generation)
        assert math.isclose(sum(shares.values()), 1)
        assert all(REAL <= source < generation for source in shares)


@pytest.mark.parametrize(
    ("regime", "weight"), [(Augment(0.25), 0.75), (Replace(), 1.0), (RealOnly(), 0.0)]
)
def test_mixing_weights_fall_on_the_previous_generation_alone(regime, weight):
    expected = [
        [0, 0, 0, 0],
        [weight, 0, 0, 0],
        [0, weight, 0, 0],
        [0, 0, weight, 0],
    ]
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
