"""A run folder as one HTML page that needs nothing else. Loads neither JAX nor Matplotlib.

The page holds the claims, every figure with its caption and the numbers behind it, constants with
their provenance, configuration, environment, and sliders for the bounds (`bounds.js`: the formulas
of `icl_stl.bounds`). Figures are the folder's SVG files with coordinates rounded to a hundredth of
a point, without metadata, each style written once; the files themselves stay as they are. The
same folder gives the same bytes. A file that is missing, damaged or not the one that the manifest
was written with, is a `ValueError` that names it.
"""

import html
import json
import math
import re
import shlex
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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
from icl_stl.studies import table as in_words

Json = Mapping[str, Any]

FILE = "report.html"
"""Name of the page in its run folder."""

_SHARED = {"synthetic_curves": "optimal_synthetic_size"}
"""Figures drawn from the cells of a claim with another name."""

_FROM_LOOPS = {"in_context_error": "excess_squared_risk"}
"""Figures drawn from a quantity of `loops.csv`."""


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write a run folder as one page.

    Args:
        folder: The run folder: `config.json`, `claims.json`, `manifest.json`, the figures it
            names, their captions in `README.md`, and `loops.csv` where there are loops.
        out: The file to write, `*.html`; `report.html` in the folder if not given.
    """
    path = out or folder / FILE
    if path.suffix != ".html":
        raise ValueError(f"out must be a file that ends in .html, but it is {path}")
    content = page(folder).encode()
    check_file(path, "out")
    write_atomically(path, content)
    return path


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


def page(folder: Path) -> str:
    """The page of a run folder."""
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
        _details(name, _statement(entry, name in figures), _identifier("claim", name))
        for name, entry in claims.items()
    ]
    sections = {
        "preset": _text(stored["preset"]),
        "seed": _text(stored["seed"]),
        **_start(folder, preset, claims),
        "summary": _summary(stored),
        "claims": _claims(claims.values()),
        "statements": "\n".join(statements),
        "figures": _figures(folder, figures, claims, preset),
        "constants": _constants(claims.values()),
        "configuration": _configuration(config),
        "environment": _environment(config, manifest),
        "reproduce": _reproduce(stored),
    }
    return _filled(sections)


def _filled(sections: Mapping[str, str]) -> str:
    """The template with its placeholders replaced, and a policy that admits nothing else."""
    here = Path(__file__).parent
    template, style, formulas = (
        (here / name).read_text(encoding="utf-8")
        for name in ("report.html", "report.css", "bounds.js")
    )
    script = template.partition("<script>")[2].partition("</script>")[0]
    inline = {"style": style, "script": script.replace("{{formulas}}", formulas)}
    policy = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'"
    for kind, content in inline.items():
        digest = b64encode(sha256(content.encode()).digest()).decode()
        policy += f"; {kind}-src 'sha256-{digest}'"
    parts = {**sections, "style": style, "formulas": formulas, "policy": policy}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _text(value: Any) -> str:
    return html.escape(str(value))


def _identifier(kind: str, name: str) -> str:
    return _text(f"{kind}-{re.sub(r'[^0-9A-Za-z_-]', '-', name)}")


def _link(claim: str) -> str:
    """A link to a claim, whose name may be broken in a narrow column."""
    name = _text(claim).replace("_", "_<wbr>")
    return f'<a href="#{_identifier("claim", claim)}">{name}</a>'


def _number(value: Any) -> str:
    """Four significant digits; counts in full; a dash for what is missing or not finite."""
    if isinstance(value, Mapping):
        if len(value) == 1:
            return _number(*value.values())
        return ", ".join(f"{key} {_number(one)}" for key, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_number(one) for one in value)
    if isinstance(value, str | bool):
        return str(value)
    if value is None or not math.isfinite(value):
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


_COUNTED = ("n", "λ", "α", "i", "measured", "±", "bound", "ratio", "skew", "value")
"""Columns of numbers, beside those that a number names."""


def _table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str, scroll: str = "scroll tall"
) -> str:
    """A table that scrolls inside its own region; the cells are HTML."""
    kinds = [' class="number"' * (name in _COUNTED or name.isdecimal()) for name in columns]

    def line(cell: str, texts: Iterable[str], scope: str = "") -> str:
        pairs = zip(kinds, texts, strict=True)
        return "".join(f"<{cell}{scope}{kind}>{text}</{cell}>" for kind, text in pairs)

    head = line("th", map(_text, columns), ' scope="col"')
    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return (
        f'<div class="{scroll}" role="region" tabindex="0" aria-label="{_text(caption)}">\n'
        f"<table><caption>{_text(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _details(summary: str, content: str, identifier: str = "") -> str:
    name = f' id="{identifier}"' if identifier else ""
    return f"<details{name}><summary>{_text(summary)}</summary>\n{content}\n</details>"


def _definitions(pairs: Iterable[tuple[str, str]]) -> str:
    lines = (f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in pairs)
    return f"<dl>{''.join(lines)}</dl>"


def _verdict(verdict: str, words: str, addition: str = "") -> str:
    """A verdict in words, in its colour."""
    known = verdict in ("holds", "violated", "inconclusive", "finding")
    kind = f' class="{verdict}"' if known else ""
    return f"<span{kind}>{_text(words)}</span>{_text(addition)}"


def _summary(stored: Json) -> str:
    """How many claims and cells there are of each kind."""
    verdicts = [in_words.claim_verdict(entry) for entry in stored["claims"]]
    cells = [in_words.apart(cell) for entry in stored["claims"] for cell in entry["cells"]]
    left = in_words.counted(filter(None, cells))
    counts = in_words.counted(verdicts).replace("; no theorem", " (no theorem)")
    shown = f" Of {len(cells)} cells, {left}: shown, not judged." if left else ""
    return _text(f"{len(verdicts)} claims: {counts}.{shown}")


def _claims(entries: Iterable[Json]) -> str:
    """The console's table of claims."""
    rows = []
    for entry in entries:
        name, *cells, verdict, control = in_words.claim_row(entry)
        words = in_words.claim_verdict(entry)
        judged = _verdict(entry["verdict"], words, verdict.removeprefix(words))
        finite = [re.sub(r"\b(?:nan|inf)\b", "–", cell) for cell in cells]
        source = re.split("[:;]", str(entry["source"]))[0]
        rows.append([_link(name), *map(_text, finite), judged, _text(control), _text(source)])
    return _table(in_words.CLAIM_COLUMNS, rows, "Where each claim is tightest", "scroll")


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
        f'<p><a href="#{_identifier("figure", name)}">Figure and numbers</a></p>'
        if has_figure
        else _numbers(entry)
    )
    return _definitions(pairs) + numbers


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
            f"its loop with α = {_number(loop.alpha)}, whose one-step errors of whole prompts, "
            f"{_number(first)} of the first fit and {_number(later)} of later ones, give c, a and e"
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
        "start": _text(json.dumps(start)),
        "measured": _text(json.dumps(measured)),
        "start_words": _text(
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
    table = _table(names, lines, f"{entry['name']}: every cell")
    return _details(f"Numbers: {len(cells)} cells (±: half of the interval of the mean)", table)


def _cell(cell: Json, *, every: bool) -> list[str]:
    low, high = cell["low"], cell["high"]
    quantity = [str(cell[key]) for key in ("quantity", "generator") if key in cell]
    quantity += [f"{cell['prefix']} labels"] if "prefix" in cell else []
    where = ("loop", "regime", "architecture", "objective")
    loop = [str(cell[key]) for key in where if key in cell]
    loop += [
        f"{key} {_number(cell[key])}" for key in _WHERE if isinstance(cell.get(key), int | float)
    ]
    loop += [f"by {cell['predicted_by']}"] if "predicted_by" in cell else []
    if every:
        own = {k: v for k, v in in_words.own_keys(cell).items() if k not in ("n", "lam", *where)}
        loop += [f"{key} {_number(value)}" for key, value in own.items() if key not in _WHERE]
    return [
        _text(", ".join(quantity)),
        _text(", ".join(loop)),
        *(
            _text(_number(cell[key])) if key in cell else ""
            for key in ("n", "lam", "alpha", "generation")
        ),
        _text(_number(cell["measured"])),
        _text(_number(None if None in (low, high) else (high - low) / 2)),
        _text(_bound(cell)),
        _text(_number(in_words.ratio_of(cell))),
        _text(_number(cell["skew"])) if "skew" in cell else "",
        _verdict("finding" if in_words.apart(cell) else cell["verdict"], in_words.verdict_of(cell)),
    ]


def _bound(cell: Json) -> str:
    """The bound with its sign; of a finding, what it is shown beside."""
    bound = _number(cell["bound"])
    if bound == "–" or (cell["verdict"] == "finding" and not in_words.apart(cell)):
        return bound
    if in_words.is_equality(cell):
        tolerance = f" ± {_number(cell['tolerance'])}" if cell.get("tolerance") else ""
        return f"= {bound}{tolerance}"
    return f"{'>' if cell.get('direction') == 'above' else '≤'} {bound}"


def _means(folder: Path, samples: int, quantity: str) -> str:
    """Means over replicates of a quantity of the loops."""
    loops = read_table(folder / "loops.csv", samples)
    rows = []
    for name, result in loops.items():
        values = result[quantity].reshape(*result[quantity].shape[:2], -1).mean(axis=0)
        rows += [
            [_text(name), str(i), *(_text(_number(float(v))) for v in values[i])]
            for i in range(len(values))
        ]
    columns = ["loop", "i", *map(str, range(len(rows[0]) - 2))]
    summary = f"Numbers: {quantity} by position 0, 1, ..., mean over replicates"
    return _details(summary, _table(columns, rows, quantity))


def _figures(folder: Path, names: Sequence[str], claims: Mapping[str, Json], preset: Json) -> str:
    captions, figures = _captions(folder / "README.md"), []
    for name in names:
        svg = (folder / f"{name}.svg").read_text(encoding="utf-8")
        numbers = _behind(name, names, claims, folder, preset["samples"])
        figures.append(_figure(name, svg, captions.get(name, ""), numbers))
    return "\n".join(figures)


def _captions(path: Path) -> dict[str, str]:
    """Captions by figure, from the page that is written with the figures."""
    if not path.is_file():
        return {}
    _, *parts = re.split(r"^## (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    texts = (re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text).strip() for text in parts[1::2])
    return dict(zip(parts[::2], texts, strict=True))


def _figure(name: str, svg: str, caption: str, numbers: str) -> str:
    title = name.replace("_", " ")
    first = re.split(r"(?<=[.:]) ", caption, maxsplit=1)[0]
    width, height = _size(svg)
    return (
        f'<h3 id="{_identifier("figure", name)}">{_text(title)}</h3>\n'
        f'<figure>\n<div class="scroll picture" role="region" tabindex="0" '
        f'aria-label="{_text(f"figure {title}")}">'
        f'<img loading="lazy" width="{width}" height="{height}" alt="{_text(first or title)}" '
        f"src='data:image/svg+xml,{_in_url(svg)}'></div>\n"
        f"<figcaption>{_text(caption)}</figcaption>\n</figure>\n{numbers}"
    )


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
        link = _identifier("figure", shared)
        return f'<p>Numbers: those of <a href="#{link}">{_text(shared.replace("_", " "))}</a>.</p>'
    return _numbers(claims[shared]) if shared in claims else ""


def _size(svg: str) -> tuple[int, int]:
    """Width and height in pixels, from those in points."""
    found = re.search(r'<svg[^>]* width="([\d.]+)pt" height="([\d.]+)pt"', svg)
    width, height = map(float, found.groups()) if found else (600.0, 400.0)
    return round(width * 4 / 3), round(height * 4 / 3)


def _in_url(svg: str) -> str:
    """A picture as part of a data URL in an attribute with single quotes, on one line."""
    svg = " ".join(svg[max(svg.find("<svg"), 0) :].split())
    for sign in "%#&'":
        svg = svg.replace(sign, f"%{ord(sign):02X}")
    return svg


def _constants(entries: Iterable[Json]) -> str:
    rows = [
        [
            _link(entry["name"]),
            *(_text(known) for known in (one["name"], _number(one["value"]), one["provenance"])),
        ]
        for entry in entries
        for one in entry["constants"]
    ]
    columns = ("claim", "constant", "value", "provenance")
    return _table(columns, rows, "Constants of the claims and how they are known")


def _settings(values: Json, prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested settings, flat: `task.dim` is the entry `dim` of `task`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{prefix}{name}", plain


def _configuration(config: Json) -> str:
    preset = config["preset"]
    nested = {name: value for name, value in preset.items() if isinstance(value, Mapping)}
    plain = {name: value for name, value in preset.items() if name not in nested}

    def table(values: Json, caption: str) -> str:
        rows = [[f"<code>{_text(n)}</code>", _text(v)] for n, v in _settings(values)]
        return _table(("setting", "set to"), rows, caption, "scroll")

    parts = [_details(name, table(one, f"{name} of the preset")) for name, one in nested.items()]
    return "\n".join([table(plain, f"Preset {preset['name']}"), *parts])


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
    rows = [[_text(name), f"<code>{_text(value)}</code>"] for name, value in pairs]
    return _table(("what", "which"), rows, "What the run was made with", "scroll")


def _reproduce(stored: Json) -> str:
    names = [shlex.quote(str(entry["name"])) for entry in stored["claims"]]
    lines = [" ".join(names[k : k + 4]) for k in range(0, len(names), 4)]
    files = dict.fromkeys(str(e["study"]) for e in stored["claims"] if "study" in e)
    study = "".join(f" --study {shlex.quote(file)}" for file in files)
    preset, seed = (shlex.quote(str(stored[key])) for key in ("preset", "seed"))
    commands = [
        "python3 -m venv .venv",
        ".venv/bin/pip install -q -c constraints.txt -e .",
        f".venv/bin/icl-stl reproduce --preset {preset} --seed {seed} --fresh \\",
        " \\\n    ".join([f"    --out runs/again{study} --only", *lines]),
        f".venv/bin/icl-stl figures --check --results runs/again{study}",
        ".venv/bin/icl-stl report --results runs/again",
    ]
    seconds = _text(_number(stored["seconds"]))
    return (
        f"<p>The run took {seconds} seconds. In a checkout of the repository:</p>\n"
        f'<pre tabindex="0"><code>{_text(chr(10).join(commands))}</code></pre>\n'
        "<p>The same seed on the same versions and devices gives the same numbers.</p>"
    )
