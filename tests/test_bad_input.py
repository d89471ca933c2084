"""Bad input, as a careless user gives it: refused at once, with what is wrong and what is right."""

import math
import re
import resource
import runpy
import shlex
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType

import jaxtyping
import numpy as np
import pytest

import icl_stl
from icl_stl import bounds, learners, members, problems
from icl_stl.commands import COMMANDS
from icl_stl.config import Architecture, QueryArchitecture, Training
from icl_stl.lab.experiments import Loops, LoopSize, SizedLoops
from icl_stl.lab.results import write_json
from icl_stl.lab.sweeps import executors, grids
from icl_stl.laws import LinearRegression
from icl_stl.planning import error_law
from icl_stl.planning import plan as planning
from icl_stl.regimes import Anchored, Augment, FreshReal, Replace
from icl_stl.studies.certificates.experiments import CertifiedNetworks
from icl_stl.studies.collapse.experiments import LayerPrompts, PlugInLoops
from icl_stl.studies.context_loop.experiments import ContextLoops
from icl_stl.studies.presets import (
    ArchitectureSize,
    CertificateSizes,
    CollapseSizes,
    ContextSizes,
    ConvergenceSize,
    Preset,
    StabilitySize,
)
from icl_stl.studies.stability.experiments import NeighbouringLoops

ROOT = Path(__file__).resolve().parent.parent
NAN, INF = math.nan, math.inf
SECONDS = 2.0
"""Processor time in which a refusal must come."""
HUGE = 10**12
LONG = "x" * 300

# --- command lines -------------------------------------------------------------------------------

LAW = "--n 100 --c 0.3 --a 0.5"
GAP = "gap --n 20 --alpha 0.5 --generation 1 --M 1 --b 1 --kappa 1 --c 0.5 --a 0.5 --delta 0.05"
BEST = "optimum --n 20 --M 1 --b 0 --kappa 0 --c 0.3 --a 0.5"


def changed(line, option, value):
    """A command line with another value."""
    return re.sub(rf"--{option} \S+", f"--{option} {value}", line)


# Script, arguments, and what the message must name: the option, the value, what would be right.
REFUSED = [
    ("reproduce_theorem", "--only drfit", ["only", "'drfit'", "did you mean 'drift'?"]),
    ("reproduce_theorem", "--only drift Rates", ["only", "'Rates'", "did you mean 'rates'?"]),
    ("reproduce_theorem", "--only mad-loops", ["only", "'mad-loops'", "did you mean 'mad_loops'?"]),
    ("reproduce_theorem", "--only drift nothing", ["only", "'nothing'", "plateau_level"]),
    ("reproduce_theorem", "--nonsense 1", ["nonsense"]),
    ("reproduce_theorem", "--only ''", ["--only", "''", "a value"]),
    ("reproduce_theorem", "--only --preset tiny", ["--only", "a value"]),
    ("reproduce_theorem", "--preset quik", ["preset", "quik", "did you mean 'quick'?"]),
    ("reproduce_theorem", "--preset TINY", ["preset", "TINY", "did you mean 'tiny'?"]),
    ("reproduce_theorem", "--preset=papr", ["preset", "papr", "did you mean 'paper'?"]),
    ("reproduce_theorem", "--prest tiny", ["--prest", "--preset"]),
    ("reproduce_theorem", "tiny", ["tiny", "--help"]),
    ("reproduce_theorem", "--seed -1", ["seed", "-1", "[0, 2^31)"]),
    ("reproduce_theorem", f"--seed {2**40}", ["seed", str(2**40), "[0, 2^31)"]),
    ("reproduce_theorem", "--seed 1.5", ["seed", "1.5", "a whole number"]),
    ("reproduce_theorem", "--seed 1e3", ["seed", "1e3", "a whole number"]),
    ("reproduce_theorem", "--seed", ["seed", "1 value"]),
    ("reproduce_theorem", "--out file", ["out", "file", "a writable folder"]),
    ("reproduce_theorem", "--out file/below", ["out", "file/below", "a writable folder"]),
    ("reproduce_theorem", "--out ''", ["--out", "''", "a value"]),
    ("reproduce_theorem", "--out /dev/null", ["out", "/dev/null", "a writable folder"]),
    ("reproduce_theorem", "--out /proc/nowhere", ["out", "/proc/nowhere", "a writable folder"]),
    ("reproduce_theorem", f"--out {LONG}", ["out", LONG, "a writable folder"]),
    (
        "reproduce_theorem",
        "--out others",
        ["out", "others has checkpoints", "--fresh deletes them"],
    ),
    (
        "reproduce_theorem",
        "--out changed --only rates",
        ["only", "changed/claims.json", "add drift, or --fresh"],
    ),
    (
        "reproduce_theorem",
        "--out listed --only rates",
        ["listed/claims.json", "damaged", "no claims"],
    ),
    ("run_loop", "--alpha 0", ["alpha", "0.0", "in (0, 1)", "'replace'"]),
    ("run_loop", "--alpha 1", ["alpha", "1.0", "in (0, 1)", "'real-only'"]),
    ("run_loop", "--alpha nan", ["alpha", "nan", "finite number"]),
    ("run_loop", "--alpha -0.5", ["alpha", "-0.5", "in (0, 1)"]),
    ("run_loop", "--alpha 1e400", ["alpha", "inf", "finite number"]),
    ("run_loop", "--alpha 1e-320", ["alpha", "1e-320", "whole number"]),
    ("run_loop", "--alpha half", ["alpha", "half", "a number"]),
    ("run_loop", "--alpha ½", ["alpha", "½", "a number"]),
    ("run_loop", "--alpha 0.3 --samples 64", ["alpha = 0.3", "samples = 64", "whole number"]),
    ("run_loop", "--alpha 0.5 --lam 1", ["alpha = 0.5", "lam = 1.0", "one of them"]),
    ("run_loop", "--regime replace --alpha 0.5", ["alpha", "0.5", "left out", "'replace'"]),
    ("run_loop", "--regime mad-fresh-data --lam 2", ["lam", "'2'", "left out"]),
    ("run_loop", "--regime verified --of augmnt", ["of", "augmnt", "did you mean 'augment'?"]),
    ("run_loop", "--regime verified --of edit", ["of", "'edit'", "selects none itself"]),
    ("run_loop", "--of replace", ["of", "'replace'", "left out", "'augment'"]),
    (
        "run_loop",
        "--learner categorical --regime curated --reward inf",
        ["reward", "inf", "finite"],
    ),
    ("run_loop", "--regime curated --of nowhere", ["of", "nowhere"]),
    ("run_loop", "--regime verified --keep region --keep-rate 0.2", ["keep", "confidence"]),
    ("run_loop", "--regime verified --keep-rate 0", ["keep_rate", "0.0", "(0, 1]"]),
    ("run_loop", "--regime accumulate --weight 0.5", ["weight", "0.5", "left out"]),
    ("run_loop", "--regime augmented", ["regime", "augmented", "did you mean 'augment'?"]),
    ("run_loop", "--regime augment_same_inputs", ["regime", "did you mean 'augment-same-inputs'?"]),
    ("run_loop", "--regime anchored --alpha 1", ["alpha", "1.0", "in (0, 1)"]),
    ("run_loop", "--weight 1.5", ["weight", "1.5", "[0, 1]"]),
    (
        "run_loop",
        "--learner sources --regime hidden --sampling-bias 0.5",
        ["sampling_bias", "0.5", "left out", "'sources'"],
    ),
    (
        "run_loop",
        "--learner sources --regime hidden --growth 1e9",
        ["growth", "1000000000.0", "whole number"],
    ),
    ("run_loop", "--regime real-only --lam 2", ["lam", "'2'", "'real-only'"]),
    ("run_loop", "--regime fresh --weight 1.5", ["weight", "1.5", "[0, 1]"]),
    ("run_loop", "--regime accumulate --lam 0.001 --samples 64", ["lam = 0.001", "samples = 64"]),
    ("run_loop", "--lam 0.3 --samples 64", ["19.2", "samples = 64"]),
    ("run_loop", "--weight nan", ["weight", "nan", "finite number"]),
    ("run_loop", "--lam 0", ["lam", "0.0", "positive number"]),
    ("run_loop", "--sampels 3", ["--sampels is no option", "did you mean '--samples'"]),
    ("run_loop", "--lam inf", ["lam", "inf", "finite number"]),
    ("run_loop", "--lam 1e-20", ["lam", "1e-20", "'real-only'"]),
    ("run_loop", "--lam 1e308", ["lam = 1e+308", "samples = 1000", "whole number"]),
    ("run_loop", "--lam 1e300", ["lam", "1e+300", "smaller", "GB"]),
    ("run_loop", "--learner oracle", ["learner", "oracle"]),
    ("run_loop", "--learner olss", ["learner", "olss", "did you mean 'ols'?"]),
    ("run_loop", "--learner Transformer", ["learner", "did you mean 'transformer'?"]),
    ("run_loop", "--learner ols --depth 3", ["depth", "3", "left out", "'ols'"]),
    ("run_loop", "--learner bayes --steps 9", ["steps", "9", "left out", "'bayes'"]),
    ("run_loop", "--penalty 0.1", ["penalty", "0.1", "left out", "'transformer'"]),
    ("run_loop", "--learner ridge --kappa 2", ["kappa", "'2'", "left out", "'ridge'"]),
    ("run_loop", "--plug-in", ["plug_in", "True", "left out", "'transformer'"]),
    ("run_loop", "--samples 0", ["samples must be a whole number of at least 1", "is 0"]),
    ("run_loop", "--samples -5", ["samples", "-5", "at least 1"]),
    ("run_loop", f"--samples {HUGE}", ["samples", str(HUGE), "smaller", "GB"]),
    ("run_loop", "--samples 1e400", ["samples", "1e400", "a whole number"]),
    ("run_loop", f"--samples {10**400}", ["samples", str(10**400), "whole number"]),
    ("run_loop", f"--generations {HUGE}", ["generations", str(HUGE), "smaller", "GB"]),
    ("run_loop", "--generations -1", ["generations", "-1", "at least 0"]),
    (
        "run_loop",
        f"--regime accumulate --generations {10**8}",
        ["generations", str(10**8), "smaller", "GB"],
    ),
    ("run_loop", "--runs 0", ["runs", "0", "at least 1"]),
    ("run_loop", f"--runs {HUGE}", ["runs", str(HUGE), "smaller", "GB"]),
    ("run_loop", "--dim 0", ["dim", "0", "at least 1"]),
    ("run_loop", f"--dim {HUGE}", ["dim", str(HUGE), "smaller", "GB"]),
    ("run_loop", "--context 1", ["context", "1", "at least 2"]),
    ("run_loop", f"--context {HUGE}", ["context", str(HUGE), "smaller", "GB"]),
    ("run_loop", "--held-out 1", ["held_out", "1", "at least 2"]),
    ("run_loop", f"--held-out {HUGE}", ["held_out", str(HUGE), "smaller", "GB"]),
    ("run_loop", f"--width {10**9} --heads 1", ["width", str(10**9), "smaller", "GB"]),
    ("run_loop", f"--depth {HUGE}", ["depth", str(HUGE), "smaller", "GB"]),
    ("run_loop", f"--steps {HUGE}", ["steps", str(HUGE), "smaller", "GB"]),
    ("run_loop", "--heads 3", ["heads", "3", "divisor", "32"]),
    ("run_loop", "--noise 0", ["noise", "0.0", "positive number"]),
    ("run_loop", "--noise 1e300", ["noise", "1e+300", "of a size from"]),
    ("run_loop", "--noise 0.001", ["noise", "0.001", "at least a hundredth"]),
    ("run_loop", f"--seed {2**40}", ["seed", str(2**40), "[0, 2^31)"]),
    ("run_loop", "--seed 1,000", ["seed", "1,000", "a whole number"]),
    ("run_loop", "--json folder", ["json", "folder", "a file"]),
    ("run_loop", "--json file/below.json", ["json", "file", "a writable folder"]),
    ("run_loop", "--json /dev/null", ["json", "/dev/null", "a plain file"]),
    ("run_loop", f"--json {LONG}.json", ["json", LONG, "a file that can be written"]),
    ("run_loop", "--json ''", ["--json", "''", "a value"]),
    ("run_loop", "--learner ols --dim 10 --samples 11", ["samples", "11", "12"]),
    ("run_loop", "--learner ols --samples 20 --lam 0.1 --weight 0", ["lam", "2", "4 rows"]),
    ("run_loop", "--learner ols --noise 1e-300", ["noise", "1e-300", "of a size from"]),
    ("run_loop", "--learner ols --runs 0", ["runs", "0", "at least 1"]),
    ("run_loop", f"--learner ols --runs {HUGE}", ["runs", str(HUGE), "smaller", "GB"]),
    ("run_loop", f"--learner ols --runs {2**32}", ["runs", str(2**32)]),
    ("run_loop", f"--learner ridge --dim {10**7}", ["dim", str(10**7), "smaller", "GB"]),
    ("run_loop", "--learner ridge --penalty 0", ["penalty", "0.0", "positive number"]),
    ("run_loop", "--learner lsa --penalty inf", ["penalty", "inf", "finite number"]),
    ("run_loop", f"--learner lsa --dim {10**4}", ["dim", str(10**4), "smaller", "GB"]),
    ("run_loop", "--learner lsa --generator all", ["generator", "all"]),
    ("run_loop", "--learner bernoulli --injected nan", ["injected", "nan"]),
    (
        "run_loop",
        "--learner ols --dim 5 --samples 20 --regime replace --lam 0.2",
        ["lam", "4", "7"],
    ),
    ("run_loop", "--steps 0", ["steps", "0"]),
    ("run_loop", "--learner lsa --noise 1e-5", ["noise", "1e-05", "at least a hundredth"]),
    ("run_loop", "--learner lsa --law spheres", ["law", "spheres", "did you mean 'sphere'?"]),
    ("run_loop", "--learner empirical-bayes --context 7", ["context", "7", "dim = 2"]),
    ("run_loop", "--learner categorical --symbols 1", ["symbols", "1", "at least 2"]),
    ("run_loop", f"--learner categorical --symbols {10**9}", ["symbols", str(10**9)]),
    (
        "run_loop",
        "--learner categorical --probabilities .4 .2",
        ["probabilities", "0.2", "sum to 1"],
    ),
    (
        "run_loop",
        "--learner categorical --probabilities 1",
        ["probabilities", "1.0", "two or more"],
    ),
    (
        "run_loop",
        "--learner categorical --probabilities .4 .6 --symbols 3",
        ["symbols", "3", "as many as there are probabilities (2)"],
    ),
    (
        "run_loop",
        "--learner ols --dim 5 --samples 5",
        ["samples", "5", "at most 3, or at least 7", "minimum norm"],
    ),
    ("run_loop", "--learner categorical --pseudo-count -1", ["pseudo_count", "-1.0", "at least 0"]),
    ("run_loop", "--learner bernoulli --kappa nan", ["kappa", "nan", "finite number"]),
    ("run_loop", "--learner gaussian --samples 1", ["samples", "1", "at least 2"]),
    # rows of files, and models outside JAX
    ("run_loop", "--real wine", ["exactly one of learner and command", "neither is", "normal, "]),
    ("run_loop", "--real t.csv --learner kde --command x", ["exactly one of", "both is"]),
    ("run_loop", "--real wien --learner normal", ["real", "'wien'", "did you mean 'wine'?"]),
    ("run_loop", "--real no.csv --learner normal", ["real", "no.csv", "No such file"]),
    ("run_loop", "--real file.xls --learner normal", ["real", "'file.xls'", ".csv or .npy"]),
    ("run_loop", "--real empty.csv --learner normal", ["real", "empty.csv", "it is empty"]),
    ("run_loop", "--real gap.csv --learner normal", ["gap.csv", "line 3, column 2 ('y')", "''"]),
    ("run_loop", "--real na.csv --learner normal", ["na.csv", "line 4, column 1", "'NA'", "value"]),
    ("run_loop", "--real word.csv --learner normal", ["line 3, column 1 ('x')", "'abc'", "number"]),
    ("run_loop", "--real inf.csv --learner normal", ["line 2, column 2 ('y')", "'inf'"]),
    ("run_loop", "--real large.csv --learner normal", ["line 5, column 1", "1e+300", "at most"]),
    ("run_loop", "--real ragged.csv --learner normal", ["line 4", "2 values", "['5', '6', '7']"]),
    ("run_loop", "--real semi.csv --learner normal", ["line 1", "commas", "semicolons"]),
    ("run_loop", "--real twice.csv --learner normal", ["line 1", "column 1", "'x'", "no other"]),
    ("run_loop", "--real few.csv --learner normal", ["few.csv", "at least 4 rows", "one of 3"]),
    ("run_loop", "--real names.csv --learner normal", ["names.csv", "at least one row below"]),
    ("run_loop", "--real utf16.csv --learner normal", ["utf16.csv", "UTF-8", "UTF-16"]),
    ("run_loop", "--real nan.npy --learner normal", ["nan.npy", "row 2, column 1", "nan"]),
    ("run_loop", "--real objects.npy --learner normal", ["objects.npy", "nothing is unpickled"]),
    ("run_loop", "--real words.npy --learner normal", ["words.npy", "'<U1'", "one of numbers"]),
    ("run_loop", "--real text.npz --learner normal", ["text.npz", "nothing is unpickled"]),
    ("run_loop", "--real uneven.npz --learner normal", ["uneven.npz", "the same of all", "(5,)"]),
    ("run_loop", "--real short.txt --learner markov", ["short.txt", "at least 4 rows of length"]),
    ("run_loop", "--real poem.txt --learner normal", ["real", "'poem.txt'", "'markov'"]),
    ("run_loop", "--real t.csv --learner markov", ["real", "'t.csv'", "a text (.txt)"]),
    ("run_loop", "--real t.csv --learner normal --categories z", ["categories", "(x, y)", "'z'"]),
    ("run_loop", "--real t.csv --learner normal --held-out-share 0", ["held_out_share", "(0, 1)"]),
    ("run_loop", "--real t.csv --learner kde --held-out-share 1.5", ["held_out_share", "1.5"]),
    (
        "run_loop",
        "--real t.csv --learner kde --held-out-share .01",
        ["0.01", "at least 8 of 60 rows"],
    ),
    ("run_loop", "--real t.csv --learner normal --samples 49", ["samples", "at most 48", "49"]),
    ("run_loop", "--real t.csv --learner normal --length 1", ["length", "at least 2", "is 1"]),
    ("run_loop", "--real t.csv --learner nomral", ["learner", "did you mean 'normal'?"]),
    ("run_loop", "--real t.csv --learner ols", ["learner", "normal, ", "'ols'"]),
    ("run_loop", "--real t.csv --learner normal --components 3", ["components", "left out with"]),
    ("run_loop", "--real t.csv --problem ols", ["real and problem", "one of them"]),
    ("run_loop", "--real t.csv --learner no.py:Model", ["learner", "there is no file no.py"]),
    (
        "run_loop",
        "--real t.csv --learner model.py:Modle",
        ["'model.py:Modle'", "did you mean 'Mod"],
    ),
    ("run_loop", "--real t.csv --learner model.py:Fits", ["sample(count, seed)", "(Model)"]),
    ("run_loop", "--real t.csv --learner model.py:Model --retries -1", ["retries", "at least 0"]),
    ("run_loop", "--real t.csv --learner model.py:Model --time-limit 0", ["time_limit", "0.0"]),
    (
        "run_loop",
        "--real t.csv --learner model.py:Model --regime anchored",
        ["regime", "count alike", "takes no weights", "generation 2", "0.5 of the weight"],
    ),
    (
        "run_loop",
        "--real t.csv --command 'python model.py {train} {out} {count}' --weight .9",
        ["regime", "count alike", "takes no weights", "generation 1", "0.9 of the weight"],
    ),
    ("run_loop", "--real t.csv --command 'python model.py {train} {out}'", ["{count}", "without"]),
    ("run_loop", "--real t.csv --command 'no_such_program {train} {out} {count}'", ["a program"]),
    ("run_loop", "--real t.csv --command 'python no.py {train} {out} {count}'", ["'no.py'", "exi"]),
    (
        "run_loop",
        "--real t.csv --command 'python model.py {train} {out} {count} {sed}'",
        ["command", "'{sed}'", "did you mean 'seed'?"],
    ),
    ("run_loop", '--real t.csv --command "python \'{train}"', ["command", "No closing quotation"]),
    ("run_loop", "--command 'python model.py {train} {out} {count}'", ["command", "without real"]),
    *(
        ("run_loop", f"--learner bernoulli --samples 100 {line}", named)
        for line, named in (
            ("--replace-rows 1.5", ["replace_rows", "in (0, 1)", "1.5"]),
            ("--replace-rows .1 0", ["replace_rows", "in (0, 1)", "0.0"]),
            ("--replace-rows a", ["--replace-rows", "a number", "'a'"]),
            ("--replace-rows nan", ["replace_rows", "in (0, 1)", "nan"]),
            ("--replace-rows .009", ["replace_rows", "at least 1/100", "0.009"]),
            ("--replace-rows .1 --replace-draws 1", ["replace_draws", "at least 2", "1"]),
            ("--replace-rows --regime real-only", ["regime", "synthetic rows", "'real-only'"]),
            ("--replace-rows --samples 4", ["replace_rows", "at least 1/4", "0.2"]),
        )
    ),
    (
        "run_loop",
        "--real t.csv --learner normal --samples 48 --replace-rows .1 .2",
        ["samples", "at most 40"],
    ),
    ("run_loop", "--learner normal", ["learner", "'normal'", "learns from rows: give real"]),
    ("run_loop", "--held-out-share 0.3", ["held_out_share", "0.3", "left out without real"]),
    ("run_loop", "--prompts-from t.csv", ["--target", "required"]),
    ("run_loop", "--prompts-from t.csv --target z", ["target", "(x, y)", "'z'"]),
    ("run_loop", "--prompts-from t.csv --target y --context 13", ["context", "at most 12", "13"]),
    ("run_loop", "--prompts-from t.csv --target y --learner ols", ["learner", "'transformer'"]),
    ("run_loop", "--prompts-from t.csv --target y --real t.csv", ["prompts_from and real"]),
    ("sweep", "rows.toml", ["real", "'wine'", "left out in a sweep"]),
    ("sweep", "", ["GRID", "--merge"]),
    ("sweep", "nowhere.toml", ["grid", "nowhere.toml", "readable file", "No such file"]),
    ("sweep", "good.toml --nonsense 1", ["nonsense"]),
    ("sweep", "folder.toml", ["grid", "folder.toml", "readable file"]),
    ("sweep", "file", ["grid", "'file'", ".toml or .json"]),
    ("sweep", "empty.toml", ["grid", "empty.toml", "at least one option"]),
    ("sweep", "empty.json", ["grid", "empty.json", "readable file"]),
    ("sweep", "deep.json", ["grid", "deep.json", "readable file"]),
    ("sweep", "latin.toml", ["grid", "latin.toml", "readable file"]),
    ("sweep", "samples.toml", ["samples", str(HUGE), "smaller", "GB"]),
    ("sweep", "digits.json", ["samples", str(10**30), "whole number"]),
    ("sweep", "symbols.toml", ["symbols", str(10**9), "at most 100000"]),
    ("sweep", "words.toml", ["regime", "'augmnt'", "did you mean 'augment'?"]),
    ("sweep", "others.toml", ["width", "32", "left out", "'ols'"]),
    ("sweep", "shares.toml", ["alpha = 0.3", "samples = 64", "whole number"]),
    ("sweep", "good.toml --workers -1", ["workers", "-1", "from 0 to 1000"]),
    ("sweep", f"good.toml --workers {10**6}", ["workers", str(10**6), "from 0 to 1000"]),
    ("sweep", f"good.toml --at-once {HUGE}", ["at_once", str(HUGE), "from 1 to 100000"]),
    ("sweep", "good.toml --retries -1", ["retries", "-1", "from 0"]),
    ("sweep", "good.toml --out file", ["out", "file", "a writable folder"]),
    ("sweep", "good.toml --cluster cluster.toml", ["'partitions'", "partition, "]),
    ("sweep", "good.toml --cluster nowhere.toml", ["cluster", "nowhere.toml"]),
    ("sweep", "good.toml --cluster cluster.toml --workers 2", ["workers", "2", "--cluster"]),
    ("sweep", "--merge file --out all", ["merge", "'file'", "folders of sweeps"]),
    ("sweep", "--merge folder", ["--merge with folders and --out"]),
    ("make_figures", "--results nowhere", ["nowhere/config.json does not exist"]),
    ("make_figures", "--results file", ["file/config.json", "cannot be read", "Not a directory"]),
    ("make_figures", "--results blank", ["blank/config.json", "damaged"]),
    ("make_figures", "--results folded", ["folded/config.json", "cannot be read", "directory"]),
    ("make_figures", "--results changed", ["results", "changed/claims.json", "--force"]),
    ("make_figures", "--results listed --force", ["listed/claims.json", "damaged"]),
    ("make_figures", "--check --results others", ["others/config.json", "does not exist"]),
    ("make_figures", "--check --results listed", ["listed/manifest.json", "does not exist"]),
    ("make_figures", "--check --force", ["force", "True", "left out with check"]),
    ("plan_synthetic_size", "", ["--n"]),
    ("plan_synthetic_size", "--n 100", ["exactly one", "errors", "sizes and eps", "none of them"]),
    ("plan_synthetic_size", "--n 100 --floor 0", ["c and a must be given"]),
    ("plan_synthetic_size", "--n 9 --errors --kappa 1", ["--errors", "a value"]),
    ("plan_synthetic_size", changed(LAW, "n", "nan"), ["n", "nan", "[1, 1e+100]"]),
    ("plan_synthetic_size", changed(LAW, "n", "1e400"), ["n = inf", "[1, 1e+100]"]),
    ("plan_synthetic_size", changed(LAW, "c", "-1"), ["c", "-1.0", "[0, inf)"]),
    ("plan_synthetic_size", changed(LAW, "a", "0"), ["a", "0.0", "(0, inf)"]),
    ("plan_synthetic_size", f"{LAW} --M 1e308 --b 1e308", ["M = 1e+308", "[0, 1e+100]"]),
    ("plan_synthetic_size", f"{LAW} --kappa nan", ["kappa", "nan", "[0, 1e+100]"]),
    ("plan_synthetic_size", f"{LAW} --delta 0", ["delta", "0.0", "(0, 1)"]),
    ("plan_synthetic_size", f"{LAW} --sizes 1 2 --eps 1 2", ["exactly one", "sizes and eps, c, a"]),
    ("plan_synthetic_size", "--n 100 --c 0.3", ["a must be given"]),
    ("plan_synthetic_size", "--n 100 --floor 0.3", ["c and a must be given"]),
    ("plan_synthetic_size", changed(LAW, "n", "2000.5"), ["n", "2000.5", "a whole number of rows"]),
    ("plan_synthetic_size", f"{LAW} --kappa -1", ["kappa = -1.0", "[0, 1e+100]"]),
    ("plan_synthetic_size", f"{LAW} --b -1", ["b = -1.0"]),
    ("plan_synthetic_size", f"{LAW} --M 0", ["M = 0.0"]),
    ("plan_synthetic_size", f"{LAW} --floor -1", ["floor = -1.0"]),
    ("plan_synthetic_size", f"{LAW} --floor nan", ["floor = nan"]),
    ("plan_synthetic_size", f"{LAW} --resamples 1", ["resamples", "1"]),
    ("plan_synthetic_size", "--n 9 --sizes 1 2 --eps 1 2 --stderr 1", ["stderr", "[1.0]"]),
    (
        "plan_synthetic_size",
        "--n 9 --sizes 1 2 --eps 1 1 --stderr .1 .1 --runs 1",
        ["runs", "at least 2", "1.0"],
    ),
    ("plan_synthetic_size", "--n 9 --errors file", ["errors", ".csv or .json", "'file'"]),
    ("plan_synthetic_size", f"{LAW} --generation 1.5", ["generation", "1.5", "whole numbers"]),
    ("plan_synthetic_size", f"{LAW} --max-lam nan", ["max_lam", "nan", "[0, inf]"]),
    ("plan_synthetic_size", f"{LAW} --objective rsk", ["objective", "did you mean 'risk'?"]),
    ("plan_synthetic_size", f"{LAW} --stderr 0.1", ["stderr", "0.1", "left out"]),
    ("plan_synthetic_size", f"{LAW} --runs 5", ["runs", "5.0", "left out"]),
    ("plan_synthetic_size", f"{LAW} --resamples {10**9}", ["resamples", str(10**9), "at most"]),
    ("plan_synthetic_size", f"{LAW} --seed {2**40}", ["seed", str(2**40), "[0, 2^31)"]),
    ("plan_synthetic_size", f"{LAW} --out file", ["out", "file", "a writable folder"]),
    ("plan_synthetic_size", "--n 9 --sizes 1 2 --eps 0.1", ["eps", "2 sizes", "1"]),
    ("plan_synthetic_size", "--n 9 --sizes 1 2 --eps 0.1 7", ["eps", "7.0", "[0, 1]"]),
    ("plan_synthetic_size", "--n 9 --sizes 0 2 --eps 0.1 0.1", ["sizes", "0", "at least 1"]),
    ("plan_synthetic_size", "--n 9 --errors nowhere.json", ["errors", "nowhere.json is no file"]),
    ("plan_synthetic_size", "--n 9 --errors folder", ["errors", "folder is no file"]),
    ("plan_synthetic_size", "--n 9 --errors empty.csv", ["errors", "empty.csv", "it is empty"]),
    ("plan_synthetic_size", "--n 9 --errors wide.csv", ["errors", "wide.csv is not", "line 2"]),
    ("benchmark", "--only sped", ["only", "'sped'", "did you mean 'speed'?"]),
    ("benchmark", "--sizes small", ["sizes", "'small'", "small-11"]),
    ("benchmark", "--only haste", ["only", "'haste'", "speed"]),
    ("benchmark", "--sizes huge", ["sizes", "'huge'", "small-20"]),
    ("benchmark", "--matmul-precision half", ["matmul-precision", "half"]),
    ("benchmark", "--repeats 0", ["repeats", "0", "from 1 to 1000"]),
    ("benchmark", f"--repeats {HUGE}", ["repeats", str(HUGE), "from 1 to 1000"]),
    ("benchmark", "--quick --sizes large", ["sizes", "large", "left out with quick"]),
    ("benchmark", "--matmul-precision hihg", ["matmul-precision", "did you mean 'high'?"]),
    ("benchmark", "--out file", ["out", "file", "a writable folder"]),
    ("bounds", "", ["COMMAND"]),
    ("bounds", "gaps", ["gaps", "invalid choice"]),
    ("bounds", changed(GAP, "alpha", "1.5"), ["alpha = 1.5", "[0, 1]"]),
    ("bounds", changed(GAP, "n", "nan"), ["n = nan", "[1, inf)"]),
    ("bounds", changed(GAP, "n", "many"), ["--n", "'many'", "float"]),
    ("bounds", changed(GAP, "delta", "0"), ["delta = 0.0", "(0, 1)"]),
    ("bounds", changed(GAP, "generation", "1.5"), ["generation = 1.5", "whole numbers"]),
    ("bounds", changed(GAP, "kappa", "1e400"), ["kappa = inf", "[0, inf)"]),
    ("bounds", changed(BEST, "a", "0"), ["a = 0.0", "(0, inf)"]),
    ("bounds", f"{BEST} --objective rsk", ["objective", "'rsk'", "risk"]),
    ("bounds", "drift --eps 0.1 --generation 3", ["--alpha", "[0, 1]"]),
    ("bounds", "drift", ["--eps and --eps-file", "--alpha must be", "--generation must be"]),
    ("bounds", "drift --eps 0.1 --generation=-inf --alpha 0.5", ["generation = -inf", "[0, inf]"]),
    ("bounds", "drift --regime replace --alpha 0.5", ["--alpha must be left out", "replace"]),
    ("bounds", "drift --alpha 0.5 --eps-file folder", ["eps-file", "folder is not", "no file"]),
    ("bounds", "drift --alpha 0.5 --eps-file empty.csv", ["eps-file", "'empty.csv'", "numbers"]),
    ("bounds", "drift --alpha 0.5 --eps-file long.txt", ["eps-file", "'long.txt'", "at most"]),
    ("bounds", "drift --alpha 0.5 --generation 3", ["exactly one of --eps and --eps-file"]),
    ("bounds", "drift --alpha 0.5 --eps 0.1", ["--generation must be given"]),
    ("bounds", "drift --alpha 0.5 --eps -0.1 --generation 3", ["eps = -0.1"]),
    ("bounds", "drift --alpha 0.5 --eps 0.1 --generation nan", ["generation = nan"]),
    ("bounds", "drift --alpha 0.5 --eps-file nowhere", ["nowhere"]),
    ("bounds", "drift --regime other --eps 0.1 --generation 3", ["invalid choice"]),
    ("bounds", GAP.replace(" --kappa 1", ""), ["--kappa"]),
    ("bounds", f"{BEST} --max-lam -1", ["max_lam = -1.0"]),
    ("bounds", f"{BEST} --floor -1", ["floor = -1.0"]),
    ("bounds", "stability --n 9 --alpha nan --kappa 1 --generation 1", ["alpha = nan", "[0, 1]"]),
]

PILOTS = "n_real,n_synthetic,generation,loss,stderr\n20,0,1,0.05,0.01\n20,20,1,0.04,0.01\n"
BAD_PILOTS = {
    "20,-4,1,0.04,0.01": ["line 4: n_synthetic", "-4", "a whole number of at least 0"],
    "20,4.5,1,0.04,0.01": ["line 4: n_synthetic", "4.5", "a whole number of at least 0"],
    "0,80,1,0.04,0.01": ["line 4: n_real", "0", "a whole number of at least 1"],
    "twenty,80,1,0.04,0.01": ["line 4: n_real", "'twenty'", "a whole number of at least 1"],
    "20,80,0,0.04,0.01": ["line 4: n_synthetic", "80", "0 in generation 0"],
    "20,80,1.5,0.04,0.01": ["line 4: generation", "1.5", "a whole number of at least 0"],
    "20,80,1,nan,0.01": ["line 4: loss", "'nan'", "a number between"],
    "20,80,1,1e300,0.01": ["line 4: loss", "1e+300", "a number between"],
    "20,80,1,0.04,0": ["line 4: stderr", "0", "a positive number"],
    "20,80,1,0.04,inf": ["line 4: stderr", "inf", "a positive number"],
    "20,80,1,0.04,1e-9": ["line 4: stderr", "1e-9", "1/10000 of the largest"],
    "20,80,1,0.04,": ["line 4: stderr", "''", "a positive number"],
    "20,80,1,0.04": ["line 4", "5 values", "holds 4"],
    "20,0,2,0.04,0.01": ["at three different amounts or generations", "at 2"],
}
"""The last line of a table of pilots, and what is said of it."""
REFUSED += [
    ("plan_synthetic_size", f"--pilots bad{k}.csv", [f"bad{k}.csv", *named])
    for k, named in enumerate(BAD_PILOTS.values())
]
FROM = "--pilots pilots.csv"
REFUSED += [
    ("plan_synthetic_size", "--pilots empty.csv", ["pilots", "empty.csv", "n_real, n_synthetic"]),
    ("plan_synthetic_size", "--pilots nowhere.csv", ["pilots", "nowhere.csv", "No such file"]),
    (
        "plan_synthetic_size",
        "--pilots alike.csv",
        ["alike.csv", "two different ratios", "all of 1"],
    ),
    ("plan_synthetic_size", "--pilots wide.csv", ["wide.csv", "column 1", "'N'", "n_real"]),
    ("plan_synthetic_size", f"{FROM} --best-loss 0.2", ["best_loss", "0.2", "at most 0.08"]),
    ("plan_synthetic_size", f"{FROM} --best-loss nan", ["best_loss", "nan", "at most 0.08"]),
    ("plan_synthetic_size", f"{FROM} --n 2.5", ["n", "2.5", "a whole number of at least 1"]),
    ("plan_synthetic_size", f"{FROM} --generation 0", ["generation", "0.0", "at least 1, or inf"]),
    ("plan_synthetic_size", f"{FROM} --max-lam 0", ["max_lam", "0.0", "a positive number"]),
    ("plan_synthetic_size", f"{FROM} --kappa 1", ["kappa", "1.0", "without an error law"]),
    ("plan_synthetic_size", f"{FROM} --out plan", ["out", "left out with --pilots", "--json"]),
    ("plan_synthetic_size", f"{FROM} --resamples 9999", ["resamples", "9999", "at most 2000"]),
    ("plan_synthetic_size", f"{FROM} --json folder", ["folder"]),
    ("plan_synthetic_size", f"{LAW} --json plan.json", ["json", "plan.json", "without --pilots"]),
    ("plan_synthetic_size", f"{LAW} --best-loss 0", ["best_loss", "0.0", "without --pilots"]),
]

JAX = ("jax", "jaxlib", "optax", "flax")
"""What must not be imported before arguments are known to be good."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files that command lines stumble over, in the working folder."""
    texts = {
        "file": "content",
        "empty.toml": "",
        "empty.json": "",
        "empty.csv": "",
        "wide.csv": f"N,eps\n{'1' * 200_000},0.1\n",
        "pilots.csv": f"{PILOTS}20,80,1,0.041,0.01\n",
        "alike.csv": PILOTS.replace("20,0,1", "20,20,2"),
        **{f"bad{k}.csv": f"{PILOTS}{line}\n" for k, line in enumerate(BAD_PILOTS)},
        "deep.json": "[" * 200_000,
        "good.toml": "learner = 'ols'\n",
        "samples.toml": f"samples = {HUGE}\n",
        "digits.json": f'{{"samples": {10**30}}}',
        "symbols.toml": "learner = 'categorical'\nsymbols = 1_000_000_000\n",
        "words.toml": "regime = ['augmnt']\n",
        "others.toml": "learner = 'ols'\nwidth = 32\n",
        "shares.toml": "samples = 64\nalpha = [0.5, 0.3]\n",
        "cluster.toml": "partitions = 'cpu'\n",
        "long.txt": "0.1\n" * 20_000,
        "blank/config.json": "",
        "changed/config.json": '{"preset": {}}',
        "changed/claims.json": '{"claims": [{"name": "drift"}]}',
        "changed/manifest.json": '{"matplotlib": "0", "sources": {}, "figures": {}}',
        "listed/config.json": "[]",
        "listed/claims.json": "[]",
        "folded/config.json/file": "",
        "others/checkpoints/of-another-program.npz": "",
        "folder/file": "",
        "folder.toml/file": "",
        "rows.toml": "real = 'wine'\nlearner = 'normal'\n",
        "t.csv": "x,y\n" + "".join(f"{k},{k % 3}\n" for k in range(60)),
        "file.xls": "",
        "gap.csv": "x,y\n1,2\n3,\n5,6\n7,8\n",
        "na.csv": "x,y\n1,2\n3,4\nNA,6\n7,8\n",
        "word.csv": "x,y\n1,2\nabc,4\n5,6\n7,8\n",
        "inf.csv": "x,y\n1,inf\n3,4\n5,6\n7,8\n",
        "large.csv": "x,y\n1,2\n3,4\n5,6\n1e300,8\n",
        "ragged.csv": "x,y\n1,2\n3,4\n5,6,7\n7,8\n",
        "semi.csv": "x;y\n1;2\n",
        "twice.csv": "x,x\n1,2\n3,4\n5,6\n7,8\n",
        "few.csv": "x,y\n1,2\n3,4\n5,6\n",
        "names.csv": "x,y\n",
        "short.txt": "abc" * 30,
        "poem.txt": "the rows of rows\n" * 30,
        "text.npz": "no archive",
        "model.py": "class Model:\n    def fit(self, rows): ...\n    def sample(self, count): ...\n"
        "class Fits:\n    def fit(self, rows): ...\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "utf16.csv").write_bytes("x,y\n1,2\n".encode("utf-16"))
    np.save(tmp_path / "nan.npy", np.array([[1.0, 2.0], [NAN, 3.0], [1.0, 1.0], [2.0, 2.0]]))
    np.save(tmp_path / "words.npy", np.array(["a", "b", "c", "d"]))
    np.save(tmp_path / "objects.npy", np.array([{}, 1], object), allow_pickle=True)
    np.savez(tmp_path / "uneven.npz", a=np.zeros(5), b=np.zeros(4))
    (tmp_path / "latin.toml").write_bytes("regime = 'größer'".encode("latin-1"))
    digest = {"config.json": "0" * 64, "claims.json": "1" * 64}
    write_json(
        tmp_path / "changed" / "manifest.json",
        {"matplotlib": "0", "sources": digest, "figures": {}},
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def words_of(said):
    """What a message says, out of its box and without the folds of its lines."""
    return " ".join(re.sub(r"[│╭╮╰╯─┃]", " ", said).split())


def path_of(script):
    return (
        ROOT / "icl_stl/bounds/__main__.py" if script == "bounds" else ROOT / f"scripts/{script}.py"
    )


@pytest.fixture
def without_jax(monkeypatch):
    """Whatever needs JAX cannot be imported, whether it was before or not."""
    names = {"jax", "jaxlib", "optax"}
    for name, module in sys.modules.items():
        if name.startswith("icl_stl."):
            used = {v.__name__ for v in vars(module).values() if isinstance(v, ModuleType)}
            names |= {name} if used & {"jax", "jax.numpy"} else set()
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)
        above, _, own = name.rpartition(".")
        monkeypatch.delattr(sys.modules.get(above, icl_stl), own, raising=False)


@pytest.fixture(scope="module", autouse=True)
def _warm():
    """The libraries that need no JAX are imported before anything is timed."""
    for name in (
        "tyro",
        "scipy.optimize",
        "sklearn.datasets",
        *(f"icl_stl.commands.{name}" for name in COMMANDS),
    ):
        import_module(name)


@pytest.mark.parametrize(("script", "line", "named"), REFUSED, ids=lambda v: str(v)[:60])
def test_a_bad_command_line_is_refused_at_once(
    monkeypatch, capsys, folder, without_jax, script, line, named
):
    before = content(folder)
    monkeypatch.setenv("COLUMNS", "2000")
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *shlex.split(line)])
    start = time.process_time()
    with pytest.raises(SystemExit) as refusal:
        runpy.run_path(str(path_of(script)), run_name="__main__")
    assert time.process_time() - start < SECONDS
    said = capsys.readouterr()
    assert refusal.value.code == 2, said
    message = words_of(said.err)
    assert [word for word in named if word not in message] == [], message
    assert said.out == ""
    assert "Traceback" not in message
    assert content(folder) == before


@pytest.mark.parametrize(
    ("script", "line", "shown"),
    [
        ("reproduce_theorem", "--preset tiny", "out must be a writable folder, but runs/tiny is"),
        ("run_loop", "--samples 64", "the run folder must be a writable folder, but runs/loop-"),
        ("run_loop", "--learner ols", "the run folder must be a writable folder, but runs/loop-"),
        ("sweep", "good.toml", "out must be a writable folder, but runs/sweep-good is"),
        ("benchmark", "--only speed", "out must be a writable folder, but runs/benchmark is"),
    ],
)
def test_a_file_where_runs_should_be_is_named(
    monkeypatch, capsys, folder, without_jax, script, line, shown
):
    (folder / "runs").write_text("mine")
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *shlex.split(line)])
    with pytest.raises(SystemExit) as refusal:
        runpy.run_path(str(path_of(script)), run_name="__main__")
    assert refusal.value.code == 2
    assert shown in capsys.readouterr().err
    assert (folder / "runs").read_text() == "mine"


def test_good_command_lines_get_as_far_as_jax(monkeypatch, folder, without_jax):
    """What the test above takes away is what a run would load next."""
    (folder / "new").mkdir()
    for script, line in (
        ("reproduce_theorem", "--preset tiny --out new"),
        ("run_loop", "--samples 64"),
        ("run_loop", "--learner ols"),
        ("sweep", "good.toml --out new"),
    ):
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *shlex.split(line)])
        with pytest.raises(ImportError):
            runpy.run_path(str(path_of(script)), run_name="__main__")


IN_A_PROCESS = [
    ("reproduce_theorem", "--only drfit", "did you mean 'drift'?"),
    ("reproduce_theorem", "--preset quik", "did you mean 'quick'?"),
    ("run_loop", "--learner ols --depth 3", "depth must be left out"),
    ("run_loop", f"--samples {HUGE}", "samples must be smaller"),
    ("sweep", "samples.toml", "samples must be smaller"),
    ("make_figures", "--results changed", "changed/claims.json is not the file"),
    ("plan_synthetic_size", f"{LAW} --delta 0", "delta = 0.0"),
    ("benchmark", "--only sped", "did you mean 'speed'?"),
    ("bounds", changed(GAP, "alpha", "1.5"), "alpha = 1.5"),
]


@pytest.mark.parametrize(("script", "line", "message"), IN_A_PROCESS, ids=lambda v: str(v)[:40])
def test_a_refusal_takes_a_process_no_longer_than_two_seconds(
    environment_without_jax, folder, script, line, message
):
    """Of processor time, start of Python included: a busy machine makes a process wait."""
    called = ["-m", "icl_stl.bounds"] if script == "bounds" else [str(path_of(script))]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *called, *shlex.split(line)],
        env={**environment_without_jax, "COLUMNS": "2000"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert message in words_of(done.stderr)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS


# --- constructors and functions ------------------------------------------------------------------

TASK, NETWORK, TRAINING = LinearRegression(), QueryArchitecture(), Training()
OF_TASK = {"task": TASK, "std": 1.0}
SQUARES = problems.Ols()
SOLVABLE = {"problem": SQUARES, "regime": Replace(), "samples": 9, "generations": 1, "runs": 1}
CONTEXT = {"task": TASK, "predictors": (), "kept": (1,), "generations": 1, "runs": 1}
SIZED = {
    "problem": SQUARES,
    "world": "fixed",
    "sizes": (LoopSize(9, 9),),
    "generations": 1,
    "runs": 1,
}
LAYER = {
    **{"dim": 1, "noise": 1.0, "prior_scale": 1.0, "noises": ((1.0, 1.0),), "start": 1.0},
    **{"alpha": 0.5, "prompts": 1, "generations": 1, "runs": 1},
}
NETWORKS = {
    **{"task": TASK, "architecture": NETWORK, "training": TRAINING, "runs": 1, "restarts": 1},
    **{"search_steps": 1, "prompts": 1, "contexts": (1,), "long_prompts": 1},
}
RATE = {"M": 1, "b": 1, "kappa": 1, "c": 1, "a": 0.5, "delta": 0.05}
PLAN = {"n": 100, "delta": 0.05}


def setting(**options):
    return grids.grid_settings(options)


def planned(**settings):
    return planning.Question(**settings).best(error_law.ErrorLaw(0.0, 0.3, 0.5))


# What is made, with which arguments but one, that one, its bad values, what would be right.
TABLE = [
    (LinearRegression, {}, "dim", [0, -3, 2.5, NAN, True, "2"], "a whole number of at least 1"),
    (LinearRegression, {}, "context", [1, -3, 2.5, NAN, 10.0], "a whole number of at least 2"),
    (LinearRegression, {}, "noise", [0, -1.0, NAN, INF, "loud", True], "a positive number"),
    (LinearRegression, {}, "noise", [10**400], "a positive number"),
    (LinearRegression, {}, "noise", [0.0099], "at least a hundredth of prior_scale (1.0)"),
    (LinearRegression, {}, "tasks", ["cube", "uniform"], "'gaussian' or 'sphere'"),
    (LinearRegression, {}, "prior_scale", [0.0, -1.0, NAN, INF], "a positive number"),
    (LinearRegression, {}, "prior_scale", [0, None], "a positive number"),
    (LinearRegression, {}, "inputs", ["spehre", "Sphere"], "did you mean 'sphere'?"),
    (LinearRegression, {}, "noise_law", ["sphere", ""], "'gaussian' or 'uniform'"),
    (Architecture, {}, "heads", [5, 64], "a divisor of the width (32)"),
    (Architecture, {}, "width", [0, -8, 8.0], "a whole number of at least 1"),
    (Architecture, {}, "depth", [0, -1, 1.5], "a whole number of at least 1"),
    (QueryArchitecture, {}, "kind", ["softmx"], "did you mean 'softmax'?"),
    (QueryArchitecture, {}, "cap", [0, NAN, "1"], "a positive number"),
    (QueryArchitecture, {}, "mlp", [-1], "a whole number of at least 0"),
    (Training, {}, "steps", [0, 1e3, "400"], "a whole number of at least 1"),
    (Training, {}, "batch", [True, 0, -1, 1.5], "a whole number of at least 1"),
    (Training, {}, "learning_rate", [0, -1.0, NAN, INF, "fast"], "a positive number"),
    (Training, {}, "weight_decay", [-0.1, NAN, INF, None], "a number of at least 0"),
    (Training, {}, "warmup", [1.5, -0.1, NAN, "short"], "in [0, 1]"),
    (Training, {}, "average", [1.5, -0.1, NAN], "in [0, 1]"),
    (Training, {}, "prior_rows", [-1, NAN, "all"], "a number of at least 0"),
    (Training, {}, "optimiser", ["adam", 3], "'muon' or 'nadam'"),
    (StabilitySize, {}, "samples", [(60,), (60, 60)], "at least two different sizes"),
    (StabilitySize, {}, "neighbours", [0], "a whole number of at least 1"),
    (StabilitySize, {}, "held_out", [1], "a whole number of at least 2"),
    (ArchitectureSize, {}, "samples", [0, 0.5], "a whole number of at least 1"),
    (ArchitectureSize, {}, "compared", [0, 7], "in 1..6"),
    (ArchitectureSize, {}, "cap", [NAN], "a positive number"),
    (CollapseSizes, {}, "runs", [0], "a whole number of at least 1"),
    (CertificateSizes, {}, "contexts", [(10,), (10, 2.5)], "at least two whole numbers"),
    (ContextSizes, {}, "designs", [2], "a whole number of at least 3"),
    (ConvergenceSize, {}, "samples", [(), (250, 250)], "at least 1 different numbers"),
    (ConvergenceSize, {}, "lams", [(1, 4)], "numbers with 0"),
    (ConvergenceSize, {}, "lams", [(0, -1)], "numbers of at least 0"),
    (ConvergenceSize, {}, "without_real", [1], "True or False"),
    (ConvergenceSize, {}, "replicates", [2], "a whole number of at least 3"),
    (Preset, {"name": "bad"}, "samples", [0, -1, 10.5, NAN], "a whole number of at least 1"),
    (Preset, {"name": "bad"}, "held_out", [1], "a whole number of at least 2"),
    (Preset, {"name": "bad"}, "shares", [(0.5, 0.5)], "different numbers"),
    (Preset, {"name": "bad"}, "generations", [-1], "must be"),
    (Augment, {}, "alpha", [0.0, 1.0, -0.5, NAN, INF], "in (0, 1)"),
    (Augment, {"alpha": 0.5}, "weight", [1.5, -0.1, NAN], "in [0, 1]"),
    (Augment.from_lam, {}, "lam", [0.0, -1.0, NAN, INF], "a positive number"),
    (Replace, {}, "lam", [0.0, NAN], "a positive number"),
    (FreshReal, {}, "lam", [-2.0], "a positive number"),
    (Anchored, {}, "alpha", [1.0, 0.0], "in (0, 1)"),
    (Loops, SOLVABLE, "problem", ["olss", ""], "a problem of icl_stl.problems"),
    (Loops, SOLVABLE, "samples", [0, -1, NAN], "a whole number of at least 1"),
    (Loops, SOLVABLE, "generations", [-1], "at least 0"),
    (Loops, {**SOLVABLE, "observe": "identity"}, "regime", [Replace()], "Augment"),
    (LoopSize, {"samples": 5, "n_syn": 5}, "weight", [2.0, NAN], "in [0, 1]"),
    (LoopSize, {"samples": 5, "n_syn": 0}, "weight", [0.5], "1 if n_syn = 0"),
    (SizedLoops, SIZED, "world", ["fix"], "one of ('fixed', 'fresh', 'same-inputs')"),
    (SizedLoops, SIZED, "sizes", [()], "at least one size"),
    (NeighbouringLoops, SOLVABLE, "coupling", ["maximal"], "'common' unless"),
    (NeighbouringLoops, SOLVABLE, "contraction", [True], "False unless"),
    (LayerPrompts, LAYER, "alpha", [2.0, NAN], "in [0, 1]"),
    (LayerPrompts, LAYER, "noises", [((1.0,),), ((1.0, 1.0), (1.0,))], "equally many labels"),
    (
        PlugInLoops,
        {"problem": problems.InContext(TASK), "samples": 9, "generations": 1, "runs": 1},
        "shares",
        [(0.5, 1.5)],
        "at most 1",
    ),
    (ContextLoops, CONTEXT, "kept", [(99,), (-1,), ()], "whole numbers in 0..8"),
    (ContextLoops, CONTEXT, "relabel_noise", [-1.0, NAN], "a number of at least 0"),
    (CertifiedNetworks, NETWORKS, "label_bound", [0.0, -3.0], "a positive number"),
    (setting, {}, "learner", ["olss", "OLS"], "did you mean 'ols'?"),
    (setting, {}, "regime", ["augmnt"], "did you mean 'augment'?"),
    (setting, {}, "samples", [0, -1, 2.0, "10", True, None], "a whole number"),
    (setting, {}, "samples", [HUGE, 10**15], "smaller"),
    (setting, {}, "samples", [10**30, 10**400], "a whole number of at most 2^63"),
    (setting, {}, "seed", [-1, 2**31, 2**40], "[0, 2^31)"),
    (setting, {}, "noise", [NAN, INF, "a", 10**400], "number"),
    (setting, {}, "steps", [True, 0, 3.0], "a whole number"),
    (setting, {}, "generations", [-1], "at least 0"),
    (setting, {}, "weight_decay", [-1], "at least 0"),
    (setting, {"learner": "gaussian"}, "noise", [0], "a positive number"),
    (setting, {}, "noise", [1e300], "of a size from"),
    (setting, {}, "runs", [5], "left out with the learner 'transformer'"),
    (setting, {"learner": "ols"}, "noise", [1e-300], "of a size from"),
    (setting, {"learner": "categorical"}, "symbols", [10**6, 10**9], "at most 100000"),
    (setting, {"learner": "lsa", "law": "sphere"}, "noise", [1e-4], "at least a hundredth"),
    (members.regime, {}, "words", ["augmnt", "", "mad"], "augment, "),
    (Augment.from_lam, {}, "lam", [1e-20], "more than 1e-16"),
    (learners.bernoulli, {}, "kappa", [-1.0, NAN, INF], "at least 0"),
    (learners.gaussian_mean, {}, "noise", [0.0, -1.0, NAN, INF], "a positive number"),
    (learners.gaussian_mean, {}, "clip", [0.0, NAN], "a positive number"),
    (learners.categorical, {}, "symbols", [1, 0, -2], "a whole number of at least 2"),
    (learners.categorical, {"symbols": 3}, "pseudo_count", [-1.0, NAN, INF], "at least 0"),
    (learners.ols, {}, "noise", [0.0, -1.0, NAN, INF], "a positive number"),
    (learners.ridge, {}, "noise", [0.0, NAN, INF], "a positive number"),
    (learners.ridge, {}, "penalty", [0.0, INF], "a positive number"),
    (learners.linear_attention, {"task": TASK}, "std", [0.0, NAN, INF], "a positive number"),
    (learners.empirical_bayes, {"repeats": 2, "noise": 1.0}, "dim", [0, -1], "at least 1"),
    (learners.shrinkage, {"dim": 2, "repeats": 2}, "noise", [0.0, NAN], "a positive number"),
    (learners.kde, {}, "bandwidth", [0.0, -1.0, NAN, INF, True], "a positive number"),
    (learners.maximum, {}, "inflation", [-1.0, NAN, True], "at least 0"),
    (problems.Kde, {}, "bandwidth", [0.0, NAN], "a positive number"),
    (problems.Kde, {}, "bandwidth", [1e30], "from 1e-15 to 1e+15"),
    (problems.Maximum, {}, "decay", [0.0, -1.0, NAN], "a positive number"),
    (problems.GaussianMean, {}, "foreign", [-1.0, NAN, "1"], "at least 0"),
    (problems.Ols, {}, "foreign", [-1.0, NAN, True], "at least 0"),
    (problems.Bernoulli, {}, "probability", [-0.1, 1.1, NAN], "in [0, 1]"),
    (problems.Categorical, {}, "probabilities", [(), (0.5, 0.4), (1.5, -0.5)], "sum to 1"),
    (problems.Ridge, {}, "penalty", [0.0, -1.0], "a positive number"),
    (problems.LinearAttention, {"law": "gaussian"}, "dim", [0], "a whole number of at least 1"),
    (learners.bernoulli, {}, "kappa", [1e5, True, "2"], "a number of at "),
    (learners.bernoulli, {}, "centre", [NAN, -0.1, 1.5, None], "in [0, 1]"),
    (learners.bernoulli, {}, "injected", [1.5, -2.0], "in [-1, 1]"),
    (learners.bernoulli, {}, "injected", [NAN, INF, False], "a finite number"),
    (learners.gaussian_mean, {}, "noise", [True, "1", None], "a positive number"),
    (learners.gaussian_mean, {}, "noise", [1e-300, 1e300], "of a size from"),
    (learners.gaussian_mean, {}, "clip", [-1.0, -INF, True], "a positive number"),
    (learners.gaussian, {}, "unbiased", [1, None, "no"], "True or False"),
    (learners.categorical, {}, "symbols", [2.5, 3.0, NAN, True], "a whole number of at least 2"),
    (learners.categorical, {"symbols": 3}, "pseudo_count", [1e20], "at most 1e+15"),
    (learners.ridge, {}, "penalty", [1e-300, 1e300], "of a size from"),
    (learners.ridge, {}, "penalty", [NAN, True, -1.0], "a positive number"),
    (learners.ridge, {}, "total", [1, None], "True or False"),
    (
        learners.linear_attention,
        {"task": TASK, "std": 1.0},
        "penalty",
        [-0.1, NAN, INF, True],
        "a p",
    ),
    (
        learners.linear_attention,
        {"task": TASK, "std": 1.0},
        "generator",
        ["all", None],
        "'query' or",
    ),
    (learners.empirical_bayes, {"dim": 2, "noise": 1.0}, "repeats", [2.0, True, NAN], "at least 1"),
    (problems.Bernoulli, {}, "probability", [1e-6, 0.99999], "draws would round it"),
    (problems.Bernoulli, {}, "probability", [True, "half"], "in [0, 1]"),
    (problems.GaussianMean, {}, "noise", [1e-30, 1e30], "from 1e-15 to 1e+15"),
    (problems.Gaussian, {}, "noise", [1e-30, 1e30], "from 1e-15 to 1e+15"),
    (problems.Gaussian, {}, "noise", [0.0, NAN, INF, -1, True], "a positive number"),
    (problems.ClippedMean, {}, "clip", [1e-4, 1e7], "times the noise"),
    (problems.ClippedMean, {}, "clip", [NAN, 0.0, -1.0], "a positive number"),
    (problems.Categorical, {}, "probabilities", [(NAN, 1.0), ("a", "b")], "sum to 1"),
    (problems.Ols, {}, "noise", [1e-30, 1e30], "from 1e-15 to 1e+15"),
    (problems.Ols, {}, "noise", [1e-4], "at least 0.001"),
    (problems.Ols, {}, "dim", [0, 2.5, 2.0, True], "a whole number of at least 1"),
    (problems.Ridge, {}, "noise", [1e-5], "at least 0.001"),
    (problems.LinearAttention, {}, "examples", [0, 2.5, True], "a whole number of at least 1"),
    (problems.LinearAttention, {}, "law", ["sphre", None], "'gaussian' or 'sphere'"),
    (problems.EmpiricalBayes, {}, "noise", [1e-3], "at least a hundredth"),
    (problems.Shrinkage, {}, "prior_scale", [0.0, NAN, True], "a positive number"),
    (problems.Shrinkage, {}, "prior_scale", [1e-30], "from 1e-15 to 1e+15"),
    (LinearRegression, {"prior_scale": 1e-30}, "noise", [1e-30], "from 1e-15 to 1e+15"),
    (Training, {}, "learning_rate", [1e-300], "of a size from"),
    (Training, {}, "shuffle_examples", [1, None], "True or False"),
    (Training, {}, "once", [1, None], "True or False"),
    (QueryArchitecture, {}, "norm", [1, "no"], "True or False"),
    (ArchitectureSize, {}, "compared", [2.5, True], "in 1..6"),
    (ConvergenceSize, {}, "lams", [(0, NAN)], "numbers of at least 0"),
    (setting, {"learner": "gaussian"}, "noise", [1e-30, 1e30], "from 1e-15 to 1e+15"),
    (setting, {"learner": "ols"}, "noise", [1e-5], "at least 0.001"),
    (setting, {"learner": "empirical-bayes"}, "noise", [1e-5], "at least a hundredth"),
    (setting, {"learner": "bernoulli"}, "injected", [3.0], "in [-1, 1]"),
    (setting, {"learner": "bernoulli"}, "kappa", [1e6], "at most 10000"),
    (
        setting,
        {"learner": "ols", "dim": 5, "regime": "replace", "lam": 10.0},
        "samples",
        [4],
        "enough for the 7 rows",
    ),
    (
        bounds.recursive_stability,
        {"n": 9, "kappa": 1, "generation": 1},
        "alpha",
        [-1, 1.5, NAN],
        "[0, 1]",
    ),
    (
        bounds.recursive_stability,
        {"alpha": 0.5, "kappa": 1, "generation": 1},
        "n",
        [0, INF],
        "[1, inf)",
    ),
    (bounds.recursive_stability, {"n": 9, "alpha": 0.5, "kappa": 1}, "generation", [-1, 0.5], ""),
    (
        bounds.recursive_stability,
        {"n": 9, "alpha": 0.5, "generation": 1},
        "kappa",
        ["high"],
        "number",
    ),
    (
        bounds.generalization_gap_at_rate,
        {"n": 9, "alpha": 0.5, "generation": 1, **RATE},
        "delta",
        [0, 1, NAN],
        "(0, 1)",
    ),
    (
        bounds.generalization_gap_at_rate,
        {"n": 9, "alpha": 0.5, "generation": 1, **RATE},
        "M",
        [0, INF],
        "(0, inf)",
    ),
    (bounds.drift_replace, {}, "eps", [[0.1, -0.1], NAN], "[0, inf)"),
    (
        bounds.drift_recursion,
        {"eps": [0.1, 0.1]},
        "weights",
        [[[0, 0.5], [0, 0]]],
        "earlier ones only",
    ),
    (bounds.accumulate_weights, {}, "generations", [-1, 2.5, INF, 10**9], "range"),
    (bounds.anchored_weights, {"alpha": 0.5}, "generations", [10**9], "range"),
    (bounds.accumulate_influence, {"n": 9, "generation": 1}, "kappa", [1e9, 1e300], "range"),
    (bounds.optimal_size, {"n": 9, **RATE}, "objective", ["rsk"], "gap, risk, uniform"),
    (bounds.optimal_size, {"n": 9, **RATE}, "generation", [0, -1], "[1, inf]"),
    (
        bounds.drift_constant_share,
        {"eps0": 0.1, "eps": 0.1, "alpha": 0.5, "generation": 1},
        "provenance",
        ["guess"],
        "certified",
    ),
    (planned, PLAN, "n", [0, NAN], "[1, 1e+100]"),
    (planned, PLAN, "M", [1e308], "1e+100"),
    (planned, PLAN, "objective", ["rsk"], "gap, risk, uniform"),
    (error_law.fit_error_law, {"errors": [0.1, 0.2]}, "sizes", [[0, 5], [NAN, 5]], "at least 1"),
    (
        error_law.resampled_laws,
        {"sizes": [1, 2], "errors": [0.1, 0.1], "stderr": [0.1, 0.1]},
        "count",
        [1, -5],
        "at least 2",
    ),
    (executors.Cluster, {}, "nodes", [0, True, "2"], "a whole number of at least 1"),
    (executors.Cluster, {}, "walltime", ["4h", "4"], "hours:minutes:seconds"),
]

CASES = [
    pytest.param(make, others, name, value, right, id=f"{make.__name__}-{name}-{value!r:.20}")
    for make, others, name, values, right in TABLE
    for value in values
]


@pytest.mark.parametrize(("make", "others", "name", "value", "right"), CASES)
def test_a_bad_argument_is_refused_by_name_and_value(monkeypatch, make, others, name, value, right):
    start = time.process_time()
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r".") as refusal:
        make(**{**others, name: value})
    assert time.process_time() - start < SECONDS
    message = str(refusal.value)
    parts = np.ravel(value).tolist() if isinstance(value, list) else [value]
    shown = [repr(part) for part in parts]
    shown += [f"{part:g}" for part in parts if type(part) in (int, float) and abs(part) < 1e9]
    shown += [repr(float(part)) for part in parts if type(part) is int and abs(part) < 1e9]
    assert right in message
    assert any(word in message for word in shown), message


def test_there_are_enough_of_them():
    assert len(REFUSED) >= 60
    assert len({script for script, *_ in REFUSED}) == 7
    assert len(CASES) >= 60


def test_numbers_of_numpy_are_taken_as_plain_ones(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    task = LinearRegression(np.int64(3), np.int32(5), np.float32(0.5))
    assert task == LinearRegression(3, 5, 0.5)
    assert [type(value) for value in (task.dim, task.context, task.noise)] == [int, int, float]
    training = Training(np.int64(7), weight_decay=np.float64(0.1))
    assert (type(training.steps), type(training.weight_decay)) == (int, float)
    for make in (problems.Ols, problems.EmpiricalBayes):
        make(np.int64(2), noise=np.float32(0.5))
