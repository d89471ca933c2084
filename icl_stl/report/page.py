"""A folder as one HTML page that needs nothing else; that of a run loads no Matplotlib, none JAX.

The page of a run of `icl-stl reproduce` holds the claims, every figure with its caption and the
numbers behind it, constants with their provenance, configuration, environment, and sliders for the
bounds (`bounds.js`: the formulas of `icl_stl.bounds`). Figures are the folder's SVG files with
coordinates rounded to a hundredth of a point, without metadata, each style written once; the files
themselves stay as they are. The same folder gives the same bytes. A file that is missing, damaged
or not the one that the manifest was written with, is a `ValueError` that names it.
"""

import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from icl_stl.config import require
from icl_stl.lab.results import (
    Floats,
    check_file,
    not_vouched_for,
    read_json,
    read_table,
    recorded_digests,
    write_atomically,
)
from icl_stl.regimes import Augment, RealOnly, Replace, real_share
from icl_stl.report import loops, sweeps
from icl_stl.report.pieces import (
    Json,
    commands,
    definitions,
    environment,
    escaped,
    figure,
    filled,
    folded,
    identifier,
    number,
    settings,
    table,
)
from icl_stl.report.sweeps import USUAL, Axes
from icl_stl.studies import table as in_words

FILE = "report.html"
"""Name of the page in its run folder."""

_SHARED = {"synthetic_curves": "optimal_synthetic_size"}
"""Figures drawn from the cells of a claim with another name."""

_FROM_LOOPS = {"in_context_error": "excess_squared_risk"}
"""Figures drawn from a quantity of `loops.csv`."""


def write_report(folder: Path, out: Path | None = None, axes: Axes = USUAL) -> Path:
    """Write a folder as one page.

    Args:
        folder: That of a run: `config.json`, `claims.json`, `manifest.json`, the figures it names,
            their captions in `README.md`, and `loops.csv` where there are loops. That of a loop:
            `loop.json`. That of a sweep: `sweep.csv`.
        out: The file to write, `*.html`; `report.html` in the folder if not given.
        axes: What is drawn of a sweep.
    """
    path = out or folder / FILE
    if path.suffix != ".html":
        raise ValueError(f"out must be a file that ends in .html, but it is {path}")
    content = page(folder, axes).encode()
    check_file(path, "out")
    write_atomically(path, content)
    return path


def page(folder: Path, axes: Axes = USUAL) -> str:
    """The page of a folder, which is told by the files in it."""
    if (folder / sweeps.FILE).is_file():
        return sweeps.page(folder, axes)
    for name, value in axes._asdict().items():
        require(value is None, name, value, f"left out: {folder} is not the folder of a sweep")
    if (folder / loops.FILE).is_file():
        return loops.page(folder)
    if not any((folder / f"{name}.json").is_file() for name in ("claims", "manifest")):
        raise ValueError(
            "results must be the folder of a run, a loop or a sweep that has ended (it has "
            f"claims.json, {loops.FILE} or {sweeps.FILE}), but {folder} has none of these"
        )
    return _page_of_run(folder)


_NEEDED = {
    "config": ("preset", "versions", "platform", "devices", "learner", "source"),
    "claims": ("preset", "seed", "seconds", "claims"),
    "manifest": ("matplotlib", "sources", "figures"),
}
"""What the files of a run folder have to say."""


def _read(folder: Path, name: str) -> Any:
    path = folder / f"{name}.json"
    content = read_json(path)
    for key in _NEEDED[name]:
        if not isinstance(content, Mapping) or key not in content:
            raise ValueError(f"{path} is damaged: it has no {key!r}")
    return content


def _page_of_run(folder: Path) -> str:
    """Claims, figures, numbers, sliders for the bounds."""
    config, stored, manifest = (_read(folder, name) for name in _NEEDED)
    known = ("config.json", "claims.json", *recorded_digests(folder))
    if changed := not_vouched_for(folder, dict.fromkeys(known)):
        raise ValueError(
            f"results must be as icl-stl figures left them, but {folder / changed[0]} is "
            "not the file that manifest.json was written with; run that first"
        )
    claims = {entry["name"]: entry for entry in stored["claims"]}
    figures = [Path(name).stem for name in manifest["figures"] if name.endswith(".svg")]
    preset = config["preset"]
    statements = [
        folded(name, _statement(entry, name in figures), identifier("claim", name))
        for name, entry in claims.items()
    ]
    of, seed = escaped(stored["preset"]), escaped(stored["seed"])
    sections = {
        "title": f"Self-consuming loops: preset {of}, seed {seed}",
        "heading": "Self-consuming loops: report of one run",
        "headline": f"Preset {of}, seed {seed}. {_summary(stored)}",
        **_start(folder, preset, claims),
        "claims": _claims(claims.values()),
        "statements": "\n".join(statements),
        "figures": _figures(folder, figures, claims, preset),
        "constants": _constants(claims.values()),
        "configuration": _configuration(config),
        "environment": _environment(config, manifest),
        "reproduce": _reproduce(stored),
    }
    return filled(sections)


def _link(claim: str) -> str:
    """A link to a claim, whose name may be broken in a narrow column."""
    name = escaped(claim).replace("_", "_<wbr>")
    return f'<a href="#{identifier("claim", claim)}">{name}</a>'


def _verdict(verdict: str, words: str, addition: str = "") -> str:
    """A verdict in words, in its colour."""
    known = verdict in ("holds", "violated", "inconclusive", "finding")
    kind = f' class="{verdict}"' if known else ""
    return f"<span{kind}>{escaped(words)}</span>{escaped(addition)}"


def _summary(stored: Json) -> str:
    """How many claims and cells there are of each kind."""
    verdicts = [in_words.claim_verdict(entry) for entry in stored["claims"]]
    cells = [in_words.apart(cell) for entry in stored["claims"] for cell in entry["cells"]]
    left = in_words.counted(filter(None, cells))
    counts = in_words.counted(verdicts).replace("; no theorem", " (no theorem)")
    shown = f" Of {len(cells)} cells, {left}: shown, not judged." if left else ""
    return escaped(f"{len(verdicts)} claims: {counts}.{shown}")


def _claims(entries: Iterable[Json]) -> str:
    """The console's table of claims."""
    rows = []
    for entry in entries:
        name, *cells, verdict, control = in_words.claim_row(entry)
        words = in_words.claim_verdict(entry)
        judged = _verdict(entry["verdict"], words, verdict.removeprefix(words))
        finite = [re.sub(r"\b(?:nan|inf)\b", "–", cell) for cell in cells]
        source = re.split("[:;]", str(entry["source"]))[0]
        rows.append([_link(name), *map(escaped, finite), judged, escaped(control), escaped(source)])
    return table(in_words.CLAIM_COLUMNS, rows, "Where each claim is tightest", "scroll")


def _statement(entry: Json, has_figure: bool) -> str:
    control = entry["negative_control"]
    rejected, _, where = in_words.control_in_words(control).partition(", ")
    rejected = " ".join(["rejected" if rejected == "yes" else "NOT rejected", where]).strip()
    pairs = [
        ("Statement", entry["statement"]),
        ("Source", entry["source"]),
        ("Verdict", in_words.claim_verdict(entry)),
        ("Cells", in_words.counted(map(in_words.verdict_of, entry["cells"])) or "none"),
        ("Replicates", str(entry["replicates"])),
        ("Negative control", f"{control['what']} ({rejected})" if control["what"] else "none"),
        ("Left out", "; ".join(map(str, entry["failed"])) or "nothing"),
    ]
    name = entry["name"]
    numbers = (
        f'<p><a href="#{identifier("figure", name)}">Figure and numbers</a></p>'
        if has_figure
        else _numbers(entry)
    )
    return definitions(pairs) + numbers


_ASSUMED = {"alpha": 0.5, "kappa": 0.3, "b": 1.0, "c": 0.5, "a": 0.5}
"""Where a slider starts that has nothing measured to start at."""


class _Loop(NamedTuple):
    """Measured means of a loop with a constant share: drift and one-step errors, whole prompts."""

    alpha: float
    drift: Floats
    eps: Floats


def _measured_loops(folder: Path, samples: int) -> list[_Loop]:
    """The loops of a constant real share whose drift and one-step errors were measured."""
    path = folder / "loops.csv"
    found = []
    for result in read_table(path, samples).values() if path.is_file() else ():
        known = {"drift", "eps"} <= result.observations.keys()
        if not (known and isinstance(result.regime, Augment | Replace | RealOnly)):
            continue
        drift, eps = (
            result[name].reshape(*result[name].shape[:2], -1)[..., -1] for name in ("drift", "eps")
        )
        whole = np.isfinite(drift).all(1) & np.isfinite(eps).all(1)
        if whole.any():
            alpha = real_share(result.regime, samples, 1)
            found.append(_Loop(alpha, drift[whole].mean(0), eps[whole].mean(0)))
    return found


def _start(folder: Path, preset: Json, claims: Mapping[str, Json]) -> dict[str, str]:
    """Where the sliders start, in numbers and words, and the measured drift beside them.

    Share, c and a are those of the measured loop of a constant share nearest to 1/2: the law
    c N^-a without a floor passes through its mean one-step error of generation 0, at N = n, and of
    the later ones, at N = n/alpha. What was not measured starts at `_ASSUMED`.
    """
    n = preset["samples"]
    at: dict[str, float] = {"n": n, "generation": preset["generations"], "floor": 0.0}
    at |= {"M": 1.0, "delta": 0.05, **_ASSUMED}
    words, assumed = [f"n = {n} and i = {at['generation']}"], ["M", "δ"]
    loops = _measured_loops(folder, n)
    both = [loop for loop in loops if 0 < loop.alpha < 1 and len(loop.eps) > 1]
    if both:
        loop = min(both, key=lambda loop: abs(loop.alpha - 0.5))
        first, later = float(loop.eps[0]), float(loop.eps[1:].mean())
        at |= {"alpha": loop.alpha, **_law_through(first, later, n, loop.alpha)}
        words.append(
            f"its loop with α = {number(loop.alpha)}, whose one-step errors of whole prompts, "
            f"{number(first)} of the first fit and {number(later)} of later ones, give c, a and e"
        )
    elif law := _like(claims, r"(floor|c|a) of eps\(N\) = floor \+ c N\^-a, whole prompts"):
        at |= {name: value["fitted"] for (name,), value in law.items()}
        words.append("the law fitted to one-step errors of whole prompts gives c, a and e")
        assumed = ["α", *assumed]
    else:
        assumed = ["α", "c", "a", "e", *assumed]
    if known := _stability(claims, n):
        size, b, kappa = known
        at |= {"b": b, "kappa": kappa}
        words.append(
            f"b and κ, n times the largest changes of loss and law seen under one replaced prompt "
            f"(n = {size}, loops of recursive_stability)"
        )
    else:
        assumed = ["κ", "b", *assumed]
    start = {name: float(f"{value:.4g}") for name, value in at.items()}
    measured = [
        {"alpha": loop.alpha, "drift": [float(f"{value:.4g}") for value in loop.drift]}
        for loop in loops
    ]
    return {
        "start": escaped(json.dumps(start)),
        "measured": escaped(json.dumps(measured)),
        "start_words": escaped(
            f"The sliders start at this run: {'; '.join(words)}. Assumed: {', '.join(assumed)}."
        ),
    }


def _law_through(first: float, later: float, n: int, alpha: float) -> dict[str, float]:
    """c, a and floor of a law with these errors at n and n/alpha rows: no floor if they fall."""
    rate = math.log(first / later) / -math.log(alpha) if first > later > 0 else 0.0
    if 1e-3 <= rate <= 10:
        return {"c": first * n**rate, "a": rate, "floor": 0.0}
    return {"c": 0.0, "a": _ASSUMED["a"], "floor": max(first, later)}


def _stability(claims: Mapping[str, Json], samples: int) -> tuple[int, float, float] | None:
    """The n nearest to that of the loops at which b and kappa were measured, and these."""
    known = _like(claims, r"(b|kappa), n = (\d+)")
    found = {(name, int(n)): value for (name, n), value in known.items()}
    sizes = {n for name, n in found if name == "b" and ("kappa", n) in found}
    if not sizes:
        return None
    n = min(sorted(sizes), key=lambda n: abs(math.log(n / samples)))
    return n, found["b", n], found["kappa", n]


def _like(claims: Mapping[str, Json], pattern: str) -> dict[tuple[str, ...], Any]:
    """Measured constants whose names are of a pattern, by its groups."""
    return {
        named.groups(): constant["value"]
        for entry in claims.values()
        for constant in entry["constants"]
        if constant["provenance"] == "measured"
        if (named := re.fullmatch(pattern, str(constant["name"])))
    }


_WHERE = ("network", "context", "kappa", "kept", "m", "k")
"""Further keys of a cell that say where it was measured, beside those with a column."""


def _numbers(entry: Json) -> str:
    """The cells of a claim as a table that is folded away; columns without entries are left out."""
    cells = entry["cells"]
    if not cells:
        return "<p>No cell was judged.</p>"
    columns = ["quantity", "loop", "n", "λ", "α", "i", "measured", "±", "bound", "ratio", "skew"]
    columns.append("verdict")
    rows = [_cell(cell, every="study" in entry) for cell in cells]
    kept = [k for k in range(len(columns)) if any(row[k] not in ("", "–") for row in rows)]
    names, *lines = ([row[k] for k in kept] for row in (columns, *rows))
    every = table(names, lines, f"{entry['name']}: every cell")
    return folded(f"Numbers: {len(cells)} cells (±: half of the interval of the mean)", every)


def _cell(cell: Json, *, every: bool) -> list[str]:
    low, high = cell["low"], cell["high"]
    quantity = [str(cell[key]) for key in ("quantity", "generator") if key in cell]
    quantity += [f"{cell['prefix']} labels"] if "prefix" in cell else []
    where = ("loop", "regime", "architecture", "objective")
    loop = [str(cell[key]) for key in where if key in cell]
    loop += [
        f"{key} {number(cell[key])}" for key in _WHERE if isinstance(cell.get(key), int | float)
    ]
    loop += [f"by {cell['predicted_by']}"] if "predicted_by" in cell else []
    if every:
        own = {k: v for k, v in in_words.own_keys(cell).items() if k not in ("n", "lam", *where)}
        loop += [f"{key} {number(value)}" for key, value in own.items() if key not in _WHERE]
    return [
        escaped(", ".join(quantity)),
        escaped(", ".join(loop)),
        *(
            escaped(number(cell[key])) if key in cell else ""
            for key in ("n", "lam", "alpha", "generation")
        ),
        escaped(number(cell["measured"])),
        escaped(number(None if None in (low, high) else (high - low) / 2)),
        escaped(_bound(cell)),
        escaped(number(in_words.ratio_of(cell))),
        escaped(number(cell["skew"])) if "skew" in cell else "",
        _verdict("finding" if in_words.apart(cell) else cell["verdict"], in_words.verdict_of(cell)),
    ]


def _bound(cell: Json) -> str:
    """The bound with its sign; of a finding, what it is shown beside."""
    bound = number(cell["bound"])
    if bound == "–" or (cell["verdict"] == "finding" and not in_words.apart(cell)):
        return bound
    if in_words.is_equality(cell):
        tolerance = f" ± {number(cell['tolerance'])}" if cell.get("tolerance") else ""
        return f"= {bound}{tolerance}"
    return f"{'>' if cell.get('direction') == 'above' else '≤'} {bound}"


def _means(folder: Path, samples: int, quantity: str) -> str:
    """Means over replicates of a quantity of the loops."""
    loops = read_table(folder / "loops.csv", samples)
    rows = []
    for name, result in loops.items():
        values = result[quantity].reshape(*result[quantity].shape[:2], -1).mean(axis=0)
        rows += [
            [escaped(name), str(i), *(escaped(number(float(v))) for v in values[i])]
            for i in range(len(values))
        ]
    columns = ["loop", "i", *map(str, range(len(rows[0]) - 2))]
    summary = f"Numbers: {quantity} by position 0, 1, ..., mean over replicates"
    return folded(summary, table(columns, rows, quantity))


def _figures(folder: Path, names: Sequence[str], claims: Mapping[str, Json], preset: Json) -> str:
    captions, figures = _captions(folder / "README.md"), []
    for name in names:
        svg = (folder / f"{name}.svg").read_text(encoding="utf-8")
        numbers = _behind(name, names, claims, folder, preset["samples"])
        figures.append(figure(name, svg, captions.get(name, ""), numbers))
    return "\n".join(figures)


def _captions(path: Path) -> dict[str, str]:
    """Captions by figure, from the page that is written with the figures."""
    if not path.is_file():
        return {}
    _, *parts = re.split(r"^## (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    texts = (re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text).strip() for text in parts[1::2])
    return dict(zip(parts[::2], texts, strict=True))


def _behind(
    name: str, figures: Sequence[str], claims: Mapping[str, Json], folder: Path, samples: int
) -> str:
    """The numbers that a figure is drawn from."""
    if name in claims:
        return _numbers(claims[name])
    if name in _FROM_LOOPS:
        return _means(folder, samples, _FROM_LOOPS[name])
    shared = _SHARED.get(name, "")
    if shared in figures:
        link = identifier("figure", shared)
        return (
            f'<p>Numbers: those of <a href="#{link}">{escaped(shared.replace("_", " "))}</a>.</p>'
        )
    return _numbers(claims[shared]) if shared in claims else ""


def _constants(entries: Iterable[Json]) -> str:
    rows = [
        [
            _link(entry["name"]),
            *(escaped(known) for known in (one["name"], number(one["value"]), one["provenance"])),
        ]
        for entry in entries
        for one in entry["constants"]
    ]
    columns = ("claim", "constant", "value", "provenance")
    return table(columns, rows, "Constants of the claims and how they are known")


def _configuration(config: Json) -> str:
    preset = config["preset"]
    nested = {name: value for name, value in preset.items() if isinstance(value, Mapping)}
    plain = {name: value for name, value in preset.items() if name not in nested}

    parts = [folded(name, settings(one, f"{name} of the preset")) for name, one in nested.items()]
    return "\n".join([settings(plain, f"Preset {preset['name']}"), *parts])


def _environment(config: Json, manifest: Json) -> str:
    pairs = [
        *config["versions"].items(),
        ("matplotlib", manifest["matplotlib"]),
        ("platform", config["platform"]),
        ("devices", config["devices"]),
        ("learner", config["learner"]),
        ("source of the loops (SHA-256)", config["source"]),
        *((f"{name} (SHA-256)", digest) for name, digest in manifest["sources"].items()),
    ]
    return environment(pairs)


def _reproduce(stored: Json) -> str:
    names = [shlex.quote(str(entry["name"])) for entry in stored["claims"]]
    fours = [" ".join(names[k : k + 4]) for k in range(0, len(names), 4)]
    files = dict.fromkeys(str(e["study"]) for e in stored["claims"] if "study" in e)
    study = "".join(f" --study {shlex.quote(file)}" for file in files)
    preset, seed = (shlex.quote(str(stored[key])) for key in ("preset", "seed"))
    lines = [
        "python3 -m venv .venv",
        ".venv/bin/pip install -q -c constraints.txt -e .",
        f".venv/bin/icl-stl reproduce --preset {preset} --seed {seed} --fresh \\",
        " \\\n    ".join([f"    --out runs/again{study} --only", *fours]),
        f".venv/bin/icl-stl figures --check --results runs/again{study}",
        ".venv/bin/icl-stl report --results runs/again",
    ]
    seconds = escaped(number(stored["seconds"]))
    return (
        f"<p>The run took {seconds} seconds. In a checkout of the repository:</p>\n"
        f"{commands(lines)}\n"
        "<p>The same seed on the same versions and devices gives the same numbers.</p>"
    )
