"""The tutorial of one's own model, run as it stands; its examples."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from icl_stl.data import FromFile, Sheet, Task
from icl_stl.problems import table

DOCS = Path(__file__).resolve().parent.parent / "docs"
TEXT = (DOCS / "your_model.md").read_text(encoding="utf-8")


def test_every_block_runs(environment, tmp_path):
    pytest.importorskip("sklearn")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 9
    path = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    said = ""
    for kind, block in blocks:
        if kind == "python":
            name = re.match(r"# (\w+\.py)\n", block)
            (tmp_path / name[1]).write_text(block, encoding="utf-8")
            continue
        assert kind == "bash"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path,
            env={**environment, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        said += done.stdout
    for name in ("half", "none"):
        content = json.loads((tmp_path / f"{name}.json").read_text())
        assert len(content["generations"]) == 4
        for row in content["generations"]:
            assert {"held_out_loss", "energy", "tv_lower"} <= row.keys()
            assert 10 < row["held_out_loss"]["mean"] < 200
            assert 0 <= row["tv_lower"]["low"] <= row["tv_lower"]["value"] <= 1
        losses = [round(row["held_out_loss"]["mean"], 2) for row in content["generations"]]
        assert f"{name} {losses}" in said
    (log,) = (tmp_path / "runs").glob("loop-python*/models/generation-1-run-0.log")
    assert "learned from 284 rows" in log.read_text()


def rows_of(count):
    z = np.random.default_rng(0).normal(size=(count, 4))
    return z @ np.diag([1, 10, 0.1, 2]) @ np.array([[1, 0.5, 0, 0], *np.eye(4)[1:]]) + 5


def written(name, kind, options=()):
    model = FromFile.named(f"{DOCS / 'examples' / name}:{kind}")
    model = FromFile(model.words, options=options)
    rows = rows_of(200)
    sheet = Sheet(rows, ("a", "b", "c", "d"))
    return rows, model.written(Task(rows, None, 300, (0, 0, 0), sheet, rows_of(50), Path("none")))


@pytest.mark.parametrize("name", ["mixture", "autoencoder"])
def test_an_example_writes_rows_like_those_it_learned_from(name):
    pytest.importorskip({"mixture": "sklearn", "autoencoder": "torch"}[name])
    rows, made = written(f"{name}.py", name.capitalize())
    assert made.rows.shape == (300, 4)
    np.testing.assert_allclose(
        made.rows.mean(axis=0), rows.mean(axis=0), atol=0.4 * rows.std(axis=0).max()
    )
    np.testing.assert_allclose(made.rows.std(axis=0), rows.std(axis=0), rtol=0.35)
    again = written(f"{name}.py", name.capitalize())[1]
    np.testing.assert_array_equal(made.rows, again.rows)
    assert (made.losses is None) == (name == "autoencoder")


def test_packages_of_arrays_run_in_one_thread_while_a_class_is_fitted():
    pytest.importorskip("sklearn.cluster")
    threads = pytest.importorskip("threadpoolctl")
    pools = threads.ThreadpoolController
    with threads.threadpool_limits(2):
        before = {pool["filepath"]: pool["num_threads"] for pool in pools().info()}
        with table.threads_of_arrays():
            inside = {pool["filepath"]: pool["num_threads"] for pool in pools().info()}
        after = {pool["filepath"]: pool["num_threads"] for pool in pools().info()}
    assert before == after
    assert {pool["user_api"] for pool in pools().info()} >= {"blas", "openmp"}
    assert {count for path, count in inside.items() if "torch" not in path} == {1}


def test_a_network_of_pytorch_is_told_its_threads():
    torch = pytest.importorskip("torch")
    for threads in (2, 1):
        model = FromFile.named(f"{DOCS / 'examples' / 'autoencoder.py'}:Autoencoder")
        model = FromFile(model.words, options=(("steps", 1),), threads=threads)
        sheet = Sheet(rows_of(9), ("a", "b", "c", "d"))
        model.written(Task(sheet.rows, None, 3, (0, 0, 0), sheet, sheet.rows, Path("none")))
        assert torch.get_num_threads() == threads
