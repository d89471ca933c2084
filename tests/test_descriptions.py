"""Keys of regimes and learners: one for each, whatever they are called."""

import os
import subprocess
import sys
from dataclasses import dataclass, field, make_dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import trials
from regime_strategies import REGIMES, SAMPLES

from icl_stl import code, learners
from icl_stl.data import load_file
from icl_stl.descriptions import key
from icl_stl.lab.experiments import Experiment, Loops
from icl_stl.lab.results import label, labels_of
from icl_stl.laws.prompts import standard_normal
from icl_stl.problems import PROBLEMS
from icl_stl.regimes import Accumulate, Anchored, Augment, FreshReal, Regime, Replace
from icl_stl.studies.presets import PRESETS


@given(REGIMES, REGIMES)
@settings(max_examples=trials(50, 500))
def test_regimes_have_one_key_exactly_if_they_are_equal(a, b):
    assert (key(a) == key(b)) == (a == b)
    assert key(replace(a)) == key(a)
    runs = [Loops(PROBLEMS["gaussian"](), one, SAMPLES, 2, 5).name for one in (a, b)]
    assert (runs[0] == runs[1]) == (a == b)


@given(st.lists(REGIMES, max_size=6))
@settings(max_examples=trials(50, 500))
def test_labels_are_one_for_each_regime(regimes):
    found = labels_of(regimes, SAMPLES)
    assert list(found.values()) == list(dict.fromkeys(regimes))
    for words, regime in found.items():
        plain = label(regime, SAMPLES)
        alone = sum(label(other, SAMPLES) == plain for other in {*regimes}) == 1
        assert words == (plain if alone else f"{plain}-{key(regime)[:16]}")


def test_numbers_are_one_whatever_type_holds_them():
    for number in (2, 2.0, np.int64(2), np.float32(2), np.float64(2)):
        assert Replace(number) == Replace(2.0)
        assert key(Replace(number)) == key(Replace(2.0))
        assert label(Replace(number), SAMPLES) == "replace-lam-2.0"
        half = Augment(type(number)(number) / np.float64(4))
        assert label(half, SAMPLES) == "augment-0.5"
    assert key(Augment(0.5, 0.0)) == key(Augment(0.5, -0.0))
    assert key(Augment(0.5, 0.1)) != key(Augment(0.5, np.float32(0.1)))
    assert key(True) != key(1)
    assert key(1) != key("1")
    assert key((1, 2)) != key([1, 2])
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    assert key(2**60) != key(2**60 + 1)


def test_labels_say_what_regimes_of_this_package_differ_in():
    labels = [
        label(regime, SAMPLES)
        for regime in (
            *(Replace(), Replace(2.0), Anchored(0.5), Anchored(0.5, 2)),
            *(Augment(0.5, 0.5), FreshReal(), FreshReal(1.0, 0.25), Accumulate(2)),
        )
    ]
    assert labels == [
        *("replace", "replace-lam-2.0", "anchored-0.5", "anchored-0.5-lam-2.0"),
        *("augment-0.5-weight-0.5", "fresh-0.5", "fresh-0.5-weight-0.25"),
        f"accumulate-{1 / 3!r}",
    ]


# --- regimes of others ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Shared(Augment):
    """Shares its name with its parent, and its label."""


def fading(share):
    """A class for each share, all with one name."""

    class Fading(Regime):
        name: ClassVar[str] = "replace"

        def synthetic_size(self, samples):
            return samples

        def share(self, generation):
            return share

    return Fading()


def test_a_regime_of_others_is_never_taken_for_another():
    regimes = [Augment(0.5), Shared(0.5), Replace(), fading(0.0), fading(0.25), fading(0.5)]
    assert len({key(regime) for regime in regimes}) == 6
    assert key(fading(0.25)) == key(fading(0.25))
    assert list(labels_of([Augment(0.5), Shared(0.5), Replace()], SAMPLES)) == [
        f"augment-0.5-{key(Augment(0.5))[:16]}",
        f"augment-0.5-{key(Shared(0.5))[:16]}",
        "replace",
    ]


@dataclass(frozen=True)
class Hidden(Regime):
    name: ClassVar[str] = "hidden"
    share: float = field(repr=False)

    def synthetic_size(self, samples):
        return samples

    @cached_property
    def twice(self):
        return 2 * self.share


def test_a_field_that_is_not_shown_counts():
    assert repr(Hidden(0.1)) == repr(Hidden(0.2))
    assert key(Hidden(0.1)) != key(Hidden(0.2))
    used = Hidden(0.1)
    before = key(used)
    assert used.twice == 0.2  # kept in the object from now on
    assert key(used) == before


class Attribute(Regime):
    """No dataclass: compared by the fields of `Regime`, of which there are none."""

    name: ClassVar[str] = "attribute"

    def __init__(self, share):
        self.share = share


@dataclass(frozen=True)
class Ignored(Hidden):
    note: float = field(default=0.0, compare=False)


SOURCE = np.random.default_rng(0)


def drawn(samples):
    return SOURCE.random(samples)


@pytest.mark.parametrize(
    ("regime", "what"),
    [
        (Attribute(0.1), "share is no field that a Attribute is compared by"),
        (Ignored(0.1), "note is no field that a Ignored is compared by"),
        (Hidden(np.random.default_rng(0)), r"share is a numpy\.random"),
        (Hidden(np.array([None])), "share is an array of objects"),
        (Hidden(drawn), r"share, SOURCE of .* is a numpy\.random"),
    ],
    ids=["attribute", "not compared", "generator", "objects", "global"],
)
def test_what_cannot_be_told_from_others_is_refused_by_name(regime, what):
    with pytest.raises(ValueError, match=f"^regime must be made of .* but {what}"):
        key(regime, "regime")


def test_arrays_and_functions_count_in_full():
    long = np.zeros(2000)
    other = long.copy()
    other[1000] = 1e-9
    assert repr(long) == repr(other)
    values = [long, other, long.astype(np.float32), long.reshape(2, -1), jnp.zeros(3), jnp.ones(3)]
    values += [partial(standard_normal, 1), partial(standard_normal, 2), standard_normal]
    values += [jax.jit(lambda x: x), jax.jit(lambda x: 2 * x), lru_cache(lambda x: x), jnp.where]
    values += [np.add, np.subtract, max, 1 + 2j, b"bytes", "bytes", (), None, jnp]
    assert len({key(Hidden(value)) for value in values}) == len(values)


MODULE = '''
from dataclasses import dataclass
from icl_stl.regimes import Regime
{before}
FACTOR = {factor}

def scaled(x):
    return FACTOR * x

class Mine(Regime):
    """{doc}"""
    name = "mine"

    def synthetic_size(self, samples):
        {comment}
        return scaled(samples)
'''


def test_the_code_of_others_counts_and_what_is_said_of_it_does_not(tmp_path):
    def found(**changes):
        said = {"before": "", "factor": 1, "doc": "A.", "comment": "# One.", **changes}
        names = {"__name__": "no_file"}
        exec(MODULE.format(**said), names)
        return key(names["Mine"]())

    first = found()
    assert found() == found(doc="B.", comment="# Two,\n        # three.", before="\n\n") == first
    assert found(factor=2) != first  # what a function of it refers to
    assert found(comment="samples = samples + 1") != first


class Constants:
    scale = 1.0

    @staticmethod
    def squared(x):
        return Constants.scale * x**2


def through_a_class(x):
    return Constants.squared(x)


def test_code_that_a_function_reaches_in_any_way_counts(monkeypatch, tmp_path):
    """A class that it names, what it imports when called, what it holds, rules of derivatives."""
    before = key(through_a_class)
    monkeypatch.setattr(Constants, "scale", 2.0)
    changed = key(through_a_class)
    monkeypatch.setattr(Constants, "squared", staticmethod(lambda x: x))
    assert len({before, changed, key(through_a_class)}) == 3

    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "of_a_user.py").write_text("S = 1\n")

    def imports(x):
        from of_a_user import S  # noqa: PLC0415

        return S * x

    before = key(imports)
    (tmp_path / "of_a_user.py").write_text("S = 2\n")
    code.digest.cache_clear()
    assert key(imports) != before

    def held(x):
        return held.scale * x

    held.scale = 1.0
    before = key(held)
    held.scale = 2.0
    assert key(held) != before

    def of_type(one):
        return lambda: jnp.full(2, one)

    assert key(of_type(1)) != key(of_type(1.0))

    def ruled(slope):
        found = jax.custom_jvp(jnp.sin)
        found.defjvp(lambda primals, tangents: (jnp.sin(primals[0]), slope * tangents[0]))
        return found

    assert key(ruled(1.0)) == key(ruled(1.0)) != key(ruled(2.0))


USERS = """
import beside
from beside import half
from icl_stl.regimes import Regime

class Mine(Regime):
    def share(self, generation):
        return half(generation) * beside.S
"""


def test_a_class_of_a_users_file_counts_with_what_it_imports(tmp_path, monkeypatch):
    def found(factor=1, by=2, words=""):
        (tmp_path / "mine.py").write_text(USERS)
        beside = f"# {words}\nS = {factor}\ndef half(x):\n    return x / {by}\n"
        (tmp_path / "beside.py").write_text(beside)
        for name in [n for n in sys.modules if n.startswith(("mine_", "beside"))]:
            monkeypatch.delitem(sys.modules, name)
        code.digest.cache_clear()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        return key(load_file(tmp_path / "mine.py").Mine())

    assert found() == found(words="Other words.")
    assert len({found(), found(factor=2), found(by=3)}) == 3


def test_what_jax_makes_of_functions_has_a_key():
    mapped = jax.vmap(lambda x: 2 * x)
    other = jax.vmap(lambda x: 3 * x)
    assert key(mapped) != key(other)


def test_a_key_is_the_same_in_another_process():
    preset = PRESETS["tiny"]
    own = learners.bayes_learner(preset.task)
    ask = """
from icl_stl import learners
from icl_stl.descriptions import key
from icl_stl.studies.presets import PRESETS
from icl_stl.regimes import Anchored
preset = PRESETS["tiny"]
print(key(learners.bayes_learner(preset.task)), key(Anchored(0.5)), key(preset))
"""
    path = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "7"}
    said = subprocess.run(
        [sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert said == [key(own), key(Anchored(0.5)), key(preset)]


def test_every_learner_has_a_key_of_its_own():
    preset = PRESETS["tiny"]
    made = [problem() for problem in PROBLEMS.values()]
    transformer = partial(
        learners.adam_transformer, preset.task, preset.architecture, preset.training
    )
    own = [transformer(), transformer(plug_in=True), learners.bayes_learner(preset.task)]
    keys = [key(learner, "learner") for learner in (*own, *made)]
    assert len({*keys}) == len(keys)
    assert key(transformer()) == keys[0]


def test_experiments_are_described_field_by_field():
    """Two whose fields print alike, and two that are named alike, have names of their own."""
    kind = make_dataclass(
        "Kind", [("runs", int), ("data", object)], bases=(Experiment,), frozen=True
    )
    kind.words = "some, words"
    names = [kind(1, "1").name, kind(1, (1,)).name, kind(1, ("1",)).name]
    assert len({*names}) == 3
    assert all(name.startswith("some-words-") for name in names)
