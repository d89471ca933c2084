"""Distances from rows alone: laws whose distances are known, and rows that are refused."""

import json
import sys

import numpy as np
import pytest
from reference import STANDARD_ERRORS
from scipy import stats

from icl_stl import commands, distances

NAN = float("nan")


def normals(rng, rows, shift=0.0, scale=1.0, columns=2):
    """Normal rows; only the first column is moved or stretched."""
    x = rng.normal(size=(rows, columns))
    x[:, 0] = scale * x[:, 0] + shift
    return x


def variation(shift):
    """Total variation of normal laws of deviation 1."""
    return 2 * stats.norm.cdf(shift / 2) - 1


def test_the_certified_bound_by_hand():
    """27 of 40 rows of each are held out, all are right, and L^54 is a fifth of 1 - level."""
    rng = np.random.default_rng(0)
    found = distances.tv_lower(normals(rng, 40), normals(rng, 50, 100.0), level=0.9)
    assert found.value == 1
    assert found.low == pytest.approx(2 * 0.02 ** (1 / 54) - 1, rel=1e-12)
    assert found.level == pytest.approx(0.9)


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_the_certified_bound_stays_below_the_total_variation(shift, request):
    """100 pairs of 60 rows; 3,334 with --long, 10^4 over the three laws."""
    pairs = 3_334 if request.config.getoption("long", False) else 100
    rng = np.random.default_rng(1)
    missed = [
        distances.tv_lower(normals(rng, 60), normals(rng, 60, shift), seed=k).low > variation(shift)
        for k in range(pairs)
    ]
    assert np.mean(missed) <= 0.05


@pytest.mark.parametrize("shift", [2.0, 3.0, 4.0])
def test_the_certified_bound_is_near_for_laws_that_are_well_apart(shift):
    rng = np.random.default_rng(2)
    found = distances.tv_lower(normals(rng, 2000), normals(rng, 2000, shift))
    assert variation(shift) - 0.06 < found.low < variation(shift)


def test_each_classifier_sees_what_the_others_do_not():
    """Copies, stripes, a shift in every one of many columns, a spread; 2,000 rows."""
    rng = np.random.default_rng(3)
    few = rng.normal(size=(40, 2))
    stripes = np.column_stack([rng.integers(0, 4, 2000) + rng.beta(8, 8, 2000), rng.random(2000)])
    cases = {
        "1 nearest": (rng.normal(size=(2000, 2)), few[rng.integers(0, 40, 2000)], 0.9),
        "11 nearest": (rng.random((2000, 2)) * [4, 1], stripes, 0.3),
        "linear": (rng.normal(size=(2000, 50)), rng.normal(size=(2000, 50)) + 0.2, 0.4),
        "quadratic": (normals(rng, 2000, columns=9), normals(rng, 2000, 0.0, 4.0, 9), 0.45),
    }
    for name, (real, generated, least) in cases.items():
        found = distances.tv_lower(real, generated)
        assert found.low > least, name
        if name != "linear":
            assert found.classifier == name


def test_one_step_error_is_that_of_the_law_of_training():
    """Half real rows, half of the generation before: the mixture itself has no error."""
    rng = np.random.default_rng(4)
    real, previous = normals(rng, 2000), normals(rng, 2000, 4.0)
    sides = rng.random(2000) < 0.5
    same = np.where(sides[:, None], normals(rng, 2000), normals(rng, 2000, 4.0))
    assert distances.one_step(real, previous, same, 0.5).low == 0
    assert distances.one_step(real, previous, previous, 0.5).low > 0.38
    assert distances.one_step(real, previous, previous, 1.0).low > 0.88
    assert distances.one_step(real, previous, previous, 0.0).low == 0


def test_one_step_draws_the_number_of_real_rows_anew_for_other_rows(monkeypatch):
    """Binomial over sets of rows with one seed: else one that is far off is so for all of them."""
    monkeypatch.setattr(distances, "tv_lower", lambda law, generated, **_: np.sum(law < 50))
    rng = np.random.default_rng(8)
    sets = [(normals(rng, 20), normals(rng, 20)) for _ in range(200)]
    real = [distances.one_step(a, b + 100, b, 0.5) / 2 for a, b in sets]
    assert abs(np.mean(real) - 10) <= STANDARD_ERRORS * (5 / 200) ** 0.5
    assert 0.6 < np.var(real) / 5 < 1.5


def test_energy_is_scipys_in_one_column_without_its_bias():
    rng = np.random.default_rng(5)
    x, y = 3 * rng.normal(size=60), 3 * rng.normal(size=50) + 2
    scale = x.std()
    biased = stats.energy_distance(x / scale, y / scale) ** 2
    bias = sum(
        np.abs(a[:, None] - a).sum() / scale * (1 / len(a) ** 2 - 1 / len(a) / (len(a) - 1))
        for a in (x, y)
    )
    assert distances.energy(x, y) == pytest.approx(biased + bias, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_energy_is_unbiased_with_its_standard_error(shift):
    """E|Z| of a normal law of variance 2 in closed form; equal laws are the degenerate case."""
    rng = np.random.default_rng(6)
    pairs = [(rng.normal(size=80), rng.normal(size=60) + shift) for _ in range(400)]
    found = np.array([distances.energy_estimate(x, y) for x, y in pairs])
    across = stats.foldnorm.mean(shift / 2**0.5, scale=2**0.5)
    exact = 2 * across - 4 / np.pi**0.5
    own = np.array([value * x.std() for (value, _), (x, _) in zip(found, pairs, strict=True)])
    assert abs(own.mean() - exact) <= STANDARD_ERRORS * own.std() / 400**0.5
    assert 0.85 < np.sqrt(np.mean(found[:, 1] ** 2)) / found[:, 0].std() < 1.4


def test_p_values_are_those_of_permutations():
    """Uniform for equal laws; W1 and its p-value by scipy."""
    rng = np.random.default_rng(7)
    found = [distances.compare(normals(rng, 20), normals(rng, 30), seed=k) for k in range(40)]
    for ps in ([f.energy.p for f in found], [f.mmd.p for f in found], [f.w1["0"].p for f in found]):
        assert stats.kstest(ps, "uniform").pvalue > 1e-3
    x, y = rng.normal(size=(40, 1)), rng.normal(size=(30, 1)) + 0.8
    seen = distances.compare(x, y, ("height",)).w1["height"]
    assert seen.value == pytest.approx(stats.wasserstein_distance(x[:, 0], y[:, 0]))
    assert seen.deviations == pytest.approx(seen.value / x.std())
    exact = stats.permutation_test(
        (x[:, 0], y[:, 0]), stats.wasserstein_distance, alternative="greater", n_resamples=999
    )
    assert abs(seen.p - exact.pvalue) < 0.06


def test_mmd_by_hand():
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(9, 2)), rng.normal(size=(8, 2))
    pooled = np.concatenate([x, y]) / x.std(0)
    far = np.linalg.norm(pooled[:, None] - pooled, axis=-1)
    k = np.exp(-(far**2) / (2 * np.median(far[np.triu_indices(17, 1)]) ** 2))
    own = (k[:9, :9].sum() - 9) / 72 + (k[9:, 9:].sum() - 8) / 56 - 2 * k[:9, 9:].mean()
    assert distances.compare(x, y).mmd.value == pytest.approx(own)


def test_precision_and_coverage():
    """Of equal laws coverage is 1 - 2^-5 on average (Naeem et al. 2020)."""
    rng = np.random.default_rng(9)
    real = normals(rng, 500)
    same, half = normals(rng, 500), normals(rng, 1200)
    half, far = half[half[:, 0] > 0][:500], normals(rng, 500, 50.0)
    assert distances.compare(real, same).coverage == pytest.approx(1 - 0.5**5, abs=0.025)
    seen = distances.compare(real, half)
    assert seen.precision > 0.9
    assert 0.4 < seen.coverage < 0.6
    assert distances.compare(real, far)[4:6] == (0, 0)


def test_copies_and_columns_that_do_not_change_are_measured():
    rng = np.random.default_rng(10)
    real = np.column_stack([rng.normal(size=50), np.full(50, 3.0)])
    found = distances.compare(real, real.copy())
    assert abs(found.energy.value) < 0.1
    assert found.w1["1"] == (0, 0, 1)
    assert distances.compare(real, real + np.array([0.0, 1.0])).tv_lower.value == 1
    assert distances.compare(np.zeros((9, 1)), np.zeros((9, 1))).mmd.value == 0


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda good: distances.energy(good, [[1.0, NAN]] * 9), "generated[0, 1] must be a finite"),
        (lambda good: distances.energy(good * np.inf, good), "real[0, 0] must be a finite number"),
        (lambda good: distances.energy([["a", "b"]] * 9, good), "real must be rows of numbers"),
        (lambda good: distances.energy(good, good[:, :1]), "columns of generated must be 2"),
        (lambda good: distances.energy(good, good[:7]), "rows of generated must be at least 8"),
        (lambda good: distances.energy(good[None], good), "the shape of real must be rows and"),
        (lambda good: distances.tv_lower(good, good, level=1.0), "level = 1.0 is outside"),
        (lambda good: distances.tv_lower(good, good, level=95), "level = 95.0 is outside"),
        (lambda good: distances.one_step(good, good, good, 1.5), "real_share = 1.5 is outside"),
        (lambda good: distances.compare(good, good, ("a",)), "columns must be 2 names"),
    ],
)
def test_bad_rows_are_refused_by_name(call, named):
    with pytest.raises(ValueError, match=r".") as refusal:
        call(np.random.default_rng(0).normal(size=(9, 2)))
    assert named in str(refusal.value)


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["icl-stl", *map(str, words)])
    try:
        return commands.main()
    except SystemExit as end:
        return end.code or 0


def write(path, rows, header="a,b"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def test_the_command_says_what_is_certified(monkeypatch, capsys, tmp_path):
    rng = np.random.default_rng(11)
    real = write(tmp_path / "real.csv", normals(rng, 200))
    made = tmp_path / "made.npy"
    np.save(made, normals(rng, 150, 2.0))
    written = tmp_path / "new" / "distance.json"
    np.savez(tmp_path / "made.npz", a=np.load(made)[:, 0], b=np.load(made)[:, 1])
    made = tmp_path / "made.npz"
    more = "--previous", made, "--real-share", "0.5", "--json", written
    assert call(monkeypatch, "distance", real, made, *more) == 0
    said = capsys.readouterr().out
    assert said.count("certified") == 2
    assert said.count("measured") == 6
    found = json.loads(written.read_text())
    assert found["tv_lower"].keys() == {"value", "low", "level", "classifier"}
    assert 0.05 < found["one_step"]["low"] < found["tv_lower"]["low"]
    assert found["energy"].keys() == {"value", "low", "high", "p"} == found["mmd"].keys()
    assert found["w1"].keys() == {"a", "b"}
    assert found["rows"] == {"real": 200, "generated": 150}
    assert f"at least {found['tv_lower']['low']:.4f}" in said
    assert found["energy"]["p"] == 0.002 < found["w1"]["b"]["p"]


def test_words_are_told_apart_and_not_measured(monkeypatch, tmp_path, capsys):
    rng = np.random.default_rng(12)
    for name, words in (("real", "xyz"), ("made", "xxz")):
        rows = [(x, words[k % 3]) for k, x in enumerate(rng.normal(size=60))]
        write(tmp_path / f"{name}.csv", rows)
    written = tmp_path / "d.json"
    files = tmp_path / "real.csv", tmp_path / "made.csv"
    assert call(monkeypatch, "distance", *files, "--json", written) == 0
    capsys.readouterr()
    w1 = json.loads(written.read_text())["w1"]
    assert w1["b=y"]["value"] == pytest.approx(1 / 3)
    assert w1["b=z"]["value"] == pytest.approx(0)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("real.csv nowhere.csv", ["generated", "nowhere.csv", "No such file"]),
        ("real.csv real.xls", ["generated", "real.xls", ".csv"]),
        ("wien real.csv", ["real", "wien", "did you mean 'wine'?"]),
        ("real.csv other.csv", ["generated", "other.csv", "a, c", "a, b"]),
        ("real.csv hole.csv", ["hole.csv", "line 3", "'b'", "a value"]),
        ("real.csv few.csv", ["rows of generated", "at least 8", "5"]),
        ("real.csv real.csv --level 95", ["level = 95.0", "(0, 1)"]),
        ("real.csv real.csv --level high", ["--level", "'high'", "a number"]),
        ("real.csv real.csv --seed -1", ["seed", "-1", "[0, 2^31)"]),
        ("real.csv real.csv --json .", ["json", "a file"]),
        ("real.csv real.csv --real-share 0.5", ["previous", "None", "with real_share"]),
        ("real.csv real.csv --previous real.csv --real-share 2", ["real_share = 2.0", "[0, 1]"]),
        ("real.csv real.csv --previous other.csv --real-share 0", ["previous", "a, c", "a, b"]),
        ("real.csv", ["required", "GENERATED"]),
        ("real.csv word.csv", ["word.csv", "'b'", "numbers"]),
    ],
)
def test_bad_files_are_refused_by_place(monkeypatch, capsys, tmp_path, line, named):
    rows = np.random.default_rng(0).normal(size=(12, 2)).tolist()
    write(tmp_path / "real.csv", rows)
    write(tmp_path / "other.csv", rows, "a,c")
    write(tmp_path / "few.csv", rows[:5])
    write(tmp_path / "hole.csv", [rows[0], (1.0, "")])
    write(tmp_path / "word.csv", [(1.0, "x")] * 9)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "500")
    before = sorted(tmp_path.iterdir())
    assert call(monkeypatch, "distance", *line.split()) == 2
    said = capsys.readouterr()
    assert [word for word in named if word not in said.err] == [], said.err
    assert said.out == ""
    assert sorted(tmp_path.iterdir()) == before
