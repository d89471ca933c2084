"""The benchmark: what it counts, how it compares, and that all of it runs."""

import json
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from icl_stl.benchmark import contestants, race
from icl_stl.benchmark.figure import speeds
from icl_stl.config import Architecture, Training
from icl_stl.cores import available_cores
from icl_stl.laws import LinearRegression
from icl_stl.laws.prompts import Prompts, bayes_predictive
from icl_stl.learners import Fitted, adam_transformer
from icl_stl.measure import predictions
from icl_stl.models.causal import transformer
from icl_stl.style import svg_of

ROOT = Path(__file__).resolve().parent.parent
SMALL = race.SIZES["small-20"]


def quiet(text, done, total):
    pass


# --- operations ----------------------------------------------------------------------------------


def counted(tokens, token_width, labels, architecture):
    """Multiplications and additions, product by product."""
    p, heads = architecture.width, architecture.heads
    layers = 0
    for _ in range(architecture.depth):
        layers += tokens * p * (p + p + p + p + 4 * p + 4 * p)
        for _ in range(heads):
            for position in range(tokens):
                layers += (position + 1) * (p // heads) * 2  # scores, then mixing
    return 2 * (tokens * token_width * p + layers + labels * p * 2)


@pytest.mark.parametrize("size", race.SIZES.values(), ids=race.SIZES)
def test_operations_are_those_counted_product_by_product(size):
    m, d = size.task.context, size.task.dim
    assert race.own_operations(size) == counted(m, 2 * d + 1, m, size.architecture)
    assert race.baseline_operations(size) == counted(2 * m, d + 1, m, size.architecture)


def test_operations_are_near_those_that_xla_counts():
    # XLA counts what is behind the causal mask, norms and activations too, and nothing less.
    learner = adam_transformer(SMALL.task, SMALL.architecture, Training())
    weights = transformer(SMALL.task, SMALL.architecture).init(jax.random.key(0))
    fitted = Fitted(weights, jnp.array(0.0), jnp.array(-1))
    prompts = Prompts(*map(jnp.asarray, race.draw_prompts(SMALL.task, 0, 16)))
    forward = jax.jit(lambda fitted, prompts: predictions(learner, fitted, prompts))
    found = forward.lower(fitted, prompts).compile().cost_analysis()["flops"] / 16
    useful = race.own_operations(SMALL)
    assert useful <= found <= 1.15 * useful


def test_prompts_are_those_of_the_real_law():
    task = LinearRegression(dim=3, context=4, noise=2.0, prior_scale=2.0)
    xs, ys = race.draw_prompts(task, 0, 20_000)
    assert xs.dtype == ys.dtype == np.float32
    # Var y = d τ² + σ²; E y_1 y_2 <x_1, x_2> / d = τ². Standard errors below 2 %.
    assert np.var(ys) == pytest.approx(task.label_variance, rel=0.05)
    products = ys[:, 0] * ys[:, 1] * np.sum(xs[:, 0] * xs[:, 1], axis=-1) / 3
    assert products.mean() == pytest.approx(4, abs=5 * float(products.std()) / 20_000**0.5)


# --- statistics ----------------------------------------------------------------------------------


def test_medians_and_spreads_are_of_ratios_within_rounds():
    # The machine is ten times slower in the last round: both sides are, and no ratio is.
    ours, theirs = [10.0, 12.0, 1.0], [5.0, 4.0, 0.5]
    assert race.ratio(ours, theirs) == {"median": 2.0, "low": 2.0, "high": 3.0}
    assert race.summary([3, 1, 2, 10]) == {"median": 2.5, "low": 1, "high": 10}


def test_exponents_are_fitted_in_logarithms():
    sizes = [1, 2, 5, 30]
    assert race.exponent(sizes, [3 * n**1.5 for n in sizes]) == pytest.approx(1.5)
    assert race.exponent([1, 10, 100], [1, 20, 100]) == pytest.approx(1)


def test_rates_ratios_and_shares_of_a_race():
    def rounds(*seconds, **done):
        return [{"seconds": s, "peak": 2e6, **done} for s in seconds]

    found = race.Race(
        {
            "ours": rounds(1.0, 2.0, prompts=100.0),
            "eager": rounds(4.0, 16.0, prompts=100.0),
            "slow": rounds(8.0, prompts=100.0),
            "ceiling": rounds(1.0, 4.0, operations=800.0),
        },
        {"compiled": "no compiler"},
    )
    part = race.Part("made up")
    part.add_rates(SMALL, found, {"ours": 2.0, "eager": 4.0, "slow": 4.0, "compiled": 4.0})
    for other in ("eager", "slow", "compiled"):
        part.add_ratio(SMALL.name, found, "ours", other)
    ours, eager, _ = part.rows
    assert ours["prompts/s"]["median"] == 75
    assert ours["share of the ceiling"] == {"median": 0.375, "low": 0.25, "high": 0.5}
    assert eager["share of the ceiling"]["high"] == pytest.approx(0.125)
    assert ours["peak, MB"] == 2
    assert part.ratios["small-20: ours / eager"] == {"median": 6, "low": 4, "high": 8, "best": 4}
    # What was measured in the first round alone is compared with that round.
    assert part.ratios["small-20: ours / slow"] == {"median": 8, "low": 8, "high": 8, "best": 8}
    assert "small-20: ours / compiled" not in part.ratios
    assert part.skipped == {"small-20: compiled": "no compiler"}


def test_a_target_is_reached_by_the_median_and_by_the_best_rounds():
    name = "small-20: training, ours / training, eager"

    def reached(part, name, **found):
        (row,) = race.judged(
            {part: race.Part(part, ratios={name: {"low": 0, "high": 99, **found}})}
        )
        return row["reached"]

    assert reached("speed", name, median=11, best=7) == "yes"
    assert reached("speed", name, median=11, best=5) == "NO"
    assert reached("speed", name, median=5, best=11) == "NO"
    assert reached("loop", "8 together / in turn, seconds", median=0.61) == "NO"
    assert reached("loop", "8 together / in turn, seconds", median=0.59) == "yes"


def test_targets_name_what_is_measured():
    assert {target.part for target in race.TARGETS} <= set(race.PARTS)
    sizes = {target.ratio.partition(":")[0] for target in race.TARGETS if ":" in target.ratio}
    assert sizes <= set(race.SIZES)


def test_words_and_tables():
    found = {"median": 2.0, "low": 1.0, "high": 3.0, "best": 2.5}
    assert race.shown(found) == "2 (1 to 3, best 2.5)"
    assert race.table_of([{"a": "x"}, {"b": 0.125}]) == [("a", "b"), ("x", "-"), ("-", "0.125")]


# --- processes -----------------------------------------------------------------------------------


def test_contestants_that_cannot_run_are_left_out_with_the_reason():
    def triad(name, megabytes):
        return race.Contestant(name, "contestants:bandwidth", {"megabytes": megabytes})

    found = race.race([triad("wrong", -1), triad("right", 1)], 2, quiet)
    assert len(found.rates("right", "bytes")) == 2
    assert list(found.rounds) == ["right"]
    assert list(found.skipped) == ["wrong"]
    assert "-262144" in found.skipped["wrong"]


def test_a_part_that_cannot_be_measured_says_why(monkeypatch):
    def impossible(plan, report):
        raise race.UnavailableError("no such thing here")

    monkeypatch.setitem(race.PARTS, "memory", impossible)
    part = race.measure("memory", race.QUICK, quiet)
    assert part.skipped == {"memory": "no such thing here"}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no os.sched_setaffinity here")
def test_processes_are_kept_on_their_cores():
    core = available_cores()[-1]
    contestant = race.Contestant("machine", "contestants:machine", cores=(frozenset({core}),))
    with closing(race.Team(contestant)) as team:
        team.ready()
        (found,) = team.ask()
    assert found["cores"] == 1


def test_without_affinity_nothing_is_said_of_one_core(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    part = race.measure_processes(race.QUICK, quiet)
    assert part.rows == []
    assert "sched_setaffinity" in part.skipped["two processes"]


# --- parts, with made-up contestants ------------------------------------------------------------


def test_growth_finds_the_exponents_of_each_axis(monkeypatch):
    laws = {"context": 1.5, "samples": 0.1, "generations": 1.0, "seeds": 0.5}

    def made_up(contestants, rounds, report):
        found = {}
        for one in contestants:
            shift = one.name == "generations"  # generation 0 counts
            for entry, asked in one.entries():
                seconds = (int(asked["what"]) + shift) ** laws[one.name]
                found[entry] = [{"seconds": seconds}, {"seconds": 9 * seconds}]
        return race.Race(found, {})

    monkeypatch.setattr(race, "race", made_up)
    part = race.measure_growth(race.Plan(), quiet)
    assert len(part.rows) == 12
    for axis, law in laws.items():
        assert part.ratios[f"exponent in {axis}"]["median"] == pytest.approx(law)


def test_quality_takes_the_best_rate_and_gives_each_law_to_its_training(monkeypatch):
    class MadeUp:
        """Excess = |ln(rate / best rate)| + seed + handicap; the laws are that number."""

        def __init__(self, contestant):
            self.baseline = contestant.name == "baseline"

        def ready(self):
            if self.baseline and self.missing:
                raise race.UnavailableError("no torch")

        def close(self):
            pass

        def ask(self, *each):
            best, handicap = (1e-3, 5) if self.baseline else (3e-3, 0)
            if "jobs" not in each[0]:
                return [0.7 if each[0]["laws"] is None else each[0]["laws"]]
            excess = lambda rate, seed: abs(np.log(rate / best)) + seed + handicap  # noqa: E731
            return [[excess(*job) for job in one["jobs"]] for one in each]

    monkeypatch.setattr(race, "Team", MadeUp)
    monkeypatch.setattr(race, "available_cores", lambda: (0, 1))
    plan = replace(race.Plan(), sizes=(SMALL,))
    MadeUp.missing = False
    part = race.measure_quality(plan, quiet)
    rows = {row["side"]: row for row in part.rows}
    assert [rows[side]["learning rate"] for side in ("ours", "baseline")] == [3e-3, 1e-3]
    assert [rows[s]["excess NLL"] for s in ("ours", "baseline", "no training")] == [1, 6, 0.7]
    noise = 2**0.5 / 3**0.5  # of the seeds 0, 1, 2 on both sides
    found = part.ratios["small-20: (ours - baseline) / noise"]
    assert found["median"] == pytest.approx(-5 / noise)
    MadeUp.missing = True
    part = race.measure_quality(plan, quiet)
    assert part.skipped == {"small-20: baseline": "no torch"}
    assert not part.ratios


def test_excess_is_zero_for_the_bayes_predictor_and_falls_with_training(monkeypatch):
    monkeypatch.setattr(contestants, "_configure", lambda devices, precision: None)
    tiny = race.QUICK.looped
    run = contestants.quality(tiny, steps=30, held_out=50, devices=1)
    prompts = Prompts(*map(jnp.asarray, race.draw_prompts(tiny.task, 1, 50)))
    exact = jax.vmap(lambda prompt: bayes_predictive(tiny.task, prompt))(prompts)
    assert run(laws=exact) == pytest.approx(0, abs=1e-6)
    trained, untrained = run(jobs=[(1e-2, 0), (1e-9, 0)])
    assert run(laws=trained) < run(laws=untrained)


def test_the_first_result_is_counted_from_events_that_this_jax_has(monkeypatch):
    monkeypatch.setattr(contestants, "_configure", lambda devices, precision: None)
    run = contestants.first_result(race.QUICK.looped, seeds=1, devices=1, cache=None)
    found = run()
    assert found["compiling"] > 0
    assert found["temporary"] > 0
    with pytest.raises(RuntimeError, match="must tell of compiling as /jax/core/compile/backend_"):
        contestants._must_be_heard({"/jax/another/name": 2.0})


# --- the baseline --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def baseline():
    reason = "PyTorch is not installed: pip install 'icl_stl[benchmark]'"
    torch = pytest.importorskip("torch", reason=reason)
    from icl_stl.benchmark import torch_baseline  # noqa: PLC0415

    torch.manual_seed(0)
    size = replace(
        SMALL, task=LinearRegression(2, 5, noise=0.3), architecture=Architecture(2, 16, 2)
    )
    model = torch_baseline.InterleavedTransformer(size.task, size.architecture)
    with torch.no_grad():
        for parameter in model.parameters():  # far from where it starts, so that all of it acts
            parameter.add_(0.3 * torch.randn_like(parameter))
    return torch, torch_baseline, size, model


def test_the_baselines_law_of_a_label_sees_neither_it_nor_what_comes_later(baseline):
    torch, _, size, model = baseline
    xs, ys = map(torch.from_numpy, race.draw_prompts(size.task, 0, 3))
    with torch.no_grad():
        before = torch.stack(model(xs, ys))
        for k in range(5):
            changed_ys, changed_xs = ys.clone(), xs.clone()
            changed_ys[:, k] += 1
            changed_xs[:, k] += 1
            of_label = torch.stack(model(xs, changed_ys))
            of_input = torch.stack(model(changed_xs, ys))
            assert torch.equal(of_label[:, :, : k + 1], before[:, :, : k + 1])
            assert torch.equal(of_input[:, :, :k], before[:, :, :k])
            # Its own input and every label before count.
            assert (of_input[:, :, k] != before[:, :, k]).all()
            assert (of_label[:, :, k + 1 :] != before[:, :, k + 1 :]).all()


def test_the_baselines_loss_is_scipys_log_density_with_the_noise_floor(baseline):
    torch, module, size, model = baseline
    xs, ys = map(torch.from_numpy, race.draw_prompts(size.task, 1, 4))
    with torch.no_grad():
        loss = module.negative_log_likelihood(model, xs, ys).item()
        mean, std = (a.numpy() for a in model(xs, ys))
    assert loss == pytest.approx(-stats.norm.logpdf(ys.numpy(), mean, std).mean(), rel=1e-5)
    with torch.no_grad():  # as sure as it can be: the known noise is left
        bias = model.head.bias.clone()
        model.head.bias[1] = -100
        floor = model(xs, ys)[1].numpy()
        model.head.bias.copy_(bias)
    np.testing.assert_allclose(floor, size.task.noise, rtol=1e-5)


def test_the_baseline_learns(baseline):
    torch, module, size, _ = baseline
    torch.manual_seed(0)
    state = module.start(size, compiled=False, learning_rate=3e-3)
    xs, ys = map(torch.from_numpy, race.draw_prompts(size.task, 2, 256))
    first = module.negative_log_likelihood(state.model, xs, ys).item()
    module.train(state, xs, ys, 64, 60)
    assert module.negative_log_likelihood(state.model, xs, ys).item() < first - 0.1
    rows = torch.cat(list(module.batches(10, 5, 4)))
    assert torch.equal(rows[:10].sort().values, torch.arange(10))  # each row once in an epoch
    assert len(rows) == 20


# --- the script ----------------------------------------------------------------------------------


def test_quick_writes_json_and_figure(environment, tmp_path):
    command = [sys.executable, ROOT / "scripts" / "benchmark.py", "--quick", "--only", "speed"]
    done = subprocess.run(
        [*command, "--out", "out"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert list(content["parts"]) == ["speed"]
    speed = content["parts"]["speed"]
    measured = {row["contestant"]: row for row in speed["rows"]}
    for what in ("training", "generation", "evaluation"):
        assert measured[f"{what}, ours"]["prompts/s"]["low"] > 0
        assert 0 < measured[f"{what}, ours"]["share of the ceiling"]["median"] < 1
    assert speed["ratios"]["tiny: generation, ours / uncached, ours"]["low"] > 0
    assert ("training, eager" in measured) != ("tiny: eager" in speed["skipped"])
    for name, why in speed["skipped"].items():
        assert "torch" in why, name
    tiny = race.QUICK.looped
    assert content["forward_operations"]["tiny"]["ours"] == race.own_operations(tiny)
    assert (tmp_path / "out" / "speeds.svg").read_bytes().startswith(b"<svg")
    assert "speed: preparing ours" in done.stderr
    page = (tmp_path / "out" / "README.md").read_text()
    assert page == race.page(content)
    assert f"## {speed['title']}" in page
    for name, value in speed["ratios"].items():
        assert f"| {name} | {race.shown(value)} |" in page
    assert "left out: quick: torch.compile" in done.stdout


def test_the_committed_page_is_that_of_the_committed_numbers():
    folder = Path(__file__).parent.parent / "figures" / "benchmark"
    content = json.loads((folder / "benchmark.json").read_text())
    assert (folder / "README.md").read_text() == race.page(content)
    assert set(content["parts"]) == set(race.PARTS)
    for row in content["targets"]:  # judged again: the verdicts are those of the numbers
        part, name = row["target"].split(", ", 1)
        assert row["measured"] == content["parts"][part]["ratios"][name]


def test_the_figure_shows_shares_and_growth():
    rates = {"median": 0.4, "low": 0.3, "high": 0.5}
    parts = {
        "speed": {
            "rows": [
                {"size": "large", "contestant": f"{what}, {name}", "share of the ceiling": rates}
                for what in ("training", "evaluation")
                for name in ("ours", "eager")
            ]
        },
        "growth": {
            "rows": [
                {"axis": "generations", "at": at, "ms": race.summary([float(at + 1)])}
                for at in (1, 3)
            ],
            "ratios": {"exponent in generations": race.summary([1.0])},
        },
    }
    figure = speeds(parts)
    shares, growth = figure.axes
    assert {t.get_text() for t in shares.get_legend().get_texts()} == {"ours", "eager"}
    (line,) = growth.lines
    np.testing.assert_allclose(line.get_xydata(), [[1, 1], [2, 2]])
    assert not speeds({}).axes
    assert svg_of(lambda: speeds(parts)) == svg_of(lambda: speeds(parts))
