import ast
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bounds_exact import INF

from icl_stl import bounds
from icl_stl.bounds.__main__ import _BY_VARIANCES, main

GAP = "--n 2000 --alpha 0.5 --generation 10 --M 1 --b 1 --kappa 0.9 --c 0.5 --a 0.5 --delta 0.05"
OPTIMUM = "--n 1000 --M 1 --b 0 --kappa 0 --c 0.3 --a 0.5 --delta 0.05"


@pytest.fixture
def calculate(capsys: pytest.CaptureFixture[str]):
    def run(line: str) -> dict:
        assert main([*line.split(), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_drift(calculate) -> None:
    report = calculate("drift --alpha 0.5 --eps 0.1 --generation 10")
    assert report["total"] == pytest.approx(0.1 * (1 - 0.5**11) / 0.5, rel=1e-14)
    assert report["terms"] == pytest.approx([0.1 * 0.5 ** (10 - j) for j in range(11)])
    assert report["vacuous"] is False


@pytest.mark.parametrize(
    ("line", "total"),
    [
        ("--alpha 0.5 --eps 0.1 --generation inf", 0.2),
        ("--alpha 0.5 --eps 0.1 --generation 0", 0.1),
        ("--alpha 0 --eps 0.1 --generation 4", 0.5),
        ("--regime replace --eps 0.1 --generation 4", 0.5),
        ("--regime replace --eps 0.1 --generation inf", "inf"),
        ("--regime replace --eps 0.01 --generation 2000", 20.01),
        ("--regime accumulate --eps 0.1 --generation 3", 0.1 * (1 + 1 / 2 + 1 / 3 + 1 / 4)),
        ("--regime accumulate --eps 0.1 --generation inf", "inf"),
        ("--alpha 0.001 --eps 0.1 --generation 100000", 100.0),
    ],
)
def test_drift_in_every_regime(calculate, line: str, total: float | str) -> None:
    report = calculate(f"drift {line}")
    expected = total if total == "inf" else pytest.approx(total, rel=1e-12)
    assert report["total"] == expected
    assert len(report["terms"]) == len(report["term_names"])
    if total != "inf":
        assert math.fsum(report["terms"]) == pytest.approx(report["total"], rel=1e-12)
    assert report["vacuous"] == (total == "inf" or total > 1)


def test_drift_from_a_file(calculate, tmp_path: Path) -> None:
    file = tmp_path / "eps"
    file.write_text("0.3\n0.1\n0.2\n")
    report = calculate(f"drift --alpha 0.25 --eps-file {file}")
    assert report["generation"] == 2
    assert report["terms"] == pytest.approx([0.3 * 0.75**2, 0.1 * 0.75, 0.2])
    assert report["total"] == pytest.approx(sum(report["terms"]))
    early = calculate(f"drift --regime replace --eps-file {file} --generation 1")
    assert early["total"] == pytest.approx(0.4)
    both = calculate(f"drift --regime accumulate --eps-file {file}")
    assert both["terms"] == pytest.approx([0.3 / 2, 0.1 / 3, 0.2])


def test_gap(calculate) -> None:
    report = calculate(f"gap {GAP}")
    bound = bounds.generalization_gap_at_rate(
        2000, 0.5, 10, M=1, b=1, kappa=0.9, c=0.5, a=0.5, delta=0.05
    )
    for name in ("shift", "stability", "fluctuation", "total"):
        assert report[name] == getattr(bound, name)
    assert report["vacuous"] is False
    assert {constant["provenance"] for constant in report["constants"]} == {"assumed"}


def test_gap_that_is_vacuous_or_infinite_says_so(calculate) -> None:
    loose = calculate(f"gap {GAP}".replace("--n 2000", "--n 2"))
    assert loose["total"] > 1
    assert loose["vacuous"] is True
    assert "vacuous" in loose["note"]
    limit = f"gap {GAP}".replace("--generation 10", "--generation inf")
    assert calculate(limit)["total"] < 1
    unstable = calculate(limit.replace("--kappa 0.9", "--kappa 2.5"))
    assert unstable["total"] == unstable["stability"] == unstable["fluctuation"] == "inf"
    assert "1.25 >= 1" in unstable["note"]
    drifting = calculate(limit.replace("--alpha 0.5", "--alpha 0"))
    assert drifting["shift"] == "inf"
    assert "drift" in drifting["note"]


def test_stability(calculate) -> None:
    report = calculate("stability --n 2000 --alpha 0.5 --kappa 0.9 --generation 10")
    result = bounds.recursive_stability(2000, 0.5, 0.9, 10)
    for name in ("influence", "gamma", "stable", "variance_proxy"):
        assert report[name] == getattr(result, name)
    unstable = calculate("stability --n 2000 --alpha 0.5 --kappa 2 --generation inf")
    assert unstable["gamma"] == "inf"
    assert unstable["stable"] is False
    assert unstable["threshold"] == 0.5
    assert "no bound" in unstable["note"]


def test_plateau(calculate) -> None:
    line = "plateau --alpha 0.2 --generation inf --a 0.3 --o 0.1 --q 0.01 --s 0.2 --start 0.5"
    report = calculate(line)
    parts = ("first", "refit", "mixing", "noise", "start", "total")
    expected = [0.3, 0.4, 0.05, 0.2 / 0.6, 0, 0.75 + 0.2 / 0.6]
    assert [report[part] for part in parts] == pytest.approx(expected)
    assert report["note"] == ""
    alone = calculate("plateau --alpha 0 --generation inf --a 0.3 --o 0.1")
    assert alone["total"] == "inf"
    assert "without real data" in alone["note"]
    assert calculate("plateau --alpha 0.5 --generation 1 --a 0 --o 0.1")["total"] == 0.05


def test_optimum(calculate) -> None:
    report = calculate(f"optimum {OPTIMUM}")
    best = bounds.optimal_size(1000, M=1, b=0, kappa=0, c=0.3, a=0.5, delta=0.05)
    for name in ("lam", "value", "lower_bound", "regime"):
        assert report[name] == getattr(best, name)
    capped = calculate(f"optimum {OPTIMUM} --max-lam 1")
    assert (capped["lam"], capped["regime"]) == (1, "capped")
    finite = calculate(f"optimum {OPTIMUM} --generation 3")
    assert (finite["lam"], finite["regime"]) == ("inf", "unbounded")
    risk = calculate(f"optimum {OPTIMUM} --objective risk")
    assert (risk["lam"], risk["regime"]) == (0, "none")
    new = calculate(f"optimum {OPTIMUM} --floor 0.001 --fresh-real")
    best = bounds.optimal_size(
        1000, M=1, b=0, kappa=0, c=0.3, a=0.5, delta=0.05, floor=0.001, fresh=True
    )
    assert (new["lam"], new["value"], new["fresh"]) == (best.lam, best.value, True)
    assert new["constants"][-1] == {"name": "floor", "value": 0.001, "provenance": "assumed"}


def test_tables_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    for line, words in (
        ("drift --alpha 0.5 --eps 0.1 --generation 2", ["generation 0", "total", "0.175"]),
        (f"gap {GAP}", ["shift", "stability", "fluctuation", "total", "kappa", "assumed"]),
        ("stability --n 9 --alpha 0.5 --kappa 2 --generation inf", ["gamma", "inf", "no bound"]),
        (f"optimum {OPTIMUM}", ["lam", "2.0795", "interior", "d ln lam/d ln c"]),
    ):
        assert main(line.split()) == 0
        table = capsys.readouterr().out
        for word in words:
            assert word in table


RISK = "--alpha 0.5 --empirical 0.1 --variance 0.02 --shift 0.01 --M 1 --delta 0.05"


@pytest.mark.parametrize(
    ("line", "function"),
    [
        (
            "localised --n 50 --alpha 0.5 --v-a 0.01 --r-a 0.25 --v-b 0.5 --r-b 2 --distance 0.03"
            " --shift -0.01 --delta 0.05 --M 1",
            bounds.localised_gap,
        ),
        ("bits --n 40 --alpha 0.25 --generation 3 --kappa 0.9 --delta 0.05", bounds.bits_gap),
        (f"held-out --rows 100 {RISK}", bounds.held_out_risk),
        (f"rounded --rows 90000 {RISK} --dimension 99 --bits 6", bounds.quantised_risk),
        (f"pac-bayes --rows 9 {RISK} --distance 1 --curvature 2", bounds.pac_bayes_risk),
    ],
)
def test_bounds_by_variances(calculate, line: str, function) -> None:
    report = calculate(line)
    words = line.split()[1:]
    given = {
        name.removeprefix("--").replace("-", "_"): float(value)
        for name, value in zip(words[::2], words[1::2], strict=True)
    }
    bound = function(**given)
    assert report["total"] == bound.total
    assert report["vacuous"] == bound.vacuous == ("vacuous" in report["note"])
    assert set(bound._fields) < set(report)


def test_bad_input_exits_with_two_and_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["drift", "--alpha", "1.5", "--eps", "0.1", "--generation", "3"])
    assert stopped.value.code == 2
    assert "alpha = 1.5 is outside" in capsys.readouterr().err


_OTHERS = ["drift", "gap", "plateau", "stability", "optimum"]


@pytest.mark.parametrize("command", [*_OTHERS, *_BY_VARIANCES])
def test_every_option_is_explained(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    helped = " ".join(capsys.readouterr().out.partition("options:")[2].split())
    options = re.split(r" ?(?=--[a-z])", helped, flags=re.IGNORECASE)
    unsaid = [option for option in options if re.fullmatch(r"--\S+( [A-Z]+| \{\S+\})?", option)]
    assert len(options) > 5
    assert unsaid == (["--regime {augment,replace,accumulate}"] if command == "drift" else [])
    assert ("--M X largest loss, > 0" in helped) == (
        command not in ("drift", "plateau", "stability", "bits")
    )


@pytest.mark.parametrize("text", ["", "0.1\nx\n", "0.1\n-0.2\n"])
def test_bad_files_exit_with_two(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "eps"
    file.write_text(text)
    with pytest.raises(SystemExit) as stopped:
        main(["drift", "--alpha", "0.5", "--eps-file", str(file)])
    assert stopped.value.code == 2
    assert "eps" in capsys.readouterr().err
    file.write_text("0.1\n0.2\n")
    with pytest.raises(SystemExit):
        main(["drift", "--alpha", "0.5", "--eps-file", str(file), "--generation", "2"])
    assert "generation = 2.0" in capsys.readouterr().err


def test_the_module_runs_alone_and_without_jax() -> None:
    code = (
        "import sys, runpy; sys.argv = ['bounds', 'stability', '--n', '9', '--alpha', '0.5',"
        " '--kappa', '1', '--generation', '3', '--json'];\n"
        "try:\n    runpy.run_module('icl_stl.bounds', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert stop.code == 0\n"
        "assert not {'jax', 'flax', 'optax', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    root = Path(bounds.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["stable"] is True


def test_the_package_imports_numpy_and_the_standard_library_only() -> None:
    """It, and what it imports from the rest of the package, and so on."""
    root = Path(bounds.__file__).parents[1]
    waiting, seen = [*Path(bounds.__file__).parent.glob("*.py")], set()
    allowed = set(sys.stdlib_module_names) | {"numpy"}
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top, *below = name.split(".")
                assert top in allowed | {"icl_stl"}, f"{file}: {name}"
                if top == "icl_stl" and below[:1] != ["bounds"]:
                    module = root.joinpath(*below)
                    package = module / "__init__.py"
                    waiting.append(package if package.exists() else module.with_suffix(".py"))
    assert {"tables", "config"} <= {file.stem for file in seen}


def test_paper_forms_are_shapes_with_assumed_constants() -> None:
    forms = bounds.paper_forms
    np.testing.assert_allclose(
        forms.accumulated_error([0.0, 0.5, 0.5, 0.0], [7, 2, INF, INF], 0.1).total,
        [0.7, 0.15, 0.2, INF],
    )
    trade = forms.augmentation_trade_off(16, [1, 3], leading=2.0, second=5.0)
    np.testing.assert_allclose(trade.terms[:, 0], [0, 2 * 0.5 * math.log(3)])
    np.testing.assert_allclose(trade.terms[:, 1], [5 / 16, 5 / 16 * (1 + 1 / 4 + 1 / 9)])
    np.testing.assert_allclose(trade.total, trade.terms.sum(-1))
    limit = forms.augmentation_trade_off(16, INF, leading=0.0)
    assert limit.total == pytest.approx(math.pi**2 / 96, rel=1e-13)
    assert forms.transformer_factor(0.5, 6, constant=2.0).total == pytest.approx(2 * math.exp(3))
    for form in (trade, limit, forms.transformer_factor(0.5, 6)):
        assert {constant.provenance for constant in form.constants} == {"assumed"}
    with pytest.raises(ValueError, match="generation = 0"):
        forms.augmentation_trade_off(16, 0)


def test_results_print_numbers_and_constants_as_people_read_them() -> None:
    drift = bounds.drift_constant_share(np.float64(0.1), 0.2, 0.5, 3)
    said = str(drift).splitlines()
    assert said[0] == f"total = {drift.total:.10g}"
    assert said[-2:] == ["eps0 = 0.1 (assumed)", "eps = 0.2 (assumed)"]
    best = bounds.optimal_size(20, M=1, b=1, kappa=0.1, c=0.3, a=0.5)
    for result in (drift, best, bounds.recursive_stability(9, 0.5, 1, 3)):
        assert "np." not in str(result)
        assert "Constant" not in str(result)
