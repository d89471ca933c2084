"""Hypothesis: any regime of the package, with any of its fields."""

from hypothesis import strategies as st

from icl_stl.regimes import (
    Accumulate,
    AccumulateFresh,
    AccumulateSubsample,
    Anchored,
    Augment,
    AugmentSameInputs,
    Edit,
    FreshReal,
    RealOnly,
    Replace,
)

SAMPLES = 12
SIZES = st.integers(1, 3 * SAMPLES)
LAMS = SIZES.map(lambda n: n / SAMPLES)
ALPHAS = SIZES.map(lambda n: SAMPLES / (SAMPLES + n))
WEIGHTS = st.none() | st.floats(0, 1)
REGIMES = st.one_of(
    st.just(RealOnly()),
    *(st.builds(cls, ALPHAS, WEIGHTS) for cls in (Augment, AugmentSameInputs)),
    *(st.builds(cls, LAMS) for cls in (Replace, AccumulateFresh, Accumulate, AccumulateSubsample)),
    st.builds(FreshReal, LAMS, WEIGHTS),
    st.builds(Anchored, st.floats(1e-9, 1 - 1e-9), LAMS),
    st.builds(Edit, st.lists(st.integers(0, SAMPLES).map(float), max_size=3).map(tuple)),
)
