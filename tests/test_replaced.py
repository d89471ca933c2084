"""κ and b from fits to real sets with replaced rows: loops whose κ and b are known exactly."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from icl_stl import commands
from icl_stl.commands import loop
from icl_stl.console import arguments_of
from icl_stl.lab import replaced
from icl_stl.lab.replaced import Replacement, estimated, of_losses, of_rows, sentence, squares
from icl_stl.problems import Bernoulli, GaussianMean
from icl_stl.regimes import Augment

N, ALPHA = 400, 0.5
ROWS = (8, 20, 40, 80)


def plan(draws, kappa=None, rows=ROWS):
    problem = GaussianMean() if kappa is None else Bernoulli(kappa)
    return Replacement(problem, Augment(ALPHA), N, rows, draws)


def losses(of, rng, again=False):
    """Losses of the rows -1 and 1, or 0 and 1, which have the mean and variance of their law.

    In closed form, without the package: the mean of normal rows, and the amplifier of bits.
    `again` plants a fault: generation 1 learns from the replaced rows, too.
    """
    bits = isinstance(of.problem, Bernoulli)
    test = np.array([0.0, 1.0] if bits else [-1.0, 1.0])
    draw = (lambda *k: rng.integers(0, 2, k)) if bits else (lambda *k: rng.normal(size=k))

    def fit(total):
        return 0.5 + of.problem.kappa * (total - 0.5) if bits else total

    found = np.empty((2, len(of.rows) + 1, 2, of.draws, 2))
    for d in range(of.draws):
        rows, noise = draw(N), rng.random((2, N)) if bits else rng.normal(size=(2, N))
        for j, k in enumerate((0, *of.rows)):
            own = rows.copy()
            own[rng.choice(N, k, replace=False)] = draw(k)
            first = fit(own.mean())
            made = (noise < first) if bits else first + noise
            kept = own if again else rows
            second = fit((kept.mean() + made.mean(1)) / 2)
            found[0, j, :, d] = (test - first) ** 2
            found[1, j, :, d] = (test - second[:, None]) ** 2
    return found


def exact_b(kappa=None):
    """b² = n E v²/k, up to 1/n: 2 Var(row) (κ for bits)² E (2 z - 2 E z)²."""
    return 8**0.5 if kappa is None else kappa * (2 / 4) ** 0.5


@pytest.mark.parametrize("kappa", [0.5, 1.0, 1.5, None])
def test_kappa_and_b_of_loops_that_are_known(kappa):
    of, true = plan(150, kappa), kappa or 1.0
    points = losses(of, np.random.default_rng(1))
    row = estimated(of, squares(points, of_losses), of_losses=True)
    for name, value in (
        ("kappa", true),
        ("b", exact_b(kappa)),
        ("share_needed", max(0, 1 - 1 / true)),
    ):
        found = row[name]
        spread = max(found["high"] - found["low"], 0.01 * value)  # about four standard errors
        assert abs(found["value"] - value) <= spread, name
    assert row["kappa"]["high"] - row["kappa"]["low"] < 0.25
    assert row["exponent"] == pytest.approx(0.5, abs=0.1)
    found = squares(points, of_losses)
    # Three wrong formulas: the share forgotten; the same seed twice; the influence of a row linear.
    forgotten = estimated(replace(of, regime=Augment(1 / 3)), found, of_losses=True)
    assert forgotten["kappa"]["high"] < true or forgotten["kappa"]["low"] > true
    if kappa is not None:
        same = np.stack([found[1], *found[1:]])
        wrong = estimated(of, same, of_losses=True)["kappa"]
        assert wrong["low"] > true
    linear = N * np.sqrt(found[0, 0].mean(-1)) / np.array(ROWS)
    assert np.abs(linear / exact_b(kappa) - 1).min() > 0.5
    planted = estimated(
        of, squares(losses(of, np.random.default_rng(1), True), of_losses), of_losses=True
    )
    assert planted["kappa"]["low"] > true + 0.3


def test_intervals_hold_kappa_about_as_often_as_they_say():
    of, held = plan(4, 1.0), 0
    for seed in range(150):
        points = losses(of, np.random.default_rng([2, seed]))
        kappa = estimated(of, squares(points, of_losses), of_losses=True)["kappa"]
        held += kappa["low"] <= 1 <= kappa["high"]
    assert 0.85 < held / 150 < 0.995


def test_rows_alone_give_the_energy_distance_without_its_bias():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(2, 2, 2, 40, 200, 1))
    points[:, 1] += 0.5
    across, same, noise, _ = squares(points, of_rows)
    # 2 E|X - Y| - E|X - X'| - E|Y - Y'| of N(0, 1) and N(0.5, 1).
    exact = 0.1363
    stderr = across.std(ddof=1) / across.size**0.5
    assert abs(across.mean() - exact) < 4 * stderr < 0.02
    bias = same - across  # of samples as laws: (E|X - X'| + E|Y - Y'|)/200
    assert abs(bias.mean() - 0.0113) < 4 * bias.std(ddof=1) / bias.size**0.5 < 0.01
    assert noise.mean() == pytest.approx(2 * 2 / np.pi**0.5 / 200, rel=0.2)


def test_what_is_below_noise_or_failed_is_said():
    of, rng = plan(4, rows=(40,)), np.random.default_rng(4)
    points = rng.normal(size=(2, 2, 2, 4, 50))  # new seeds are all that differs
    row = estimated(of, squares(points, of_losses), of_losses=True)
    assert row["kappa"]["value"] is None
    assert "cannot be told from noise" in sentence(row)
    assert row["by_share"][0]["generation_0"]["below_seed_noise"]
    points = losses(plan(4, 1.0), rng)
    points[1, 2, 0, 3] = np.nan
    row = estimated(plan(4, 1.0), squares(points, of_losses), of_losses=True)
    assert (row["draws"], row["failed_draws"]) == (3, 1)
    points[0] = np.nan
    row = estimated(plan(4, 1.0), squares(points, of_losses), of_losses=True)
    assert "cannot be told" in sentence(row)
    json.dumps(row, allow_nan=False)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.8, 0.6, 1.0), r"κ is 0.80 \[0.60, 1.00\]: the loop forgets .* any real share above 0"),
        ((1.5, 1.2, 2.0), r"above 1 - 1/κ = 0.33 \[0.17, 0.50\] .*yours is 0.25"),
        ((1.1, 0.9, 1.25), "undecided .* above 0.20 is enough"),
    ],
)
def test_the_sentence(ends, said):
    names = ("value", "low", "high")
    kappa = dict(zip(names, ends, strict=True))
    needed = {name: max(0, 1 - 1 / value) for name, value in kappa.items()}
    row = {"kappa": kappa, "share_needed": needed, "real_share": 0.25}
    assert re.search(said, sentence(row))


MODEL = """
from pathlib import Path
import numpy as np

class Mean:
    def fit(self, rows):
        self.mean = rows.mean(0)
        with Path("fits").open("a") as file:
            file.write("x")

    def sample(self, count, seed):
        return self.mean + np.random.default_rng(seed).normal(size=(count, self.mean.size))

class Scored(Mean):
    def score_samples(self, rows):
        return -((rows - self.mean) ** 2).sum(1) / 2
"""


@pytest.mark.parametrize(("name", "tolerance"), [("Scored", 0.01), ("Mean", 0.2)])
def test_a_model_of_a_file_by_the_command(tmp_path, monkeypatch, capsys, name, tolerance):
    """The mean of normal rows passes a change on as it is, with common random numbers: κ = 1."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MODEL)
    rows = np.random.default_rng(5).normal(size=(200, 1)) + 3 * (np.arange(200) % 2)[:, None]
    np.save(tmp_path / "t.npy", rows)
    words = f"--real t.npy --learner mine.py:{name} --samples 120 --generations 1 --runs 1"
    words = [
        *words.split(),
        "--replace-rows",
        "0.1",
        ".2",
        "--replace-draws",
        "3",
        "--json",
        "o.json",
    ]
    assert commands.run("loop", words) == 0
    said = capsys.readouterr().out
    assert said.index("κ and b take 36 fits: 3 real sets of 120 rows") < said.index("generation")
    assert "by this measure κ is" in said
    assert "no certificate" in said
    row = json.loads((tmp_path / "o.json").read_text())["stability"]
    assert row["kappa"]["value"] == pytest.approx(1, abs=tolerance)
    assert [own["rows"] for own in row["by_share"]] == [12, 24]
    assert row["fits"] == 36 == len((tmp_path / "fits").read_text()) - 2
    assert commands.run("loop", words) == 0  # nothing is fitted twice
    assert len((tmp_path / "fits").read_text()) == 38
    assert json.loads((tmp_path / "o.json").read_text())["stability"] == row


def test_a_learner_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = (
        "--learner bernoulli --kappa 1.5 --regime replace --samples 200 --generations 1 --runs 2"
    )
    more = "--replace-rows .2 --replace-draws 12 --json o.json"
    assert commands.run("loop", [*words.split(), *more.split()]) == 0
    row = json.loads((tmp_path / "o.json").read_text())["stability"]
    assert row["kappa"]["low"] < 1.5 < row["kappa"]["high"] < 2.5
    assert row["real_share"] == 0
    assert row["seed_noise"]["generation_0"] == 0  # a fit that draws nothing
    assert row["b"]["low"] < exact_b(1.5) < row["b"]["high"]


def test_shares_of_less_than_a_row_are_left_out_of_those_that_nobody_chose():
    of = Replacement.of((), 4, Bernoulli(), Augment(0.5), 30)
    assert of.rows == (2, 3, 6)  # 0.05, 0.1, 0.2
    assert of.fits == 64
    assert replaced.SHARES[0] * 30 < 1


@pytest.mark.parametrize(("shares", "most"), [("0.05 0.1", 129), ("", 118), (None, 142)])
def test_rows_to_replace_by_are_kept_where_no_number_is_given(shares, most):
    words = ["--real", "wine", "--learner", "normal"]
    words += [] if shares is None else ["--replace-rows", *shares.split()]
    kind, words = loop.arguments_for(words)
    setting, _ = loop.settings_of(arguments_of(kind, words))
    assert setting.samples == most
