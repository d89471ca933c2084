import itertools
import json
from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_stl import code, devices
from icl_stl.config import Architecture, Training
from icl_stl.lab import runs
from icl_stl.lab.experiments import Loops
from icl_stl.lab.results import Failure
from icl_stl.laws import LinearRegression
from icl_stl.loops import first_generation, generation_keys
from icl_stl.measure import measure_generation
from icl_stl.problems import Gaussian
from icl_stl.regimes import Anchored, Augment, RealOnly, Replace
from icl_stl.studies import Evidence, judge, laboratory
from icl_stl.studies.claims import CLAIMS
from icl_stl.studies.collapse.experiments import Regeneration
from icl_stl.studies.presets import Preset, job_of

SEED = 3
PRESET = Preset(
    "smaller than tiny",
    task=LinearRegression(dim=1, context=2),
    architecture=Architecture(depth=1, width=4, heads=1),
    training=Training(steps=3, batch=2),
    samples=4,
    generations=3,
    replicates=3,  # not a multiple of the two devices
    shares=(0.5,),
    held_out=4,
)
JOB = job_of(PRESET)
REGIMES = (RealOnly(), *PRESET.regimes)
LABELS = ["real-only", "augment-0.5", "replace"]
PIECES = 1 + 3 * PRESET.generations
"""Generation 0 and the generations of three regimes, all that is ever computed."""


class StoppedError(Exception):
    pass


def nothing(*arguments):
    """Reports and watches nothing."""


def drawn(replicates=PRESET.replicates, seed=SEED):
    return runs.draw_replicates(JOB.problem, PRESET.samples, replicates, seed)


def stop_before(piece):
    """A report that stops the run before this piece of work, such as `replace, generation 2`."""

    def report(text, done, total):
        if text == piece:
            raise StoppedError

    return report


def identity_of(preset=PRESET, seed=SEED):
    return runs.identity({"preset": asdict(preset)}, preset.replicates, seed)


def folder_of(path, seed=SEED, preset=PRESET, fresh=False):
    return runs.Folder(path, identity_of(preset, seed), fresh=fresh)


def run(path, *, preset=PRESET, regimes=REGIMES, report=nothing, watch=nothing):
    """Run the loops in a folder."""
    folder = folder_of(path, preset=preset)
    return runs.run_loops(
        job_of(preset), regimes, seed=SEED, folder=folder, report=report, watch=watch
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder and the loops of a run that nothing stopped."""
    path = tmp_path_factory.mktemp("whole")
    return path, run(path)


def stored(path):
    """All arrays in the newest checkpoints of a folder."""
    return {
        file.name: dict(np.load(file))
        for file in sorted((path / "checkpoints").glob("*.npz"))
        if "previous" not in file.name
    }


def assert_same(actual, expected):
    """Bit for bit."""
    assert list(actual) == list(expected)
    for name, arrays in expected.items():
        own = getattr(actual[name], "observations", actual[name])
        arrays = getattr(arrays, "observations", arrays)  # noqa: PLW2901
        assert list(own) == list(arrays)
        for key, values in arrays.items():
            assert own[key].dtype == values.dtype
            np.testing.assert_array_equal(own[key], values)


# --- what a run gives ----------------------------------------------------------------------------


def test_a_run_gives_every_generation_of_every_regime(whole):
    _, loops = whole
    assert list(loops) == LABELS
    count, length, prefixes = PRESET.replicates, PRESET.generations + 1, 2
    for result in loops.values():
        assert result["drift"].shape == (count, length, prefixes)
        assert result["excess_squared_risk"].shape == (count, length, PRESET.task.context)
        assert result["risk"].shape == (count, length)
        assert result.failures == ()
        assert np.unique(result["kl"][..., -1]).size == count * length


def test_generation_0_is_shared_by_all_regimes_and_what_one_measures_directly(whole):
    _, loops = whole
    learner = JOB.problem.learner
    for result in loops.values():
        for key, values in result.observations.items():
            np.testing.assert_array_equal(values[:, 0], loops["replace"].observations[key][:, 0])
    replicates = drawn()

    @jax.jit
    def measure(key, truth, real, held_out):
        generation = first_generation(key, learner, real)
        key_observe = generation_keys(key, 0).observe
        return measure_generation(
            PRESET.task, learner, held_out, key_observe, generation, real_share=1.0
        )

    for r in range(PRESET.replicates):
        measured = measure(*jax.tree.map(lambda a, r=r: a[r], replicates))
        for name in ("kl", "risk", "training_risk", "implied_task_variance"):
            found = loops["replace"][name][r, 0]
            np.testing.assert_allclose(found, getattr(measured, name), rtol=2e-4, atol=2e-5)
        for name in ("drift", "eps"):
            for index, suffix in enumerate(("", "_variance")):
                found = loops["replace"][name + suffix][r, 0]
                expected = getattr(measured, name)[index]
                np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


def test_beside_the_real_law_alone_the_one_step_error_is_the_drift(whole):
    """The same numbers, not another estimate; the claim about the drift rests on it."""
    _, loops = whole
    for suffix in ("", "_variance"):
        alone = loops["real-only"]
        np.testing.assert_array_equal(alone[f"eps{suffix}"], alone[f"drift{suffix}"])
        other = loops["replace"]
        assert not np.any(other[f"eps{suffix}"][:, 1:] == other[f"drift{suffix}"][:, 1:])


def test_replicates_are_different_and_more_of_them_keep_the_first_ones():
    few, more = drawn(), drawn(replicates=4)
    assert len(np.unique(few.real.ys)) == PRESET.replicates * PRESET.samples * PRESET.task.context
    for own, other in zip(
        jax.tree.leaves(few._replace(key=jax.random.key_data(few.key))),
        jax.tree.leaves(more._replace(key=jax.random.key_data(more.key))),
        strict=True,
    ):
        np.testing.assert_array_equal(own, other[: PRESET.replicates])
    other_seed = drawn(seed=SEED + 1)
    assert not np.isin(few.real.ys, other_seed.real.ys).any()


def test_a_shorter_run_is_the_beginning_of_a_longer_one(whole, tmp_path):
    shorter = run(tmp_path, preset=replace(PRESET, generations=1))
    for name, result in whole[1].items():
        assert shorter[name].generations == 1
        for key, values in result.observations.items():
            np.testing.assert_array_equal(shorter[name].observations[key], values[:, :2])


def test_fewer_regimes_give_the_same_numbers(whole, tmp_path):
    alone = run(tmp_path, regimes=[Replace()])
    assert_same(alone, {"replace": whole[1]["replace"]})
    assert_same(run(tmp_path), whole[1])


# --- stopped and started again -------------------------------------------------------------------


@pytest.mark.parametrize(
    "piece",
    [
        "drawing real sets",
        "all regimes, generation 0",
        "real-only, generation 1",
        "real-only, generation 2",
        "augment-0.5, generation 1",
        "replace, generation 3",
        "measured",
    ],
)
def test_a_stopped_run_started_again_ends_with_the_same_numbers(whole, tmp_path, piece):
    with pytest.raises(StoppedError):
        run(tmp_path, report=stop_before(piece))
    pieces = []
    again = run(tmp_path, report=lambda text, done, total: pieces.append((text, done, total)))
    assert_same(again, whole[1])
    assert_same(stored(tmp_path), stored(whole[0]))
    work = [text for text, _, _ in pieces if "generation" in text]
    assert work == [] if piece == "measured" else piece in ("drawing real sets", work[0])
    assert [done for text, done, _ in pieces if "generation" in text] == [
        *range(PIECES - len(work), PIECES)
    ]
    assert pieces[-1] == ("measured", PIECES, PIECES)


def test_stopping_after_every_single_generation(whole, tmp_path):
    """What is watched grows by one generation at a time, and every one is computed once."""
    starts = itertools.count(1)
    while True:
        started, work = next(starts), []

        def report(text, done, total, work=work):
            if work and "generation" in text:
                raise StoppedError
            work += [text] if "generation" in text else []

        try:
            assert_same(run(tmp_path, report=report), whole[1])
            break
        except StoppedError:
            assert len(work) == 1
    assert started == PIECES
    assert_same(stored(tmp_path), stored(whole[0]))


def test_an_error_of_the_watcher_loses_nothing(whole, tmp_path):
    seen = []

    def watch(result):
        seen.append((result.label, result.generations))
        if seen[-1] == ("augment-0.5", 1):
            raise StoppedError

    with pytest.raises(StoppedError):
        run(tmp_path, watch=watch)
    assert seen == [*(("real-only", i) for i in range(4)), ("augment-0.5", 0), ("augment-0.5", 1)]
    assert_same(run(tmp_path), whole[1])


# --- devices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_one_device_and_two_give_the_same_bits(monkeypatch, count):
    def one(key, scale):
        steps = jax.random.normal(key, (50, 3))
        return {"a": jnp.cumsum(jnp.sin(steps) * scale, axis=0)[-1], "b": steps[0, 0] * scale}

    keys = jax.random.split(jax.random.key(0), count)
    scale = jnp.array(0.3)
    every = jax.devices()
    assert len(every) == 2
    two = devices.over_replicates(one, shared=1)(keys, scale)
    monkeypatch.setattr(jax, "devices", lambda: every[:1])
    single = devices.over_replicates(one, shared=1)(keys, scale)
    used = min(2, count)
    assert two["a"].shape == (count, 3)
    if count % used == 0:
        assert len(two["a"].sharding.device_set) == used
    assert single["a"].sharding.device_set == {every[0]}
    for name, values in two.items():
        np.testing.assert_array_equal(values, single[name])
        assert np.unique(values).size == values.size


def test_loops_are_the_same_on_one_device(whole, monkeypatch, assert_close):
    """Up to rounding, because the compiler may fuse a program of other shapes otherwise."""
    replicates, count = drawn(), PRESET.replicates
    start = runs.before_generation_0(JOB.problem, RealOnly(), replicates, 0)
    key = np.asarray(jax.random.key_data(replicates.key))
    on_host = jax.tree.map(np.asarray, replicates._replace(key=key))
    every = jax.devices()
    monkeypatch.setattr(jax, "devices", lambda: every[:1])
    moved = on_host._replace(key=jax.random.wrap_key_data(jnp.asarray(key)))
    runs.generation_step.cache_clear()  # a program belongs to its devices
    program, n_syn = runs.program_of(JOB, RealOnly(), 4)
    numbers = runs.Numbers(np.float32(1), np.int32(4), np.int32(n_syn)).each(count)
    step = runs.generation_step(JOB.problem, program)
    (params, _), observation = step(moved, start, numbers, np.int32(0))
    runs.generation_step.cache_clear()
    assert jax.tree.leaves(params)[0].sharding.device_set == {every[0]}
    expected = whole[1]["real-only"].observations
    assert_close(observation["drift"], expected["drift"][:, 0])
    assert_close(observation["kl"], expected["kl"][:, 0])
    assert_close(observation["training_loss"], expected["training_loss"][:, 0])


# --- the folder ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": SEED + 1}, "seed: 3 -> 4"),
        ({"preset": replace(PRESET, samples=8)}, "preset.samples: 4 -> 8"),
        (
            {"preset": replace(PRESET, task=replace(PRESET.task, noise=0.25))},
            "preset.task.noise: 0.5 -> 0.25",
        ),
    ],
)
def test_a_folder_of_other_settings_is_refused_and_says_what_differs(tmp_path, changes, message):
    folder_of(tmp_path).save("replace", {"a": np.arange(3)})
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(ValueError, match="made by another") as refusal:
        folder_of(tmp_path, **changes)
    assert f"({message})" in str(refusal.value)
    assert "--fresh" in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)
    assert (tmp_path / "config.json").read_bytes() == before
    kept = folder_of(tmp_path).load("replace")
    np.testing.assert_array_equal(kept["a"], np.arange(3))


def test_a_folder_whose_configuration_cannot_be_read_is_refused(tmp_path):
    folder_of(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config"):
        folder_of(tmp_path)
    folder_of(tmp_path, fresh=True)
    folder_of(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [{"versions": {"jax": "0"}}, {"platform": "gpu"}, {"source": "0"}, {"jax": {}}, {"format": 1}],
)
def test_other_versions_and_platforms_are_other_configurations(tmp_path, changed):
    same = identity_of()
    runs.Folder(tmp_path, {**same, **changed})
    with pytest.raises(ValueError, match=next(iter(changed))):
        folder_of(tmp_path)


SETTINGS = {
    "enable_x64": True,
    "default_matmul_precision": "bfloat16",
    "default_prng_impl": "rbg",
    "threefry_partitionable": False,
    "numpy_dtype_promotion": "strict",
    "disable_most_optimizations": False,
    "random_seed_offset": 3,
    "softmax_custom_jvp": True,  # of those that are not named
}


NEWER = pytest.param(
    *("use_hlo_logistic_lowering", True),
    marks=pytest.mark.skipif(
        "jax_use_hlo_logistic_lowering" not in jax.config.values, reason="of newer versions of JAX"
    ),
)


@pytest.mark.parametrize(("name", "value"), [*SETTINGS.items(), NEWER])
def test_a_setting_of_jax_that_changes_numbers_is_another_configuration(tmp_path, name, value):
    folder_of(tmp_path)
    before = jax.config.values[f"jax_{name}"]
    jax.config.update(f"jax_{name}", value)
    try:
        with pytest.raises(ValueError, match=rf"jax\.({name}|others): "):
            folder_of(tmp_path)
    finally:
        jax.config.update(f"jax_{name}", before)
    folder_of(tmp_path)


def test_settings_of_this_thread_and_of_the_compiler_count(tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS")
    folder_of(tmp_path)
    with jax.enable_x64(True), pytest.raises(ValueError, match=r"jax\.enable_x64: False -> True"):
        folder_of(tmp_path)
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    folder_of(tmp_path)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    with pytest.raises(ValueError, match=r"jax\.XLA_FLAGS: .*fast_math"):
        folder_of(tmp_path)


def test_settings_that_change_no_number_do_not_count(tmp_path):
    folder_of(tmp_path)
    for name, value in (("log_compiles", True), ("traceback_filtering", "off")):
        before = jax.config.values[f"jax_{name}"]
        jax.config.update(f"jax_{name}", value)
        try:
            folder_of(tmp_path)
        finally:
            jax.config.update(f"jax_{name}", before)


# --- what a checkpoint is ------------------------------------------------------------------------


@dataclass(frozen=True)
class Again(Augment):
    """Named as its parent is, and labelled so; other rows."""

    reuses_inputs: ClassVar[bool] = True


def test_regimes_with_one_label_are_all_run_and_none_is_taken_for_another(tmp_path):
    # Of the Bayes predictor too it is measured what it is trained on.
    bayes = replace(JOB, generations=1, problem=replace(JOB.problem, architecture=None))

    def run(path, regimes):
        return runs.run_loops(bayes, regimes, seed=SEED, folder=folder_of(path))

    regimes = [Replace(1.0), Replace(2.0), Anchored(0.5, 1), Anchored(0.5, 2)]
    regimes += [Augment(0.5), Again(0.5)]
    together = run(tmp_path / "together", regimes)
    assert [result.regime for result in together.values()] == regimes
    assert [result.label for result in together.values()] == [
        *("replace", "replace-lam-2.0", "anchored-0.5", "anchored-0.5-lam-2.0"),
        *("augment-0.5", "augment-0.5"),
    ]
    risks = [result["training_risk"][:, 1].tolist() for result in together.values()]
    for first, second in ((0, 1), (2, 3), (4, 5)):
        assert not set(risks[first]) & set(risks[second])
    for k, (name, result) in enumerate(together.items()):
        (found,) = run(tmp_path / "in turn", regimes[k : k + 1]).values()
        assert_same({name: found}, {name: result})


def test_checkpoints_of_another_seed_or_learner_are_refused(whole):
    path, _ = whole
    folder = folder_of(path)
    bayes = replace(JOB, problem=replace(JOB.problem, architecture=None))
    for job, seed, what in (
        (JOB, SEED + 1, "seed: 3 -> 4"),
        (bayes, SEED, "problem: "),
        (replace(JOB, replicates=2), SEED, "sizes: "),
    ):
        with pytest.raises(ValueError, match=f"generation-0.npz was made by something .*{what}"):
            runs.run_loops(job, [Replace()], seed=seed, folder=folder)


@dataclass(frozen=True)
class Unfit(Replace):
    note: float = field(default=0.0, compare=False)


def test_a_regime_that_cannot_be_told_from_others_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ValueError, match=r"^regime must be made of .* note is no field"):
        run(tmp_path, regimes=[Unfit()])
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_experiments_of_other_code_are_made_again_alone(tmp_path, monkeypatch):
    """And it is said; what the code of another kind made is kept."""
    digests = {
        "icl_stl.lab.solvable": "a",
        "icl_stl.studies.collapse.loops": "b",
        "icl_stl.lab.runs": "c",
    }
    monkeypatch.setattr(code, "digest", lambda module, **_: digests[module])
    called = []

    def run_of(experiment, seed):
        called.append(experiment.made_in)
        return {"seen": np.arange(3.0)}

    for kind in (Loops, Regeneration):
        monkeypatch.setattr(kind, "run", run_of)
    wanted = [Loops(Gaussian(), Replace(), 4, 1, 2), Regeneration(2, 1, 0.5, 1.0, 4, 1, (0.5,), 2)]

    def run(seed=SEED):
        called.clear()
        folder = folder_of(tmp_path)
        laboratory.run_experiments(
            wanted, seed, kept=lambda name, by: folder.kept(name, by, again=True)
        )
        return sorted(called)

    assert run() == ["icl_stl.lab.solvable", "icl_stl.studies.collapse.loops"]
    assert run() == []
    digests["icl_stl.studies.collapse.loops"] = "changed"
    with pytest.warns(UserWarning, match=r"npz was made by .*code: 'b' -> 'changed'.* made again"):
        assert run() == ["icl_stl.studies.collapse.loops"]
    assert run() == []
    with pytest.warns(UserWarning, match="seed: 3 -> 4"):
        assert run(SEED + 1) == ["icl_stl.lab.solvable", "icl_stl.studies.collapse.loops"]
    digests["icl_stl.lab.runs"] = "changed"
    with pytest.raises(ValueError, match=r"source: 'c' -> 'changed'.*--fresh"):
        run()


def test_fresh_starts_anew(tmp_path):
    folder_of(tmp_path).save("replace", {"a": np.arange(3)})
    assert folder_of(tmp_path, fresh=True).load("replace") is None
    folder_of(tmp_path).save("replace", {"a": np.arange(3)})
    folder = folder_of(tmp_path, seed=SEED + 1, fresh=True)
    assert folder.load("replace") is None
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == SEED + 1


def cut_short(content):
    return content[: len(content) // 2]


def emptied(content):
    return b""


def a_bit_flipped(content):
    middle = len(content) // 3
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [cut_short, emptied, a_bit_flipped])
@pytest.mark.parametrize("name", ["replace", "generation-0"])
def test_a_damaged_checkpoint_is_left_out_and_the_run_ends_the_same(whole, tmp_path, damage, name):
    with pytest.raises(StoppedError):
        run(tmp_path, report=stop_before("replace, generation 3"))
    (path,) = (p for p in (tmp_path / "checkpoints").glob(f"{name}*") if ".previous" not in p.name)
    path.write_bytes(damage(path.read_bytes()))
    work = []
    with pytest.warns(UserWarning, match=rf"{path.name} is damaged and is left out"):
        again = run(tmp_path, report=lambda text, done, total: work.append(text))
    expected = {
        "replace": ["replace, generation 2", "replace, generation 3"],  # from the one before
        "generation-0": ["all regimes, generation 0", "replace, generation 3"],
    }
    assert [text for text in work if "generation" in text] == expected[name]
    assert_same(again, whole[1])
    assert_same(stored(tmp_path), stored(whole[0]))


# --- training that fails -------------------------------------------------------------------------


def test_a_replicate_that_diverges_is_reported_and_left_out(whole, tmp_path, monkeypatch):
    """In replicate 1 the training of generation 2 of `replace` breaks down at step 2."""
    add = runs.FollowedLoop.add

    def break_down(self, params, observation):
        of_replace = self.kept.load.args[0].startswith("replace")
        if of_replace and self.generations == 2:
            bad = jnp.array([False, True, False])
            observation = observation | {
                "drift": jnp.where(bad[:, None], jnp.nan, observation["drift"]),
                "diverged_at": jnp.where(bad, 2, observation["diverged_at"]),
            }
        add(self, params, observation)

    monkeypatch.setattr(runs.FollowedLoop, "add", break_down)
    loops = run(tmp_path)
    assert loops["replace"].failures == (Failure("replace", 1, 2, 2, "diverged_at"),)
    assert loops["augment-0.5"].failures == ()
    assert_same({"augment-0.5": loops["augment-0.5"]}, {"augment-0.5": whole[1]["augment-0.5"]})
    entry = judge(CLAIMS["drift"], Evidence(PRESET, loops))
    assert entry["failed"] == ["replace, replicate 1: not finite in generation 2, training step 2"]
    assert entry["replicates"] == 2
    assert entry["verdict"] == "inconclusive"  # two are too few


def test_a_learning_rate_beyond_reason_is_a_failure_with_generation_and_step():
    """The learner itself says where its loss stopped being finite."""
    wild = replace(PRESET, training=replace(PRESET.training, learning_rate=1e30))
    learner = job_of(wild).problem.learner
    rows = jax.tree.map(lambda a: a[0], drawn().real)
    fitted = jax.jit(learner.fit)(jax.random.key(0), rows, jnp.full(4, 0.25))
    assert 0 < fitted.diverged_at < PRESET.training.steps


# --- the rest ------------------------------------------------------------------------------------


def test_implied_variances_by_generator_are_found_once(whole):
    path, _ = whole
    folder = folder_of(path)
    found = runs.implied_variances_by_generator(JOB, seed=SEED, folder=folder, count=500)
    names = ["transformer_predictive", "transformer_plug_in", "bayes_predictive", "bayes_plug_in"]
    assert list(found) == names
    for values in found.values():
        assert values.shape == (PRESET.replicates,)
        assert np.isfinite(values).all()
    assert (found["bayes_plug_in"] < found["bayes_predictive"]).all()
    again = runs.implied_variances_by_generator(JOB, seed=SEED, folder=folder, count=500)
    assert_same({"": again}, {"": found})


def test_differences_name_where():
    old = {"a": {"b": 1, "c": [1, 2]}, "d": None}
    new = {"a": {"b": 2, "c": [1, 2]}, "e": "x"}
    assert runs.differences(old, new) == ["a.b: 1 -> 2", "e: None -> 'x'"]
    assert runs.differences(old, old) == []
