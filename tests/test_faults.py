"""Faults: killed at any moment, full disks, damaged files, two processes in one folder.

Whatever happens, a run started again ends with the numbers of one that nothing disturbed, or says
what is wrong with which file: never another number.
"""

import json
import os
import re
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from reference import trials

import icl_stl
from icl_stl import code
from icl_stl.commands import figures, reproduce
from icl_stl.lab import results, runs
from icl_stl.lab.sweeps import sweeps
from icl_stl.lab.sweeps.grids import grid_settings
from icl_stl.studies.claims import CLAIMS
from icl_stl.studies.presets import PRESETS

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
SECONDS = 600
"""Far more than anything here needs, so that only what hangs is stopped."""

KILLS = trials(4, 100)
"""How often runs are killed at random."""

MAIN, LOOP, SOLVABLE = "reproduce_theorem", "run_loop", "run_loop of ols"
EXPERIMENTS = "reproduce_theorem of experiments"
BAYES = "--learner bayes --samples 64 --generations 2 --runs 2 --dim 1 --context 2 --held-out 16"
OLS = "--learner ols --samples 20 --generations 3 --runs 400"
JOBS = {
    MAIN: "reproduce_theorem --preset tiny --only drift --out out",
    EXPERIMENTS: "reproduce_theorem --preset tiny --only convergence --out out",
    LOOP: f"run_loop {BAYES} --json out.json",
    SOLVABLE: f"run_loop {OLS} --json out.json",
}

# --- running -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment(environment, tmp_path_factory):
    """One cache of compiled programs for all runs here, with what other tests have compiled."""
    home = tmp_path_factory.mktemp("cache") / "home"
    shutil.copytree(environment["XDG_CACHE_HOME"], home)
    return {**environment, "XDG_CACHE_HOME": str(home)}


LIMITED = """
import os, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
"""Becomes a script that cannot write a file of more bytes. Forking beside JAX would warn."""


def start(job, cwd, environment, limit=None, **options):
    name, *arguments = JOBS[job].split()
    cwd.mkdir(exist_ok=True)
    before = [] if limit is None else ["-c", LIMITED, str(limit)]
    return subprocess.Popen(
        [sys.executable, *before, SCRIPTS / f"{name}.py", *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process):
    out, err = process.communicate(timeout=SECONDS)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


OF_THE_TIME = re.compile(rb"took [\d.]+ seconds|[0-9a-f]{64}")
"""What a page says of how long its run took, and digests, one of which is of that."""


def kept_in(cwd):
    """All that a run leaves, by name: bytes, arrays, claims; but for the time that it took."""
    found = {}
    for path in sorted(cwd.rglob("*")):
        name = str(path.relative_to(cwd))
        temporary = path.name.startswith(".")  # of a process that was killed while it wrote
        if path.is_dir() or temporary or ".previous." in name:
            continue
        if path.suffix == ".npz":
            with np.load(path) as stored:
                found[name] = {
                    key: (a.dtype.str, a.shape, a.tobytes()) for key, a in stored.items()
                }
        elif path.name in ("claims.json", "manifest.json"):
            value = json.loads(path.read_text())
            value.pop("seconds", None)
            value.get("sources", {}).pop("claims.json", None)  # a digest of the seconds too
            found[name] = value
        elif path.suffix == ".html":
            found[name] = OF_THE_TIME.sub(b"", path.read_bytes())
        else:
            found[name] = path.read_bytes()
    return found


class Undisturbed(NamedTuple):
    """What runs leave that nothing disturbed, and the processor time that they take, warm."""

    folders: dict[str, Path]
    seconds: dict[str, float]
    kept: dict[str, dict]


def processor_time(process):
    """Of a running process, in seconds: however busy the machine is, it says how far a run is."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def killed(process, when):
    """Kill a process as soon as `when()` is true; the processor time it had, and its status."""
    spent = 0.0
    limit = time.monotonic() + SECONDS
    while process.poll() is None:
        assert time.monotonic() < limit
        spent = max(spent, processor_time(process))
        if when(spent):
            process.kill()
            break
        time.sleep(0.002)
    process.communicate()
    return spent, process.returncode


@pytest.fixture(scope="module")
def undisturbed(environment, tmp_path_factory):
    base = tmp_path_factory.mktemp("undisturbed")
    seconds = {}

    def twice(job):
        cold, warm = (base / f"{job}, {when}" for when in ("cold", "warm"))
        done = finish(start(job, cold, environment))
        assert done.returncode == 0, done.stderr
        seconds[job], status = killed(start(job, warm, environment), lambda spent: False)
        assert status == 0
        assert kept_in(cold) == kept_in(warm)
        return warm

    with ThreadPoolExecutor(2) as threads:
        folders = dict(zip(JOBS, threads.map(twice, JOBS), strict=True))
    return Undisturbed(folders, seconds, {job: kept_in(cwd) for job, cwd in folders.items()})


def test_an_undisturbed_run_leaves_no_lock_and_nothing_half_written(undisturbed):
    for cwd in undisturbed.folders.values():
        names = {path.name for path in cwd.rglob("*")}
        assert "lock" not in names
        assert not [name for name in names if name.startswith(".")]
        assert [name for name in names if name.endswith(".npz")]


# --- killed --------------------------------------------------------------------------------------


def test_an_experiment_killed_between_generations_goes_on_with_the_next(
    environment, undisturbed, tmp_path
):
    """What is finished of it is in the folder until all of it is."""
    cwd = tmp_path / "killed"
    unfinished = lambda spent=0: [*cwd.glob("out/checkpoints/*-unfinished.npz")]  # noqa: E731
    _, status = killed(start(EXPERIMENTS, cwd, environment), unfinished)
    assert status == -signal.SIGKILL
    before = " ".join(path.name for path in unfinished())
    assert before
    done = finish(start(EXPERIMENTS, cwd, environment))
    assert done.returncode == 0, done.stderr
    told = re.findall(r"experiments: (.*), generation (\d+)\n", done.stderr)
    of = ["-".join(words.replace(",", "").split()) for words, _ in told]
    again = [int(i) for name, (_, i) in zip(of, told, strict=True) if f"-{name}-" in before]
    assert told
    assert 0 not in again
    assert kept_in(cwd) == undisturbed.kept[EXPERIMENTS]


def test_runs_killed_at_random_moments_end_with_the_same_numbers(
    environment, undisturbed, tmp_path
):
    """Two at a time: there are two cores."""
    generator = np.random.default_rng(0)
    jobs = [[MAIN, SOLVABLE, LOOP, EXPERIMENTS][k % 4] for k in range(KILLS)]
    moments = [float(generator.uniform(0, undisturbed.seconds[job])) for job in jobs]

    def trial(number):
        job, cwd = jobs[number], tmp_path / str(number)
        first = start(job, cwd, environment)
        _, status = killed(first, lambda spent: spent > moments[number])
        done = finish(start(job, cwd, environment))
        assert done.returncode == 0, done.stderr
        same = kept_in(cwd) == undisturbed.kept[job]
        shutil.rmtree(cwd)
        return status, same

    with ThreadPoolExecutor(2) as threads:
        ended = list(threads.map(trial, range(KILLS)))
    assert [number for number, (_, same) in enumerate(ended) if not same] == []
    killed_ones = sum(status == -signal.SIGKILL for status, _ in ended)
    assert killed_ones >= KILLS - max(1, KILLS // 5)


BETWEEN = ["claims.json", "checkpoints/replace-*.npz", "loops.csv", "drift.svg", "quality.svg"]


@pytest.mark.parametrize("name", trials(BETWEEN[:1], BETWEEN))
def test_a_main_job_killed_between_two_files_ends_with_the_same_numbers(
    environment, undisturbed, tmp_path, name
):
    """Between the table, the claims, the figures and the manifest that vouches for them."""
    out = tmp_path / "out"
    first = start(MAIN, tmp_path, environment)
    assert killed(first, lambda spent: any(out.glob(name)))[1] == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    with pytest.raises(ValueError, match=r"manifest\.json"):
        figures.draw(out, False)
    done = finish(start(MAIN, tmp_path, environment))
    assert done.returncode == 0, done.stderr
    assert kept_in(tmp_path) == undisturbed.kept[MAIN]


# --- files of other times, full disks, compiled programs -----------------------------------------


def test_times_of_files_do_not_matter(environment, undisturbed, tmp_path):
    """Nor is anything made again where what is newer looks older."""
    cwd = shutil.copytree(undisturbed.folders[LOOP], tmp_path / "again")
    moved = {path: 2**31 - 1 if ".previous." in path.name else 0 for path in cwd.rglob("*")}
    assert len(set(moved.values())) == 2
    for path, when in moved.items():
        os.utime(path, (when, when))
    done = finish(start(LOOP, cwd, environment))
    assert done.returncode == 0, done.stderr
    assert kept_in(cwd) == undisturbed.kept[LOOP]
    assert "measured" in done.stderr
    assert "generation" not in done.stderr  # all of them are taken from the folder


def test_a_full_disk_is_said_and_the_run_goes_on_when_there_is_room(
    environment, undisturbed, tmp_path
):
    trials = {
        "no room for the configuration": (SOLVABLE, "config.json"),
        "for a checkpoint": (LOOP, f"augment-0.5-{'?' * 16}.npz"),
        "for a figure": (MAIN, "in_context_error.svg"),
    }

    def trial(what):
        job, name = trials[what]
        (path,) = undisturbed.folders[job].rglob(name)
        limit = path.stat().st_size - 1
        cwd = tmp_path / what
        full = finish(start(job, cwd, environment, limit))
        parts = list(cwd.rglob(".*"))
        then = finish(start(job, cwd, environment))
        return job, cwd, full, parts, then

    with ThreadPoolExecutor(2) as threads:
        for job, cwd, full, parts, then in threads.map(trial, trials):
            assert full.returncode == 2, full.stderr
            last = full.stderr.splitlines()[-1]
            assert last.startswith("error: ")
            assert last.endswith("cannot be written: File too large")
            assert "Traceback" not in full.stderr
            assert parts == []
            assert then.returncode == 0, then.stderr
            assert kept_in(cwd) == undisturbed.kept[job]


def test_a_file_that_cannot_be_written_is_named_and_the_old_one_stays(tmp_path):
    path = tmp_path / "file"
    results.write_atomically(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written: File too large.*file'"):
            results.write_atomically(path, b"new" * 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_is_replaced_and_never_written_over(tmp_path):
    """Whoever has opened it reads the old one to its end; a kill leaves one of the two, whole."""
    path = tmp_path / "file"
    results.write_atomically(path, b"old")
    with path.open("rb") as opened:
        results.write_atomically(path, b"new")
        assert opened.read() == b"old"
    assert path.read_bytes() == b"new"


def test_compiled_programs_cut_short_are_compiled_again(environment, undisturbed, tmp_path):
    """As of a run that was killed while it compiled."""
    cache = shutil.copytree(environment["XDG_CACHE_HOME"], tmp_path / "cache")
    entries = [path for path in cache.rglob("*-cache") if path.is_file()]
    assert entries
    for path in entries:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    cwd = tmp_path / "run"
    done = finish(start(SOLVABLE, cwd, {**environment, "XDG_CACHE_HOME": str(cache)}))
    assert done.returncode == 0, done.stderr
    assert kept_in(cwd) == undisturbed.kept[SOLVABLE]


# --- damaged files -------------------------------------------------------------------------------


def damages(content, flips):
    """Damaged content by what was done: cut short, emptied, one bit flipped; None for a folder."""
    size = len(content)
    yield "folder", None
    for length in sorted({0, 1, 2, 10, 22, 100, *(size * k // 8 for k in range(8)), size - 2}):
        if length < size:
            yield f"cut to {length}", content[:length]
    ends = (*range(min(size, 12)), *range(max(0, size - 12), size))
    even = (int(place) for place in np.linspace(0, size - 1, flips))
    for number, place in enumerate(sorted({*ends, *even})):
        flipped = bytearray(content)
        flipped[place] ^= 1 << number % 8
        yield f"bit {number % 8} of byte {place}", bytes(flipped)


def damaged(path, flips=64):
    """The path with each damage in turn, then whole again; what the damage is."""
    content = path.read_bytes()
    count = 0
    for what, changed in damages(content, flips):
        path.unlink()
        if changed is None:
            path.mkdir()
        else:
            path.write_bytes(changed)
        yield what
        count += 1
        if changed is None:
            path.rmdir()
        path.write_bytes(content)
    assert count >= min(flips, len(content))


def attempt(read, *arguments):
    """What reading gives, and what it says against it."""
    try:
        return read(*arguments), ""
    except (ValueError, OSError) as error:
        return None, str(error)


def earlier(folder):
    """The claims whose entries a run of `rates` alone would keep."""
    kept = reproduce.earlier_claims(folder, [CLAIMS["rates"]], PRESETS["tiny"], CLAIMS)
    return [entry["name"] for entry in kept]


@pytest.fixture
def drawn(undisturbed, tmp_path):
    """A copy of the main job's folder."""
    return shutil.copytree(undisturbed.folders[MAIN] / "out", tmp_path / "out")


@pytest.mark.parametrize("name", ["claims.json", "loops.csv", "config.json"])
def test_no_damage_of_results_is_drawn_shown_or_kept(drawn, name):
    """Neither `--check` nor drawing again nor a run that would keep what other claims say."""
    assert figures.check(drawn) == []
    assert earlier(drawn) == ["drift"]
    before = {path: path.read_bytes() for path in drawn.iterdir() if path.is_file()}
    for what in damaged(drawn / name):
        wrong, said = attempt(figures.check, drawn)
        assert any(name in line for line in wrong or [said]), what
        for read, *arguments in ((figures.draw, drawn, False), (earlier, drawn)):
            found, said = attempt(read, *arguments)
            assert found is None, what
            assert str(drawn / name) in said
    assert {path: path.read_bytes() for path in drawn.iterdir() if path.is_file()} == before


def test_what_other_code_judged_is_not_kept(drawn, monkeypatch):
    assert earlier(drawn) == ["drift"]
    digest = code.digest
    others = {"icl_stl.studies.transformer.claims", "icl_stl.lab.runs"}
    for changed in others:
        with monkeypatch.context() as other:
            other.setattr(
                code, "digest", lambda *m, c=changed, **k: "x" if c in m else digest(*m, **k)
            )
            with pytest.raises(ValueError, match=r"^only must .*of drift was found by other code"):
                earlier(drawn)
    with monkeypatch.context() as other:  # of a claim that is judged anew
        unlike = {"icl_stl.studies.solvable.claims", "icl_stl.lab.solvable"}
        other.setattr(code, "digest", lambda *m, **k: "x" if unlike & {*m} else digest(*m, **k))
        assert earlier(drawn)


def test_a_damaged_manifest_vouches_for_nothing_else(drawn):
    """Where its damage is not noticed, it is in the version of Matplotlib: all files are right."""
    path = drawn / "manifest.json"
    start = path.read_bytes().index(b'"matplotlib": "') + len(b'"matplotlib": "')
    for what in damaged(path):
        wrong, said = attempt(figures.check, drawn)
        assert wrong or str(path) in said or int(what.split()[-1]) in range(start, start + 8), what


def test_a_damaged_configuration_is_never_taken_for_the_same(drawn):
    path = drawn / "config.json"
    identity = json.loads(path.read_text())
    kept = {file: file.read_bytes() for file in (drawn / "checkpoints").iterdir()}
    assert attempt(runs.Folder, drawn, identity)[1] == ""
    for what in damaged(path):
        said = attempt(runs.Folder, drawn, identity)[1]
        assert str(drawn) in said, what
        assert {file: file.read_bytes() for file in (drawn / "checkpoints").iterdir()} == kept, what


def test_a_folder_whose_configuration_is_damaged_is_refused_by_the_main_job(
    environment, undisturbed, tmp_path
):
    """In a line, and nothing is lost."""
    path = tmp_path / "out" / "config.json"
    shutil.copytree(undisturbed.folders[MAIN], tmp_path, dirs_exist_ok=True)
    path.unlink()
    path.mkdir()
    done = finish(start(MAIN, tmp_path, environment))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("error: out/config.json ")
    assert "Traceback" not in done.stderr
    others = undisturbed.kept[MAIN].keys() - {"out/config.json"}
    kept = kept_in(tmp_path)
    assert all(kept[name] == undisturbed.kept[MAIN][name] for name in others)


def as_bytes(arrays):
    return {key: (a.dtype.str, a.shape, a.tobytes()) for key, a in arrays.items()}


def load(folder, name, made_by=None):
    """What a script is given from a folder, and what it is told of files."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        results.leave_out_damaged(folder.checkpoints)
        found, error = attempt(folder.load, name, made_by)
    for path in folder.checkpoints.glob("*.damaged"):
        path.rename(path.with_suffix(""))
    return found, [*(str(one.message) for one in said), *[error] * bool(error)]


@pytest.mark.parametrize(
    ("job", "name"),
    [(MAIN, f"replace-{'?' * 16}"), (MAIN, "generation-0"), (SOLVABLE, "observed")],
    ids=["replace", "generation-0", "observed"],
)
def test_a_damaged_checkpoint_gives_the_numbers_of_the_one_before_or_none(
    undisturbed, tmp_path, job, name
):
    (original,) = undisturbed.folders[job].rglob(f"{name}.npz")
    name = original.stem
    with np.load(original) as stored:
        made_by = json.loads(stored[runs.MADE_BY].tobytes())
    path = shutil.copytree(original.parent.parent, tmp_path / "copy")
    folder = runs.Folder(path, json.loads((path / "config.json").read_text()))
    newest, previous = (path / "checkpoints" / f"{name}{p}.npz" for p in ("", ".previous"))
    whole, before = as_bytes(folder.load(name, made_by)), None
    if previous.exists():
        with np.load(previous) as stored:
            before = as_bytes({key: stored[key] for key in stored.files if key != runs.MADE_BY})
        assert before != whole
    same = 0
    for what in damaged(newest):
        found, said = load(folder, name, made_by)
        same += found is not None and as_bytes(found) == whole
        if found is None or as_bytes(found) != whole:
            assert (None if found is None else as_bytes(found)) == before, what
            assert [str(newest) in line for line in said] == [True], what
    assert same < 32
    if before is not None:
        for what in damaged(previous):
            assert as_bytes(folder.load(name, made_by)) == whole, what
        newest.unlink()  # as after a kill between the two
        assert as_bytes(folder.load(name, made_by)) == before


def test_damage_beside_the_numbers_is_noticed_like_any_other(tmp_path):
    """Bits of all bytes that tell what the numbers are: names, shapes, kinds, begin and end."""
    folder = runs.Folder(tmp_path, {})
    numbers = np.random.default_rng(0)
    arrays = {"diverged_at": np.full((6, 3), -1, np.int32), "drift": numbers.random((600, 3))}
    folder.save("name", arrays)
    path = tmp_path / "checkpoints" / "name.npz"
    content, whole = path.read_bytes(), as_bytes(arrays)
    starts = [(content.index(a.tobytes()), a.nbytes) for a in arrays.values()]
    others = [k for k in range(len(content)) if not any(s <= k < s + n for s, n in starts)]
    assert len(others) > 500
    for place in others:
        for bit in range(place % 2, 8, 2):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            found, said = load(folder, "name")
            if found is None:
                assert str(path) in said[0]
            else:
                assert as_bytes(found) == whole, (place, bit)


class _Trap:
    """An object whose unpickling makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_no_pickle_is_ever_loaded(tmp_path):
    folder = runs.Folder(tmp_path, {})
    trap = np.empty(1, object)
    trap[0] = _Trap(tmp_path / "sprung")
    np.savez(tmp_path / "checkpoints" / "name.npz", a=np.arange(3), b=trap)
    with pytest.warns(UserWarning, match=r"name\.npz is damaged and is left out"):
        assert folder.load("name") is None
    (tmp_path / "checkpoints" / "name.npz").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    with pytest.warns(UserWarning, match=r"name\.npz is damaged and is left out"):
        assert folder.load("name") is None
    assert not (tmp_path / "sprung").exists()


def test_a_damaged_result_of_a_sweep_is_noticed(tmp_path):
    (setting,) = grid_settings({"learner": "ols", "runs": 3, "generations": 1, "samples": 9})
    observed = {"rows": [9, 18], "excess_risk": [0.1234567890123, 2 / 3], "diverged_at": [-1, -1]}
    whole = sweeps.Result(
        sweeps.configuration(setting, {"source": "x"}), dict(setting.columns), {}, observed
    )
    (tmp_path / "results").mkdir()
    sweeps.write_result(tmp_path, whole)
    (path,) = (tmp_path / "results").iterdir()
    assert sweeps.read_result(path) == whole
    noticed = 0
    for what in damaged(path):
        found, said = attempt(sweeps.read_result, path)
        assert found == whole or str(path) in said, what
        noticed += bool(said)
        assert sweeps.read_results(tmp_path)[1] == [path] * bool(said)
    assert noticed > 64


# --- two processes -------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from icl_stl.lab import results
with results.sole_writer(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holding(environment):
    """Start a process that has a folder to itself until it is killed or its input ends."""
    started = []

    def hold(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, folder],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "in\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_process_is_refused_and_told_of_the_first(holding, tmp_path):
    process = holding(tmp_path)
    words = rf"^out must be .* {tmp_path} is in use by process {process.pid} on "
    for _ in range(2):
        with pytest.raises(ValueError, match=words), results.sole_writer(tmp_path):
            pytest.fail("two processes are in one folder")
    process.communicate("")  # it ends
    assert os.listdir(tmp_path) == []
    with results.sole_writer(tmp_path):
        assert os.listdir(tmp_path) == ["lock"]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_is_in_nobodys_way(holding, tmp_path, how):
    process = holding(tmp_path)
    process.send_signal(how)
    process.wait()
    with results.sole_writer(tmp_path):
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")
    assert os.listdir(tmp_path) == []


def test_an_error_gives_the_folder_back(tmp_path):
    with pytest.raises(KeyError), results.sole_writer(tmp_path):
        raise KeyError
    with results.sole_writer(tmp_path):
        pass
    (tmp_path / "lock").mkdir()
    words = rf"^out must be .* {tmp_path} is not: .*directory"
    with pytest.raises(ValueError, match=words), results.sole_writer(tmp_path):
        pass


CROWD = """
import os, sys, time
from pathlib import Path
from icl_stl.lab import results
folder, inside, times = Path(sys.argv[1]), Path(sys.argv[2]), 0
while times < 25:
    try:
        with results.sole_writer(folder):
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            times += 1
            inside.unlink()
    except ValueError:
        time.sleep(0.0005)
"""


def test_of_a_crowd_one_at_a_time_is_in(environment, tmp_path):
    """Also where one takes the lock file away while another has opened it."""
    (tmp_path / "folder").mkdir()
    command = [sys.executable, "-c", CROWD, tmp_path / "folder", tmp_path / "inside"]
    crowd = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    errors = [process.communicate(timeout=SECONDS)[1] for process in crowd]
    assert errors == [""] * 4
    assert [process.returncode for process in crowd] == [0] * 4


def test_a_lock_file_that_was_taken_away_before_it_was_locked_is_no_lock(monkeypatch, tmp_path):
    """As by its owner, who was done between another's opening and locking it."""
    take, taken = results._take, []

    def late(descriptor):
        if not taken:
            (tmp_path / "lock").unlink()
        taken.append(descriptor)
        return take(descriptor)

    monkeypatch.setattr(results, "_take", late)
    with results.sole_writer(tmp_path):
        assert len(taken) == 2
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")


@pytest.fixture
def without_jax(monkeypatch):
    """What loads JAX cannot be imported: a refusal comes before."""
    for module in ("batches", "devices", "runs", "solvable", "laboratory"):
        monkeypatch.setitem(sys.modules, f"icl_stl.{module}", None)
        monkeypatch.delattr(icl_stl, module, raising=False)


def test_every_script_that_writes_a_run_folder_keeps_others_out(
    monkeypatch, capsys, undisturbed, tmp_path, without_jax
):
    main = shutil.copytree(undisturbed.folders[MAIN], tmp_path / "main")
    loop = shutil.copytree(undisturbed.folders[SOLVABLE], tmp_path / "loop")
    (run_folder,) = (loop / "runs").iterdir()
    (main / "grid.toml").write_text("learner = 'ols'\n")
    (main / "sweep").mkdir()
    for cwd, folder, line in (
        (main, main / "out", JOBS[MAIN]),
        (main, main / "out", f"{JOBS[MAIN]} --fresh"),
        (loop, run_folder, JOBS[SOLVABLE]),
        (main, main / "sweep", "sweep grid.toml --out sweep"),
        (main, main / "out", "make_figures --results out"),
    ):
        name, *arguments = line.split()
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        with results.sole_writer(folder):
            before = {path: path.read_bytes() for path in cwd.rglob("*") if path.is_file()}
            with pytest.raises(SystemExit) as refusal:
                runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
            assert {p: p.read_bytes() for p in cwd.rglob("*") if p.is_file()} == before
        said = capsys.readouterr()
        assert (refusal.value.code, said.out) == (2, "")
        shown = folder.relative_to(cwd)
        assert f"{shown} is in use by process {os.getpid()} on " in said.err, name


# --- what is no longer true ----------------------------------------------------------------------


def test_a_fresh_start_keeps_no_number_of_another_configuration(drawn):
    """Also where it was killed, and the next run would keep what it finds."""
    other = {**json.loads((drawn / "config.json").read_text()), "seed": 1}
    copy = shutil.copytree(drawn, drawn.with_name("copy"))
    reproduce.forget(drawn)
    runs.Folder(drawn, other, fresh=True)
    assert earlier(drawn) == []
    assert not (drawn / "loops.csv").exists()
    # Nor where nothing was forgotten, as by an older version of the script.
    runs.Folder(copy, other, fresh=True)
    with pytest.raises(ValueError, match=r"config\.json is not the file .* add drift, or --fresh"):
        earlier(copy)
