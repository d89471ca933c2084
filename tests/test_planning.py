"""Plans: the ratio of the bounds, bands that cover, words, files, and the script end to end."""

import dataclasses
import json
import math
import runpy
import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from reference import trials

from icl_stl import bounds, members
from icl_stl.planning.error_law import ErrorLaw, fit_error_law, interval, resampled_laws
from icl_stl.planning.plan import (
    CHECKED,
    PARTS,
    Measured,
    Question,
    harmful_ratios,
    nearly_best,
    no_law_helps,
    plan,
    read_errors,
    regret_in_words,
    useful_sizes,
)

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "plan_synthetic_size.py"
SIZES = np.array([250.0, 500.0, 1000.0, 2000.0, 4000.0])
LAW = ErrorLaw(0.002, 0.25, 0.5)


def gap(n, **constants):
    """A question of the gap, on which more than one part speaks for synthetic rows."""
    return Question(n, objective="gap", **constants)


CASES = [
    (gap(2000, kappa=0.3), LAW),
    (gap(2000, kappa=0.9, fresh=True), LAW),
    (gap(2000, kappa=0.9, b=0.0), ErrorLaw(0.0, 0.004, 0.5)),
    (Question(500, kappa=0.3, objective="risk", b=9.0), ErrorLaw(0.001, 0.01, 0.5)),
    (Question(2000, objective="uniform", log_size=5.0), LAW),
    (gap(2000, kappa=0.3, max_lam=1.5), LAW),
    (gap(2000, kappa=0.3, generation=5), LAW),
    (gap(2000, kappa=0.3, generation=5, fresh=True), ErrorLaw(0.0, 0.1, 0.5)),
    (gap(2000), LAW),
    (gap(2000, kappa=0.0, max_lam=0.0), LAW),
    (gap(2000, kappa=0.0), ErrorLaw(0.0, 0.0, 0.5)),
    (gap(2000, kappa=1.4, b=8.0, fresh=True), ErrorLaw(1e-5, 0.01, 0.9)),
]


@pytest.mark.parametrize(("question", "law"), CASES)
def test_the_plan_is_what_the_bounds_say(question, law):
    made = plan(question, law)
    given = {k: v for k, v in dataclasses.asdict(question).items() if k != "max_lam"}
    given |= {"c": law.c, "a": law.a, "floor": law.floor}
    best = bounds.optimal_size(**given, max_lam=question.max_lam)
    assert made.best == best
    at_best = bounds.synthetic_trade_off(lam=made.lam, **given)
    assert sum(made.parts.values()) == pytest.approx(float(at_best.total), rel=1e-12)
    assert made.alone.total == bounds.synthetic_trade_off(lam=0.0, **given).total
    assert made.gain == pytest.approx(1 - float(at_best.total / made.alone.total), abs=1e-12)
    assert made.gain >= 0
    assert made.parts[made.largest] == max(made.parts.values())
    assert made.band is made.gain_band is None
    near = nearly_best(question, law)
    assert near == pytest.approx(best.lam, rel=3e-3, abs=1e-4)
    assert (made.held_back_by is None) or made.held_back_by in PARTS
    if best.regime == "interior":
        assert made.held_back_by is not None


def test_a_floor_and_a_decaying_error_are_told_apart():
    floor = plan(gap(2000, kappa=0.3), ErrorLaw(0.005, 0.01, 0.5))
    assert floor.held_back_by == "error floor"
    assert "error floor of the model, which every generation adds again" in floor.sentence
    decaying = plan(gap(2000, kappa=0.3), ErrorLaw(0.0, 0.3, 0.5))
    assert decaying.held_back_by == "decaying error"
    assert plan(gap(2000), ErrorLaw(0.0, 1e-3, 0.5)).held_back_by == "fluctuation"


def test_sentences():
    law = fit_error_law(SIZES, LAW.at(SIZES))
    resampled = resampled_laws(SIZES, LAW.at(SIZES), 0.03 * LAW.at(SIZES), count=50)
    made = plan(gap(2000, kappa=0.3), law, resampled)
    low, high = made.band
    assert low < made.best.lam < high
    assert made.gain_band[0] < made.gain < made.gain_band[1]
    start = f"Generate {made.rows:,} synthetic rows, about {made.lam:.2g} per real one (95 % "
    start += f"{low:.2g} to "
    assert made.sentence.startswith(start)
    assert f"the bound on the gap falls by {100 * made.gain:.0f} %." in made.sentence
    nothing = plan(gap(2000), law, resampled)
    assert nothing.sentence.startswith(
        "Generate nothing (the same for 95 % of the resampled laws): "
    )
    assert "the generator, which passes the chance" in nothing.sentence
    assert "they help no real set of up to 1e+09 rows" in nothing.sentence
    wide = plan(gap(2000, kappa=0.3, generation=2), ErrorLaw(0.0, 0.3, 0.5))
    assert wide.sentence.startswith("Generate as many synthetic rows as you can: ")
    capped = plan(gap(2000, kappa=0.3, max_lam=1.0), law)
    assert capped.sentence.endswith("that is the largest ratio allowed.")


def asked_for(made):
    """What the printed options make of icl-stl loop: a regime, and its synthetic rows."""
    words = made.options.split()
    option = dict(zip(words[::2], words[1::2], strict=True))
    samples, lam = int(option["--samples"]), option.get("--lam")
    regime = members.regime(option["--regime"]).made({} if lam is None else {"lam": float(lam)})
    return regime, regime.synthetic_size(samples)


@hypothesis.given(
    n=st.one_of(st.integers(1, 300), st.integers(1, 10**12)),
    objective=st.sampled_from(["risk", "gap", "uniform"]),
    fresh=st.booleans(),
    kappa=st.sampled_from([0.0, 0.3, 0.9, 1.4]),
    b=st.sampled_from([0.0, 1.0, 9.0]),
    generation=st.sampled_from([1.0, 5.0, math.inf]),
    max_lam=st.one_of(st.just(math.inf), st.floats(0, 50)),
    c=st.floats(0, 1),
    floor=st.sampled_from([0.0, 1e-5, 0.01]),
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_every_plan_is_a_whole_number_of_rows_that_can_be_run(
    n, objective, fresh, kappa, b, generation, max_lam, c, floor
):
    constants = {"kappa": kappa, "b": b, "generation": generation, "max_lam": max_lam}
    question = Question(float(n), objective=objective, fresh=fresh, log_size=2.0, **constants)
    made = plan(question, ErrorLaw(floor, c, 0.5))
    assert isinstance(made.rows, int)
    assert made.rows == 0 or made.rows >= 1
    assert made.lam <= max_lam
    regime, rows = asked_for(made)
    assert rows == made.rows
    assert regime.fresh_real == (fresh and rows > 0)

    def total(rows):
        return float(question.trade_off(made.law, rows / n).total)

    assert sum(made.parts.values()) == pytest.approx(total(rows), rel=1e-12, abs=0)
    assert total(rows) <= total(0)
    for other in (rows - 1, rows + 1):
        if rows and math.isfinite(made.best.lam) and 1 <= other <= n * max_lam:
            assert total(rows) <= total(other) * (1 + 1e-12)
    assert made.gain >= 0


def test_rows_are_whole_where_the_ratio_is_not():
    """6.795 rows per real one are no number of rows beside 250: 1699 are."""
    law = fit_error_law([250, 1000, 4000], [0.040, 0.021, 0.011], [0.002, 0.001, 0.001])
    made = plan(gap(250, b=2.0, kappa=0.3, fresh=True), law)
    assert (made.rows, made.options) == (1699, "--regime fresh --samples 250 --lam 6.796")
    assert not (250 * made.best.lam).is_integer()
    none = plan(gap(250, b=2.0, kappa=0.3, fresh=True, max_lam=0.003), law)
    assert none.best.lam == 0.003
    assert (none.rows, none.gain, none.lam) == (0, 0, 0)
    assert none.options == "--regime real-only --samples 250"
    assert "no whole number of rows near there that is allowed is better" in none.sentence
    one = plan(gap(250, b=2.0, kappa=0.3, fresh=True, max_lam=0.004), law)
    assert one.rows == 1
    assert one.sentence.startswith("Generate 1 synthetic row, about 0.004 per real one: ")
    few = plan(gap(1e12, kappa=0.3, max_lam=5.03e-10), ErrorLaw(0.0, 0.0, 0.5))
    assert few.best.lam == 5.03e-10
    assert asked_for(few)[1] == few.rows == 0  # a share does not tell 503 of 1e12 from others
    most = plan(gap(2000, kappa=0.3, generation=2), ErrorLaw(0.0, 0.3, 0.5))
    assert most.best.lam == math.inf
    alone, saved, limit = most.question.trade_off(most.law, np.array([0, most.lam, math.inf])).total
    assert 0.99 <= (alone - saved) / (alone - limit) <= 0.991
    with pytest.raises(ValueError, match=r"n must be a whole number of rows, but it is 2000\.5"):
        plan(gap(2000.5), LAW)


def test_the_regret_it_tells_is_that_of_the_committed_results():
    seen = {name: [] for name in CHECKED}
    entries = json.loads((ROOT / "figures" / "claims.json").read_text())["claims"]
    (entry,) = (one for one in entries if one["name"] == "optimal_synthetic_size")
    for cell in entry["cells"]:
        if "fitted error law" in cell["quantity"]:
            seen[cell["objective"]].append(cell["measured"])
            assert (cell["loop"], cell["n"], len(cell["lams"])) == ("clipped mean", 20, 9)
            most_is_best = cell["lam"] == 0 < cell["best"] == cell["lams"][-1] == 32
            assert cell["objective"] == "gap" or most_is_best
    for name, values in seen.items():
        assert len(values) == 8
        ends = tuple(float(f"{end:.3g}") for end in (min(values), max(values)))
        assert CHECKED[name] == ends
        assert f"gave {ends[0]:g} to {ends[1]:g} times the least {name}" in regret_in_words(name)
    assert "not been checked" in regret_in_words("uniform")


def test_sizes_at_which_synthetic_rows_help():
    """Against the thresholds of the theory: A + F < G/2 + H for kappa = 0."""
    question = gap(2000, kappa=0.0, b=0.0)
    g = math.sqrt(math.log(20) / 2) / 2
    fast = ErrorLaw(0.0, 3.0, 0.75)  # 3 n^-3/4 < g n^-1/2 from n = (3/g)^4 on
    ((low, high),) = useful_sizes(question, fast)
    assert high == pytest.approx(1e9)
    assert low == pytest.approx((3 / g) ** 4, rel=5e-3)
    floor = ErrorLaw(0.03, 0.0, 0.5)  # 0.03 < g n^-1/2 up to n = (g/0.03)^2
    ((low, high),) = useful_sizes(question, floor)
    assert low == 1
    assert high == pytest.approx((g / 0.03) ** 2, rel=5e-3)
    assert "they help up to about 416 real rows" in plan(question, floor).sentence
    early = plan(gap(100, kappa=0.0, b=0.0), fast)
    assert "they begin to help at about 578 real rows." in early.sentence
    assert useful_sizes(gap(2000, b=0.0), floor) == ()


def test_sizes_in_several_ranges_are_all_said():
    """A fast error law beside a large b: helped when tiny and when large, not in between."""
    law, question = ErrorLaw(0.0, 11.0, 0.75), gap(12, kappa=0.0, b=10.0, delta=0.9)
    ranges = useful_sizes(question, law)
    assert [round(end, 1) for pair in ranges for end in pair] == [1, 2.5, 120.2, 1e9]
    for n in (1, 2, 3, 12, 20, 100, 130, 400, 1000, 1e6):
        helped = dataclasses.replace(question, n=float(n)).best(law).lam > 0
        assert helped == any(low <= n <= high for low, high in ranges)
    for n in (12.0, 20.0):
        said = plan(dataclasses.replace(question, n=n), law).sentence
        assert "they help real sets of about 1 to 2 and of 120 to 1e+09 rows." in said
        assert "begin" not in said
    assert plan(dataclasses.replace(question, n=400.0), law).best.lam == pytest.approx(
        1.63, abs=0.01
    )


def rising_first(share, n=1000.0, b=0.0):
    """One generation, kappa = 0, and the law with A - H this share of G; the closed form's end."""
    G = (1 + 2 * b) * math.sqrt(math.log(20) / (2 * n))
    law = ErrorLaw(0.0, (share * G + b / n) * n**0.5, 0.5)
    return gap(n, kappa=0.0, b=b, generation=1), law, (share / (1 - share)) ** 2 - 1


@pytest.mark.parametrize(
    ("share", "b", "end_in_words"), [(0.95, 0.0, "360"), (0.6, 2.0, "1.2"), (0.99, 1.0, "9,800")]
)
def test_fewer_rows_that_do_harm_are_told(share, b, end_in_words):
    """Statement 22: the bound rises first, and is below that without only from an end on."""
    question, law, end = rising_first(share, b=b)
    made = plan(question, law)
    assert made.best.lam == math.inf
    ((low, high),) = made.harmful
    assert low == 0
    assert high == pytest.approx(end, rel=1e-4)
    assert (
        f"Fewer than about {end_in_words} per real one would make it worse than none."
        in made.sentence
    )
    assert "falls" not in made.sentence
    bound = question.trade_off(law, np.array([0, high * 0.99, high * 1.01])).total
    assert bound[1] > bound[0] > bound[2]
    capped = plan(dataclasses.replace(question, max_lam=2 * end), law)
    assert capped.best.regime == "capped"
    assert f"Fewer than about {end_in_words} per real one" in capped.sentence
    tight = plan(dataclasses.replace(question, max_lam=end / 2), law)
    assert tight.best.lam == 0
    assert tight.beyond_cap == pytest.approx(end, rel=1e-4)
    assert f"Only from about {end_in_words} per real one on, more than is allowed" in tight.sentence


def test_no_harm_is_told_where_there_is_none():
    for question, law in ((gap(2000, kappa=0.3), LAW), rising_first(0.45)[:2]):
        made = plan(question, law)
        assert made.best.lam > 0
        assert made.harmful == ()
        assert "worse than none" not in made.sentence
        assert made.beyond_cap is None
    interior = plan(gap(1e4, kappa=0.9, b=0.0), ErrorLaw(0.0, 0.004, 0.5))
    assert interior.best.regime == "interior"
    ((low, high),) = interior.harmful
    assert low == 0
    assert harmful_ratios(interior.question, interior.law, 0.9 * high)[0][1] == pytest.approx(
        0.9 * high
    )


def test_constants_may_decide_before_any_law():
    """Kept rows, kappa = 1, b = M: nothing helps from two rows on, whatever the errors are."""
    for n in (2.0, 10.0, 1e4, 1e8):
        assert no_law_helps(gap(n))
    assert not no_law_helps(gap(1.0))
    assert not no_law_helps(gap(2000.0, kappa=0.3))
    assert not no_law_helps(gap(2000.0, fresh=True))
    assert not no_law_helps(gap(2000.0, generation=5))


def test_the_band_covers_the_ratio_of_the_law():
    """Of 40 simulated measurements, or 400; within three standard errors of 95 %."""
    rng, sets, hits = np.random.default_rng(5), trials(40, 400), 0
    question = gap(2000, kappa=0.3)
    errors = LAW.at(SIZES)
    best = bounds.optimal_size(2000, M=1, b=1, kappa=0.3, c=LAW.c, a=LAW.a, floor=LAW.floor).lam
    for seed in range(sets):
        measured = np.abs(errors * (1 + 0.03 * rng.standard_normal(SIZES.size)))
        laws = resampled_laws(SIZES, measured, 0.03 * errors, count=100, seed=seed).laws()
        low, high = interval([nearly_best(question, law) for law in laws])
        hits += low <= best <= high
    assert abs(hits / sets - 0.95) <= 3 * (0.95 * 0.05 / sets) ** 0.5


@pytest.mark.parametrize("runs", trials([2], [2, 3, 5]))
def test_the_band_covers_the_ratio_with_few_loops(runs):
    """Standard errors of few loops, their number known: covered in 95 % of cases or more."""
    rng, sets, hits = np.random.default_rng(6), 60, 0
    question, errors = gap(2000, kappa=0.3), LAW.at(SIZES)
    best = question.best(LAW).lam
    for seed in range(sets):
        loops = errors * (1 + 0.03 * runs**0.5 * rng.standard_normal((runs, SIZES.size)))
        data = SIZES, np.abs(loops.mean(0)), loops.std(0, ddof=1) / runs**0.5
        laws = resampled_laws(*data, runs=runs, count=60, seed=seed).laws()
        low, high = interval([nearly_best(question, law) for law in laws])
        hits += low <= best <= high
    assert hits / sets >= 0.95 - 3 * (0.95 * 0.05 / sets) ** 0.5


# --- files ---------------------------------------------------------------------------------------


def loop_file(path, rows):
    path.write_text(json.dumps({"settings": {"samples": rows[0]["n_train"]}, "generations": rows}))
    return path


def row(generation, n, eps, stderr=None, **more):
    return {"generation": generation, "n_train": n, "eps": eps, "eps_stderr": stderr, **more}


def test_errors_of_files(tmp_path):
    """Generation 0 as it is, later generations of one size as their mean."""
    first = loop_file(
        tmp_path / "a.json",
        [row(0, 100, 0.3, 0.01), row(1, 200, 0.2, 0.02), row(2, 200, 0.1, 0.04)],
    )
    drift = {"generation": 0, "n_train": 50, "drift": 0.5, "drift_stderr": 0.03, "eps": None}
    second = loop_file(tmp_path / "b.json", [drift, row(1, 75, None)])
    table = tmp_path / "c.csv"
    table.write_text("N,eps,stderr\n400, 0.08, 0.004\n")
    measured = read_errors([first, second, table])
    assert measured.sizes.tolist() == [100, 200, 50, 400]
    assert measured.errors == pytest.approx([0.3, 0.15, 0.5, 0.08])
    assert measured.stderr == pytest.approx([0.01, 0.03, 0.03, 0.004])
    assert measured.runs.tolist() == [math.inf] * 4
    table.write_text("N,eps\n400,0.08\n")
    assert read_errors([first, table]).stderr is None
    assert isinstance(read_errors([table]), Measured)


def test_loops_behind_a_standard_error(tmp_path):
    """As the file says, or the number that run_loop.py takes; less the loops that failed."""

    def runs(settings, **more):
        content = {"settings": settings, "generations": [row(0, 100, 0.3, 0.01)], **more}
        (tmp_path / "a.json").write_text(json.dumps(content))
        return read_errors([tmp_path / "a.json"]).runs.tolist()

    assert runs({"learner": "ols", "runs": 30}) == [30]
    assert runs({"learner": "ols", "runs": 30}, failed=["loop 3", "loop 4"]) == [28]
    assert runs({"learner": "ols"}) == [math.inf]
    for learner in ("transformer", "bayes"):
        assert runs({"learner": learner, "runs": None}) == [members.LEARNERS[learner].usual_runs]
    assert runs({"learner": "gaussian", "runs": None}) == [members.LEARNERS["gaussian"].usual_runs]
    table = tmp_path / "c.csv"
    table.write_text("N,eps,stderr,runs\n400,0.08,0.004,6\n800,0.05,0.003,\n")
    assert read_errors([table]).runs.tolist() == [6, math.inf]


def test_files_that_say_nothing_are_refused(tmp_path):
    for text in ("{", '{"generations": []}'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ValueError, match=r"a.json (is damaged|has none)"):
            read_errors([tmp_path / "a.json"])
    with pytest.raises(ValueError, match="at least one file"):
        read_errors([])


# --- the script ----------------------------------------------------------------------------------


@pytest.fixture
def call(environment_without_jax):
    """Run the script where JAX cannot be imported."""

    def run(*arguments, cwd):
        return subprocess.run(
            [sys.executable, SCRIPT, *map(str, arguments)],
            cwd=cwd,
            env=environment_without_jax,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_help_is_quick_and_names_the_options(call, tmp_path):
    done = call("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    options = ("n", "errors", "sizes", "eps", "c", "a", "floor", "objective", "fresh", "generation")
    for option in (*options, "M", "b", "kappa", "delta", "max-lam", "out"):
        assert f"--{option}" in done.stdout


def test_a_plan_from_files_end_to_end(call, tmp_path):
    files = [
        loop_file(tmp_path / f"{n}.json", [row(0, n, float(LAW.at(n)), 0.03 * float(LAW.at(n)))])
        for n in (250, 1000, 4000, 16000)
    ]
    options = ["--n", 2000, "--kappa", 0.3, "--fresh-real", "--errors", *files]
    done = call(*options, "--out", "a", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    content = json.loads((tmp_path / "a" / "plan.json").read_text())
    assert content["objective"] == "risk"
    assert [*content["plans"]] == ["risk", "gap"]
    for name, made in content["plans"].items():
        constants = content["law"] | {"M": 1, "b": 1, "kappa": 0.3, "fresh": True}
        best = bounds.optimal_size(2000, objective=name, **constants)
        assert made["optimum"] == best.lam
        assert made["certified_lower_bound"] == best.lower_bound
        assert made["optimum_band"][0] <= best.lam <= made["optimum_band"][1]
        assert abs(made["rows"] - 2000 * best.lam) <= 1
        assert made["lam"] == made["rows"] / 2000
        assert made["problem"]["generation"] == "inf"
        assert made["problem"]["fresh"] is True
        assert f"{name}: {made['sentence']}\n" in done.stdout
        assert set(made["parts"]) == set(PARTS)
        assert made["regret_where_checked"] == list(CHECKED[name])
    risk, gap_ = content["plans"].values()
    assert risk["rows"] == 0 < gap_["rows"]
    assert content["law"]["a"] == pytest.approx(0.5, abs=1e-3)
    assert content["assumed"] == ["b = M"]
    assert f"run it (risk): icl-stl loop {risk['run_loop']}\n" in done.stdout
    assert content["decides"] in done.stdout
    assert "The risk decides about quality" in content["decides"]
    assert done.stdout.endswith(f"{regret_in_words('risk')}\n")
    for word in ("error law floor + c N^-a", "λ*", "certified", "gain", "assumed: b = M"):
        assert word in done.stdout
    lines = done.stdout.splitlines()
    widths = {len(line) for line in lines if line.startswith(("│", "├", "┃", "└"))}
    assert len(widths) == 1
    again = call(*options, "--out", "b", cwd=tmp_path)
    assert again.returncode == 0
    names = {"plan.json", "trade_off.svg"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    drawn = (tmp_path / "a" / "trade_off.svg").read_text()
    for word in ("new real rows in every generation", "decaying error", "95 % band of λ*"):
        assert word in drawn


def test_a_plan_from_numbers_or_the_law(call, tmp_path):
    numbers = call(
        *("--n", 2000, "--sizes", 250, 1000, "--eps", 0.02, 0.01, "--objective", "uniform"),
        cwd=tmp_path,
    )
    assert numbers.returncode == 0, numbers.stderr
    assert "assumed: floor = 0: two sizes cannot show one; b = M; κ = 1\n" in numbers.stdout
    assert "no bands" in numbers.stdout
    assert "only if the errors of every loop, not only their mean, obey" in numbers.stdout
    given = call(
        *("--n", 500, "--c", 0.3, "--a", 0.5, "--kappa", 0.2, "--generation", 3, "--out", "plan"),
        *("--objective", "gap"),
        cwd=tmp_path,
    )
    assert given.returncode == 0, given.stderr
    content = json.loads((tmp_path / "plan" / "plan.json").read_text())
    made = content["plans"][content["objective"]]
    assert (made["optimum"], made["optimum_band"], content["law_source"]) == ("inf", None, "given")
    assert f"run it (gap): icl-stl loop {made['run_loop']}\n" in given.stdout
    assert given.stdout.endswith(f"{regret_in_words('gap')}\n")
    assert "one real set, kept" in (tmp_path / "plan" / "trade_off.svg").read_text()


def said(monkeypatch, capsys, *arguments):
    """What the script prints."""
    monkeypatch.setattr(sys, "argv", ["plan_synthetic_size.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert end.value.code == 0
    return capsys.readouterr().out


def test_defaults_that_decide_are_named(monkeypatch, capsys):
    law = ("--c", 0.3, "--a", 0.5, "--n", 2000)
    decided = "gap: with the assumed κ = 1 no error law would recommend synthetic rows"
    out = said(monkeypatch, capsys, *law)
    assert decided in out
    assert "b = M is the optimistic end" in out
    assert "b is n M = 2000" in out
    assert out.count("no error law would recommend") == 1
    for other in (("--kappa", 1), ("--fresh-real",)):
        assert "no error law would recommend" not in said(monkeypatch, capsys, *law, *other)
    assert "optimistic" not in said(monkeypatch, capsys, *law, "--b", 1)


def test_bands_say_what_they_rest_on(monkeypatch, capsys, tmp_path):
    law = ("--sizes", *SIZES, "--eps", *LAW.at(SIZES), "--stderr", *(0.03 * LAW.at(SIZES)))
    options = ("--n", 2000, "--kappa", 0.3, "--resamples", 50, *law)
    known = said(monkeypatch, capsys, *options, "--out", tmp_path / "known")
    few = said(monkeypatch, capsys, *options, "--runs", 3, "--out", tmp_path / "few")
    assert "standard errors are taken as known" in known
    assert "taken as known" not in few
    narrow, wide = (
        json.loads((tmp_path / name / "plan.json").read_text())["law_bands"]["c"]
        for name in ("known", "few")
    )
    assert wide[1] - wide[0] > narrow[1] - narrow[0]
