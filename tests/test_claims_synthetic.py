"""Claims about synthetic data, on loops made by hand: when they hold, and when they must not."""

import numpy as np
import pytest
from scipy import optimize, stats
from synthetic import around, scattered

from icl_stl import bounds, references
from icl_stl.studies import Cell, Claim, Evidence, Judged, judge
from icl_stl.studies.cells import GROUPS
from icl_stl.studies.claims import CLAIMS
from icl_stl.studies.presets import PRESETS
from icl_stl.studies.synthetic import claims as synthetic

TINY = PRESETS["tiny"]
NAMES = ("synthetic_phase", "golden_weight", "optimal_synthetic_size")
OWN = {name: CLAIMS[name] for name in NAMES}


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    """Bands of recommended sizes are findings: they decide nothing."""
    monkeypatch.setattr(synthetic, "RESAMPLES", 20)


def literal(world, n, n_syn, last, weight=None):
    """Excess and gap of the mean of N(0, 1), generation by generation."""
    w = n / (n + n_syn) if weight is None else weight
    m = n_syn or 1
    excess, gap = [1 / n], [2 / n]
    for _ in range(last):
        before = excess[-1]
        if world == "fresh":
            excess.append(w**2 / n + (1 - w) ** 2 * (before + 1 / m))
            influence, shift = 2 * w / n, (1 - 2 * w) * before
        else:
            excess.append(1 / n + (1 - w) ** 2 * (before - 1 / n + 1 / m))
            influence, shift = 2 / n, 1 / n + (1 - 2 * w) * (before - 1 / n)
        gap.append(w * influence + (1 - w) * (2 * (1 - w) / m + shift))
    return {"excess": np.array(excess), "gap": np.array(gap)}


def loops(experiment):
    """What the sizes of an experiment show in the mean, `[sizes, G + 1]` by name."""
    last = experiment.generations
    if experiment.world == "same-inputs":
        d = experiment.problem.dim
        single = d / (experiment.samples - d - 1)
        lams = np.array([s.n_syn / s.samples for s in experiment.sizes])[:, None]
        rho, i = lams / (1 + lams), np.arange(last + 1)
        return {"excess": single * (1 + lams / (1 + 2 * lams) * (1 - rho ** (2 * i)))}
    found = {"excess": [], "gap": []}
    if experiment.observe == "measurements":
        rows = [[s.samples, *[s.samples + s.n_syn] * last] for s in experiment.sizes]
        found["eps"] = 0.005 + 0.3 * np.array(rows, float) ** -0.5
    for size in experiment.sizes:
        own = literal(experiment.world, size.samples, size.n_syn, last, size.weight)
        if experiment.problem.name == "ols":
            n, m, d = size.samples, size.n_syn, experiment.problem.dim
            if experiment.world == "fresh" and m:
                own["excess"] = references.ols_fresh_real(n, m, d, 1.0, last)
            else:
                own["excess"] *= n * d / (n - d - 1)
                if m:
                    own["excess"][1] = references.ols_augment_fresh_inputs(n, m, d, 1.0, 1)[1]
        for name, values in own.items():
            found[name].append(values)
    return {name: np.array(values) for name, values in found.items()}


def good(name):
    """What the experiments of a claim observe if the claim is right."""
    return scattered(OWN[name].experiments(TINY), loops)


def judged(name, experiments):
    return judge(OWN[name], Evidence(TINY, experiments=experiments))


def failing(entry):
    return [c for c in entry["cells"] if c["verdict"] not in ("holds", "finding")]


@pytest.mark.parametrize("name", NAMES)
def test_claims_hold_where_they_are_right(name):
    entry = judged(name, good(name))
    assert failing(entry) == []
    assert entry["verdict"] == "holds"
    assert entry["negative_control"]["rejected"]
    assert entry["constants"]
    assert entry["failed"] == []


# --- rise and fall -------------------------------------------------------------------------------


@pytest.mark.parametrize("i", [1, 2, 5, 10, 20, 1000])
def test_the_peak_is_where_the_closed_form_is_largest(i):
    found = optimize.minimize_scalar(
        lambda x: -synthetic.extra_error(np.exp(x), i), (-3, 0, 9), tol=1e-12
    )
    peak = synthetic.peak(i)
    assert peak == pytest.approx(np.exp(found.x), rel=1e-5)
    rho = peak / (1 + peak)
    height = 2 * i * rho / (1 + 2 * i * (1 + rho))
    assert synthetic.extra_error(peak, i) == pytest.approx(height, rel=1e-9)
    assert synthetic.extra_error(peak, i) == pytest.approx(-found.fun, rel=1e-9)
    if i == 1:
        assert (peak, height) == (pytest.approx(1), pytest.approx(0.25))
    if i == 1000:
        assert peak == pytest.approx(2 * i / np.log(4 * i), rel=0.02)
        assert 0.49 < height < 0.5


@pytest.mark.parametrize("i", synthetic.PHASE_GRIDS)
def test_the_closed_form_s_own_parabola_turns_near_its_peak(i):
    """What the ranges were chosen for: less than half of what is tolerated."""
    low, high = synthetic.PHASE_GRIDS[i]
    lams = np.array([x for x in synthetic.PHASE_LAMS if low <= x <= high], float)
    rho = lams / (1 + lams)
    turn = synthetic.vertex(rho, synthetic.extra_error(lams, i))
    assert turn / (1 - turn) == pytest.approx(synthetic.peak(i), rel=0.08 if i > 1 else 1e-9)


def phase_with(change):
    """The claim where the curves over lambda are changed."""
    evidence = good("synthetic_phase")
    ((experiment, arrays),) = evidence.items()
    lams = np.array(synthetic.PHASE_LAMS, float)[:, None]
    real_only = arrays["excess"][:, :1].copy()
    arrays["excess"] = change(arrays["excess"] - real_only, lams) + real_only
    return judged("synthetic_phase", {experiment: arrays})


def moved(lams):
    """What makes of the curves those whose peaks lie at 5/3 times their lambda."""
    x, i = np.maximum(lams, 1e-9), np.arange(1, 21)
    ratio = synthetic.extra_error(0.6 * x, i) / synthetic.extra_error(x, i)
    return np.concatenate([np.ones_like(x), ratio], axis=1)


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("height", lambda over, lams: 1.2 * over),
        ("height", lambda over, lams: 0.8 * over),
        ("falls", lambda over, lams: np.maximum.accumulate(over, axis=1) + 1e-3 * lams),
        ("rises", lambda over, lams: over[:, 2:3] * (2 - lams / 48)),
        ("lambda of the peak", lambda over, lams: over * moved(lams)),
    ],
)
def test_another_rise_or_fall_is_violated(words, change):
    entry = phase_with(change)
    assert entry["verdict"] == "violated"
    bad = [c for c in entry["cells"] if c["verdict"] == "violated"]
    assert any(words in cell["quantity"] for cell in bad)


def test_a_peak_that_stays_accepts_its_control():
    """The curve of generation 1 in every generation: then its place is no wrong statement."""
    entry = phase_with(lambda over, lams: over[:, :, 1:2] * np.ones_like(over))
    accepted = {f["family"] for f in entry["negative_control"]["families"] if not f["rejected"]}
    assert accepted == {f"place, generation {i}" for i in (5, 10, 20)}
    assert entry["verdict"] == "violated"
    assert not entry["negative_control"]["rejected"]


def test_a_peak_that_nothing_shows_is_undecided():
    entry = phase_with(lambda over, lams: 0 * over)
    places = [c for c in entry["cells"] if c["quantity"] == "lambda of the peak"]
    assert {(c["verdict"], c["measured"]) for c in places} == {("inconclusive", None)}


def test_a_vertex_and_its_pseudo_values():
    x = np.array([0.0, 1.0, 2.0, 4.0])
    assert synthetic.vertex(x, 3 - 2 * (x - 1.3) ** 2) == pytest.approx(1.3)
    values = np.random.default_rng(0).normal(size=200)
    pseudo = synthetic.jackknifed(lambda kept: float(values[kept].mean()), 200)
    groups = [values[np.arange(200) % GROUPS == g].mean() for g in range(GROUPS)]
    np.testing.assert_allclose(pseudo, groups, atol=1e-12)


# --- the golden weight ---------------------------------------------------------------------------


def golden_with(best):
    """The claim where the error is least at another weight."""
    evidence = good("golden_weight")
    ((experiment, arrays),) = evidence.items()
    for index, size in enumerate(experiment.sizes):
        k = size.samples / size.n_syn
        middle = references.mean_fresh_best(size.samples, size.n_syn, 1.0)
        mean = middle.error + (size.weight - best(k, middle.weight)) ** 2 / size.samples
        arrays["excess"][:, index] = around(np.full(21, mean), experiment.runs, index, 0.001)
    return judged("golden_weight", {experiment: arrays})


def test_another_best_weight_is_violated():
    assert golden_with(lambda k, best: best)["verdict"] == "holds"
    assert golden_with(lambda k, best: best + 0.02)["verdict"] == "violated"
    entry = golden_with(lambda k, best: k / (1 + k))
    assert entry["verdict"] == "violated"
    assert not entry["negative_control"]["rejected"]


def test_an_error_that_is_off_at_the_best_weight_is_violated():
    evidence = good("golden_weight")
    ((experiment, arrays),) = evidence.items()
    arrays["excess"] *= 1.08
    entry = judged("golden_weight", {experiment: arrays})
    assert {c["quantity"].split()[0] for c in failing(entry)} == {"error"}


# --- the best synthetic size ---------------------------------------------------------------------


@pytest.mark.parametrize("world", synthetic.WORLDS)
@pytest.mark.parametrize("objective", synthetic.OBJECTIVES)
def test_predictions_are_the_least_of_a_literal_loop(world, objective):
    n, name = synthetic.STUDIED["gaussian_mean"][0], synthetic.OBSERVED[objective]
    values = np.array([literal(world, n, m, 10)[name] for m in range(32 * n + 1)])
    for i in synthetic.SHOWN:
        found = synthetic.predicted("gaussian_mean", world, objective, i)
        assert found == int(values[:, i].argmin())
        terms = synthetic.competing_terms(world, objective, n, 30, i)
        assert sum(terms.values()) == pytest.approx(values[30, i])


def test_least_squares_with_new_real_rows_is_searched_in_its_own_closed_form():
    n, problem, _ = synthetic.STUDIED["ols"]
    d = problem.dim
    values = [references.ols_fresh_real(n, m, d, 1.0, 10) for m in range(1, 32 * n + 1)]
    for i in synthetic.SHOWN:
        least = 1 + np.argmin(np.array(values)[:, i])
        assert synthetic.predicted("ols", "fresh", "risk", i) == least
        assert synthetic.predicted("ols", "fixed", "risk", i) == 0


def changed(problem, world, key, change):
    """The claim where one loop's numbers `[runs, sizes, G + 1]` are changed."""
    evidence = good("optimal_synthetic_size")
    for experiment, arrays in evidence.items():
        if (experiment.problem.name, experiment.world) == (problem, world):
            lams = np.array([s.n_syn / s.samples for s in experiment.sizes])
            arrays[key] = change(arrays[key].copy(), lams)
    return judged("optimal_synthetic_size", evidence)


def lower_at(lam, factor, generation=5):
    def change(values, lams):
        values[:, np.abs(lams - lam).argmin(), generation] *= factor
        return values

    return change


@pytest.mark.parametrize(
    ("problem", "world", "key", "lam", "verdict"),
    [
        ("gaussian_mean", "fresh", "excess", 16.0, "violated"),
        ("gaussian_mean", "fresh", "gap", 0.5, "violated"),
        ("gaussian_mean", "fixed", "gap", 0.0, "violated"),
        ("gaussian_mean", "fixed", "excess", 0.25, "violated"),
        ("ols", "fresh", "excess", 0.0, "violated"),
        ("ols", "fixed", "gap", 0.0, "inconclusive"),
        ("linear_attention", "fresh", "excess", 32.0, "inconclusive"),
    ],
)
def test_a_size_that_does_better_refutes_the_prediction(problem, world, key, lam, verdict):
    entry = changed(problem, world, key, lower_at(lam, 0.3))
    assert entry["verdict"] == verdict
    bad = failing(entry)
    assert {c["case"] for c in bad} == {
        f"{problem.replace('_', ' ')}, {world}, {'risk' if key == 'excess' else 'gap'}"
    }
    regret = [c for c in bad if c["quantity"].startswith("regret")]
    assert regret
    assert all(c["against"] == lam and c["measured"] > 1.5 for c in regret)
    assert verdict == "violated" or all(c["missed"] for c in regret)


def test_a_regret_of_less_than_a_tenth_is_no_refutation():
    entry = changed("gaussian_mean", "fresh", "excess", lower_at(4.0, 0.98))
    assert entry["verdict"] == "holds"


def test_one_size_that_helps_beside_a_fixed_set_is_noticed():
    """By 2 %, which no regret would notice."""

    def change(values, lams):
        values[:, 1, 5] = 0.98 * values[:, 0, 5]
        return values

    entry = changed("gaussian_mean", "fixed", "excess", change)
    (cell,) = failing(entry)
    assert cell["quantity"].startswith("never helps")
    assert (cell["against"], cell["verdict"]) == (0.25, "violated")


def test_synthetic_rows_that_do_not_help_beside_fresh_data_are_noticed():
    def change(values, lams):
        values[:, 0, 5] = 0.97 * values[:, lams > 0, 5].min(1)
        return values

    entry = changed("gaussian_mean", "fresh", "excess", change)
    assert {c["quantity"].split(":")[0] for c in failing(entry)} == {"helps"}


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_means_that_are_not_the_closed_forms_are_violated(factor):
    entry = changed("ols", "fresh", "excess", lambda values, lams: factor * values)
    assert entry["verdict"] == "violated"
    assert {c["quantity"] for c in failing(entry)} == {"mean risk beside its closed form"}


def test_a_control_of_means_is_accepted_where_the_world_is_the_other():
    def mirrored(values, lams):
        rows = [round(20 * lam) for lam in lams]
        mean = [synthetic.closed_form("gaussian_mean", "fixed", "risk", 20, m) for m in rows]
        return around(np.array(mean), len(values), 0)

    control = changed("gaussian_mean", "fresh", "excess", mirrored)["negative_control"]
    accepted = {one["family"] for one in control["families"] if not one["rejected"]}
    assert "gaussian mean, fresh, risk: closed form of the other world" in accepted
    assert not control["rejected"]


def test_controls_are_accepted_where_the_worlds_are_exchanged():
    """The other world's optimum is rejected because it is wrong, not because it is a control."""
    evidence = good("optimal_synthetic_size")
    for experiment, arrays in evidence.items():
        if experiment.problem.name == "gaussian_mean":
            arrays["excess"] = arrays["excess"][:, :1].repeat(len(experiment.sizes), axis=1)
    entry = judged("optimal_synthetic_size", evidence)
    assert not entry["negative_control"]["rejected"]


# --- statistics ----------------------------------------------------------------------------------


def test_pairs_are_compared_by_student_s_paired_test():
    values = np.random.default_rng(0).normal([0.0, 0.3, 0.6], 1.0, (30, 3))
    p = synthetic.pairwise_worse(values)
    for a in range(3):
        for b in range(3):
            if a != b:
                test = stats.ttest_rel(values[:, a], values[:, b], alternative="greater")
                assert p[a, b] == pytest.approx(test.pvalue, rel=1e-9)
    assert (np.diag(p) == 0.5).all()


def test_the_set_of_best_sizes_covers_the_best_and_leaves_out_the_worse():
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(400):
        shared = rng.normal(size=(60, 1))
        found = synthetic.best_set(shared + rng.normal(size=(60, 6)))
        missed += not found[2]  # all are equally good: any one must be in with 95 %
    assert missed <= 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)
    far = synthetic.best_set(rng.normal([0, 0, 2, 3], 1.0, (60, 4)))
    assert far.tolist() == [True, True, False, False]


def worst(means, runs=50, seed=0):
    noise = np.random.default_rng(seed).normal(size=(runs, len(means)))
    margins = np.array(means) + noise - noise.mean(0)
    return synthetic.worst_of(margins, {"loop": "x"}, 0.0, margins[:, 0], list(range(len(means))))


def verdict(cell):
    claim = Claim("by hand", "", "", "", lambda evidence: Judged([cell], [], []))
    return judge(claim, Evidence(TINY))


def test_the_size_that_speaks_most_against_decides():
    cell = worst([5.0, 1.0, 3.0])
    assert cell.keys["against"] == 1
    assert verdict(cell)["verdict"] == "holds"
    assert verdict(worst([5.0, -1.0, 3.0]))["verdict"] == "violated"
    assert verdict(worst([5.0, 0.0, 3.0]))["verdict"] == "inconclusive"


def test_looking_at_many_sizes_does_not_refute_more_often():
    """All means are 0: one of ten is below it by chance, and that is no refutation."""
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(300):
        margins = rng.normal(size=(40, 10))
        cell = synthetic.worst_of(margins, {"loop": "x"}, 0.0, margins[:, 0], list(range(10)))
        wrong += verdict(cell)["verdict"] == "violated"
    assert wrong <= 300 * 0.05 + 3 * np.sqrt(300 * 0.05 * 0.95)


def test_a_verdict_follows_from_the_interval_of_a_cell_that_was_chosen():
    rng = np.random.default_rng(5)
    for _ in range(50):
        margins = rng.normal(-0.4, 1, 40)
        cell = Cell(margins, margins, 0.0, {"loop": "x"}, among=10)
        (found,) = verdict(cell)["cells"]
        assert (found["verdict"] == "violated") == (found["margin_high"] < 0)
        assert found["among"] == 10


# --- what a bound recommends ---------------------------------------------------------------------


def certified_cells(entry):
    return [c for c in entry["cells"] if c["loop"] == "clipped mean"]


def test_the_law_of_one_step_errors_is_that_of_the_sizes():
    """Generation 0 at n, the others at n + n_syn; the law that was put in comes out."""
    (experiment, _) = synthetic._certified_experiments(TINY)
    sizes = np.array([[s.samples, *[s.samples + s.n_syn] * 10] for s in experiment.sizes], float)
    sizes[:, 0] = experiment.samples
    eps = around(0.01 + 0.3 * sizes**-0.5, 60, 0, 1e-6)
    numbers, errors, law = synthetic.measured_law(eps, experiment)
    assert numbers == [20 + round(20 * lam) for lam in synthetic.LAMS]
    assert errors.shape == (60, len(synthetic.LAMS))
    assert (law.floor, law.c, law.a) == pytest.approx((0.01, 0.3, 0.5), rel=1e-3)


def test_the_law_is_that_of_the_worst_generation():
    (experiment, _) = synthetic._certified_experiments(TINY)
    sizes = np.array([[s.samples + s.n_syn] * 11 for s in experiment.sizes], float)
    mean = 0.01 + 0.3 * sizes**-0.5
    mean[:, 4] *= 1.2
    mean[:, 0] = mean[0, 4]
    law = synthetic.measured_law(around(mean, 60, 0, 1e-6), experiment)[2]
    assert (law.floor, law.c, law.a) == pytest.approx((0.012, 0.36, 0.5), rel=1e-3)


def test_a_recommended_size_is_the_certified_minimum_and_never_judged():
    entry = judged("optimal_synthetic_size", good("optimal_synthetic_size"))
    cells = certified_cells(entry)
    assert len(cells) == 16
    assert {c["verdict"] for c in cells} == {"finding"}
    law = next(c for c in entry["constants"] if "clipped mean, fresh" in c["name"])["value"]
    for cell in cells:
        found = cell["recommended"]
        assert found["lower_bound"] <= found["value"]
        assert found["lower_bound"] == pytest.approx(found["value"], rel=1e-5)
        assert found["low"] <= found["high"]
        assert found["curve"][0] == 1
        total = np.sum(list(found["terms"].values()), axis=0)
        np.testing.assert_allclose(total, found["curve"], rtol=1e-12)
        assert min(found["curve"]) * found["alone"] >= found["value"] * (1 - 1e-6)
        if cell["regime"] == "fresh":
            best = bounds.optimal_size(
                20,
                **synthetic.CERTIFIED,
                **law,
                generation=cell["generation"],
                objective=cell["objective"],
                max_lam=32.0,
                fresh=True,
            )
            assert found["lam"] == pytest.approx(best.lam, rel=1e-6)


def test_certified_constants_are_those_of_the_clipped_mean():
    """κ is the largest slope of the total variation of two means in their distance, times 2 B."""
    shift = 1e-6
    tv = 2 * stats.norm.cdf(shift / 2) - 1
    assert synthetic.CERTIFIED["kappa"] == pytest.approx(2 * synthetic.CLIP * tv / shift)
