"""The report page: its formulas, what is on it, and how it behaves in a real browser."""

import itertools
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from synthetic import PRESET, below_the_bound, loops_of

import icl_stl
from icl_stl import bounds, commands
from icl_stl.lab.results import write_table
from icl_stl.report import page as report
from icl_stl.studies import table

ROOT = Path(icl_stl.__file__).resolve().parents[1]
FIGURES = ROOT / "figures"
FORMULAS = (ROOT / "icl_stl" / "report" / "bounds.js").read_text(encoding="utf-8")
NODE = shutil.which("node")
CHROMIUM = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
)
INF = float("inf")
TOLERANCE = 1e-9
MEGABYTES = 3
SECONDS = 60
"""Far more than any answer of the browser takes."""


# --- a browser -----------------------------------------------------------------------------------


class Browser:
    """Headless Chromium with one tab, driven through its debugging pipe."""

    LAUNCH = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4);"
        "os.execv(sys.argv[3], sys.argv[3:])"
    )
    OPTIONS = (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", "--no-first-run"),
        *("--remote-debugging-pipe", "--disable-dev-shm-usage"),
    )

    def __init__(self, profile):
        import fcntl  # noqa: PLC0415  (not on Windows, where there is no such pipe either)

        ends = [end for _ in range(2) for end in os.pipe()]
        # Numbers above 4, so that the child's 3 and 4 overwrite none of them.
        reads, self.commands, self.answers, writes = (
            fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends
        )
        command = [sys.executable, "-c", self.LAUNCH, str(reads), str(writes), CHROMIUM]
        self.process = subprocess.Popen(
            [*command, *self.OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(reads, writes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (*ends, reads, writes):
            os.close(end)
        self.count, self.pending, self.events, self.session = itertools.count(1), b"", [], None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.send(f"{domain}.enable")

    def close(self):
        self.session = None
        self.send("Browser.close")
        self.process.wait(SECONDS)
        os.close(self.commands)
        os.close(self.answers)

    def receive(self):
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self.pending:
            ready, _, _ = select.select([self.answers], [], [], deadline - time.monotonic())
            chunk = os.read(self.answers, 1 << 20) if ready else b""
            if not chunk:
                raise TimeoutError("the browser does not answer")
            self.pending += chunk
        message, _, self.pending = self.pending.partition(b"\0")
        return json.loads(message)

    def send(self, method, **params):
        number = next(self.count)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.commands, data) :]
        while True:
            answer = self.receive()
            if answer.get("id") == number:
                if "error" in answer:
                    raise ValueError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, path, *, width=1280, height=900, dark=False, scripts=True):
        """Load a file in a window of that size."""
        self.send("Emulation.setScriptExecutionDisabled", value=not scripts)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self.receive())

    def js(self, expression):
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def complaints(self):
        """What the page has written to the console, exceptions and refused loads."""
        self.js("0")
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [event["params"] for event in self.events if event["method"] in kinds]

    def press(self, key, code, times=1, text=""):
        for _ in range(times):
            common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
            self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
            self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def write(self, identifier, text):
        """Type into a field in place of what it holds."""
        self.js(f"document.getElementById({identifier!r}).select()")
        self.js(f"document.getElementById({identifier!r}).focus()")
        self.send("Input.insertText", text=text)

    def values(self):
        """Numbers shown, in full, by identifier; None for a dash."""
        pairs = self.js(
            "[...document.querySelectorAll('data')].map((data) =>"
            "[data.id || data.parentElement.id.replace('-output', ''), data.getAttribute('value')])"
        )
        return {key: float(value) if value else None for key, value in pairs}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the path")
    if sys.platform == "win32":
        pytest.skip("the debugging pipe needs file descriptors 3 and 4")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


# --- the formulas --------------------------------------------------------------------------------


@pytest.fixture
def engine(request, tmp_path):
    """Run JavaScript after the formulas; its value, numbers in full."""

    def run(expression):
        code = (
            f"{FORMULAS}\nconst value = {expression};\n"
            "const text = JSON.stringify(value, (_, x) => typeof x === 'number' ? String(x) : x);\n"
        )
        if NODE:
            file = tmp_path / "formulas.js"
            file.write_text(f"{code}console.log(text);", encoding="utf-8")
            done = subprocess.run([NODE, file], capture_output=True, text=True, check=True)
            return json.loads(done.stdout)
        if CHROMIUM:
            return json.loads(
                request.getfixturevalue("browser").js(f"(() => {{{code}return text}})()")
            )
        return pytest.skip("neither node nor a Chromium on the path to run JavaScript")

    return run


def agree(rows, name, expected):
    actual = np.array([float(row[name]) for row in rows])
    assert not np.isnan(actual).any(), name
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE, atol=0, err_msg=name)


LOOPS = {
    "n": [1, 2, 37.5, 2000, 1e6, 1e12],
    "alpha": [0, 1e-12, 0.01, 1 / 3, 0.5, 0.75, 1 - 1e-9, 1],
    "generation": [0, 1, 2, 7, 100, 10_000, INF],
    "kappa": [0, 0.3, 1 - 1e-12, 1, 1 + 1e-9, 4 / 3, 1.5, 2, 4, 1000],
}
CONSTANTS = {
    "M": [1e-6, 1, 10],
    "b": [0, 0.5, 1e6],
    "c": [0, 0.1, 3],
    "a": [0.001, 0.25, 0.5, 1, 1.7, 10],
    "delta": [1e-12, 0.05, 0.999999],
    "floor": [0, 0.02],
}


def drawn(grid, count, seed):
    """Settings drawn from a grid."""
    rng = np.random.default_rng(seed)
    return [
        {name: float(rng.choice(values)) for name, values in grid.items()} for _ in range(count)
    ]


def columns(cases):
    return {name: np.array([case[name] for case in cases]) for name in cases[0]}


def test_gap_and_stability_are_those_of_the_package(engine):
    loops = [dict(zip(LOOPS, values, strict=True)) for values in itertools.product(*LOOPS.values())]
    others = drawn(CONSTANTS, len(loops), seed=1)
    cases = [loop | other for loop, other in zip(loops, others, strict=True)]
    assert len(cases) >= 200
    at = columns(cases)
    loop = (at.pop("n"), at.pop("alpha"), at.pop("generation"))
    gaps = engine(f"{json.dumps(cases)}.map(bounds.generalizationGapAtRate)")
    expected = bounds.generalization_gap_at_rate(*loop, **at)
    for name in ("shift", "stability", "fluctuation", "total"):
        agree(gaps, name, getattr(expected, name))
    assert [gap["vacuous"] for gap in gaps] == expected.vacuous.tolist()
    stable = engine(f"{json.dumps(cases)}.map(bounds.recursiveStability)")
    size, alpha, generation = loop
    stability = bounds.recursive_stability(size, alpha, at["kappa"], generation)
    agree(stable, "influence", stability.influence)
    agree(stable, "gamma", stability.gamma)
    agree(stable, "varianceProxy", stability.variance_proxy)
    assert [row["stable"] for row in stable] == stability.stable.tolist()
    thresholds = engine(f"{json.dumps(LOOPS['kappa'])}.map(bounds.phaseThreshold)")
    np.testing.assert_allclose(
        np.array(thresholds, float), bounds.phase_threshold(LOOPS["kappa"]), rtol=TOLERANCE
    )


def test_drift_is_that_of_the_package(engine):
    grid = {key: LOOPS[key] for key in ("alpha", "generation")}
    grid |= {"eps0": [0, 1e-9, 0.3, 7], "eps": [0, 0.01, 0.3]}
    cases = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    assert len(cases) >= 200
    at = columns(cases)
    expected = bounds.drift_constant_share(at["eps0"], at["eps"], at["alpha"], at["generation"])
    drifts = engine(f"{json.dumps(cases)}.map(bounds.driftConstantShare)")
    agree(drifts, "total", expected.total)
    agree(drifts, "first", expected.terms[:, 0])
    agree(drifts, "later", expected.terms[:, 1])


PROBLEMS = {
    "n": [1, 40, 2000, 1e6],
    "generation": [1, 2, 8, 60, 500, INF],
    "kappa": [0, 0.3, 0.9, 1, 1.5, 3],
    "M": [1, 10],
    "b": [0, 0.5, 5],
    "c": [0, 0.05, 0.3, 1],
    "a": [0.25, 0.5, 0.8, 1, 1.5],
    "delta": [1e-6, 0.05, 0.5],
    "floor": [0, 0, 0.001, 0.02],
}
LAMBDAS = [0, 1e-9, 0.2, 1, 7.3, 1e4, 1e12, INF]


def test_trade_off_is_that_of_the_package(engine):
    cases = drawn(PROBLEMS, 60, seed=2)
    rows = engine(
        f"{json.dumps(cases)}.map((at) => {json.dumps(LAMBDAS)}.map("
        "(lam) => bounds.syntheticTradeOff(at, lam)))"
    )
    for case, row in zip(cases, rows, strict=True):
        expected = bounds.synthetic_trade_off(case.pop("n"), LAMBDAS, **case)
        for name in ("shift", "stability", "fluctuation", "total"):
            agree(row, name, getattr(expected, name))


def test_optimal_size_is_that_of_the_package(engine):
    cases = drawn(PROBLEMS, 200, seed=3)
    rows = engine(f"{json.dumps(cases)}.map(bounds.optimalSize)")
    regimes = []
    for case, row in zip(cases, rows, strict=True):
        expected = bounds.optimal_size(case.pop("n"), **case)
        assert row["regime"] == expected.regime, case
        regimes.append(expected.regime)
        for name, value in (
            ("lam", expected.lam),
            ("value", expected.value),
            ("lowerBound", expected.lower_bound),
        ):
            assert float(row[name]) == pytest.approx(value, rel=TOLERANCE, abs=0), (name, case)
    assert {*regimes} == {"none", "interior", "unbounded"}
    assert regimes.count("interior") >= 20


# --- the page ------------------------------------------------------------------------------------

VOID = {"meta", "link", "img", "input", "br", "hr", "wbr"}


class Page(HTMLParser):
    """Every element with its attributes and text; a tag out of place is an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(text)
        self.close()
        assert self.open == [], "tags that are never closed"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len({*names}), (tag, names)
        element = {"tag": tag, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop()["tag"] == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag):
        return [element for element in self.elements if element["tag"] == tag]

    def with_id(self, identifier):
        return next(e for e in self.elements if e.get("id") == identifier)


SVG = (
    '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="90pt" height="45pt" '
    'viewBox="0 0 90 45">\n <metadata>made by</metadata>\n <path id="{name}" '
    'd="M 1.234567 2 \nL 3 40.5 \n" style="stroke: #ff0000; opacity: 0.123456"/>\n'
    " <text style=\"font-family: 'DejaVu Sans', 'Arial', sans-serif\">100 % of a &amp; b, λ</text>"
    "\n</svg>\n"
)
HOSTILE = "<script>alert('x')</script> & \"quoted\" {{script}} <img src=x onerror=alert(1)>"


def cell(**others):
    keys = {"regime": "augment", "alpha": 0.5, "generation": 3, "verdict": "holds"}
    numbers = {"measured": 0.123456, "low": 0.1, "high": 0.15, "bound": 0.25}
    return {**keys, **numbers, "margin_low": 0.1, "margin_high": 0.2, **others}


def entry(name, *cells, **others):
    known = {"name": "kappa", "value": 0.987654321, "provenance": "certified"}
    return {
        "name": name,
        "statement": f"statement of {name}",
        "source": "derived here: a proof",
        "replicates": 6,
        "failed": [],
        "verdict": "holds",
        "constants": [known],
        "cells": list(cells),
        "negative_control": {"what": "the roles exchanged", "rejected": True},
        **others,
    }


def make_folder(folder, claims, figures, captions=()):
    """A run folder by hand, its manifest in order."""
    folder.mkdir()
    preset = {"name": "by hand", "samples": PRESET.samples, "generations": 4, "task": {"dim": 1}}
    config = {
        "preset": preset,
        "versions": {"numpy": "2"},
        **dict.fromkeys(("platform", "devices", "learner", "source"), "here"),
    }
    stored = {"preset": "by hand", "seed": 7, "seconds": 1.5, "claims": claims}
    write_table(folder / "loops.csv", loops_of(below_the_bound))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "claims.json").write_text(json.dumps(stored))
    for name in figures:
        (folder / f"{name}.svg").write_text(SVG.format(name=name), encoding="utf-8")
    pages = [f"## {name}\n\n![{name}]({name}.svg)\n\n{text}\n" for name, text in captions]
    (folder / "README.md").write_text("# Figures\n\n" + "\n".join(pages))
    renew_manifest(folder, [f"{name}.svg" for name in figures])
    return folder


def renew_manifest(folder, figures):
    def digests(names):
        return {name: sha256((folder / name).read_bytes()).hexdigest() for name in names}

    sources = ("config.json", "claims.json", "loops.csv")
    manifest = {
        "matplotlib": "3",
        "sources": digests([name for name in sources if (folder / name).exists()]),
        "figures": digests(figures),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def small(tmp_path):
    claims = [
        entry("drift", cell(loop="ols", quantity="error", n=[10, 20], lam=2.0)),
        entry("other", cell(), cell(generation=4, verdict="violated", missed=True)),
    ]
    figures = ["loop", "drift", "in_context_error", "synthetic_curves"]
    captions = [("drift", "Drift of everything. More."), ("loop", "The loop: a picture.")]
    return make_folder(tmp_path / "small", claims, figures, captions)


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """The page of the committed results."""
    return report.write_report(FIGURES, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def parsed(committed):
    return Page(committed.read_text(encoding="utf-8"))


def check_structure(page):
    identifiers = [element["id"] for element in page.elements if "id" in element]
    assert len(identifiers) == len({*identifiers})
    assert page.elements[0] == {**page.elements[0], "tag": "html", "lang": "en"}
    assert page.all("title")[0]["text"]
    targets = [a["href"] for a in page.all("a")]
    assert all(target.startswith("#") for target in targets)
    assert {target[1:] for target in targets} <= {*identifiers}
    for element in page.elements:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            if name in element:
                assert {*element[name].split()} <= {*identifiers}
        assert not {name for name in element if name.startswith("on") or name == "style"}
    levels = [int(e["tag"][1]) for e in page.elements if re.fullmatch("h[1-6]", e["tag"])]
    assert levels.count(levels[0]) == 1 == levels[0]
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    assert all(image["alt"].strip() for image in page.all("img"))
    assert all(th["scope"] in ("col", "row") for th in page.all("th"))
    assert "width=device-width" in next(
        meta["content"] for meta in page.all("meta") if meta.get("name") == "viewport"
    )


def check_self_contained(page, scripts=1):
    """Nothing is loaded, and a policy forbids it."""
    for element in page.elements:
        for name in ("src", "srcset", "poster", "data", "action"):
            assert element.get(name, "data:").startswith("data:image/svg+xml,"[:5]), element["tag"]
    assert not page.all("link")
    assert not page.all("iframe")
    for style in page.all("style"):
        assert not re.search(r"@import|url\(", style["text"])
    assert (len(page.all("script")), len(page.all("style"))) == (scripts, 1)
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    assert not re.search(r"https?:|\*", policy)


def table_after(page, text, caption):
    """Cells of a table by its caption, as text."""
    start = text.index(f"<caption>{caption}")
    body = text[text.index("<tbody>", start) : text.index("</tbody>", start)]
    rows = Page(f"<table>{body}</tbody></table>").all("tr")
    assert rows
    return [Page(f"<table>{row}</table>") for row in re.findall("<tr>.*?</tr>", body, re.DOTALL)]


def test_the_committed_page_is_small_well_formed_and_self_contained(committed, parsed):
    assert committed.stat().st_size <= MEGABYTES * 1e6
    check_structure(parsed)
    check_self_contained(parsed)


def test_every_claim_is_there_as_on_the_console(committed, parsed):
    entries = json.loads((FIGURES / "claims.json").read_text())["claims"]
    rows = table_after(parsed, committed.read_text(encoding="utf-8"), "Where each claim")
    shown = [[td["text"] for td in row.all("td")] for row in rows]
    assert [row[:-1] for row in shown] == [list(table.claim_row(e)) for e in entries]
    for claim in entries:
        said = parsed.with_id(f"claim-{claim['name']}")["text"]
        for part in (claim["statement"], claim["source"], claim["negative_control"]["what"]):
            assert part in said


def test_every_figure_is_there_with_its_caption_and_its_numbers(committed, parsed):
    names = [Path(n).stem for n in json.loads((FIGURES / "manifest.json").read_text())["figures"]]
    names = list(dict.fromkeys(names))
    captions = report._captions(FIGURES / "README.md")
    text = committed.read_text(encoding="utf-8")
    images, shown = parsed.all("img"), parsed.all("figcaption")
    assert len(images) == len(names) >= 20
    own = [f for f in shown if f["text"] in captions.values()]
    for name, image, figcaption in zip(names, images, own, strict=True):
        assert figcaption["text"] == captions[name] != ""
        assert captions[name].startswith(image["alt"])
        assert parsed.with_id(f"figure-{name}")["tag"] == "h3"
    entries = {e["name"]: e for e in json.loads((FIGURES / "claims.json").read_text())["claims"]}
    for name in entries.keys() & {*names}:
        rows = table_after(parsed, text, f"{name}: every cell")
        assert len(rows) == len(entries[name]["cells"])
    numbers = [td["text"] for td in parsed.all("td") if td.get("class") == "number"]
    digits = [re.sub(r"e[+-]\d+$|^[-≤=> ]*0*\.?0*|\.", "", n) for n in numbers if "." in n]
    long = [n for n, d in zip((n for n in numbers if "." in n), digits, strict=True) if len(d) > 4]
    assert [n for n in long if "," not in n and "±" not in n and "%" not in n] == []


def test_the_headline_says_what_claims_and_cells_there_are():
    missed, undecided = ([{"missed": True}, {}], [{}])
    claims = [("holds", []), ("inconclusive", missed), ("finding", []), ("inconclusive", undecided)]
    stored = {"claims": [{"verdict": verdict, "cells": cells} for verdict, cells in claims]}
    said = report._summary(stored)
    assert said == ("4 claims: 1 hold, 1 decided against (no theorem), 1 findings, 1 inconclusive.")
    stored["claims"][1]["cells"] = undecided
    assert report._summary(stored) == "4 claims: 1 hold, 2 inconclusive, 1 findings."
    stored["claims"][0]["cells"] = [{"vacuous": True}, {"by_definition": True}, {}]
    assert report._summary(stored).endswith(
        " Of 5 cells, 1 vacuous, 1 by definition: shown, not judged."
    )


def test_what_is_not_judged_is_shown_apart_with_its_bound(tmp_path):
    families = [{"family": name, "cells": 2, "rejected": 1} for name in "abc"]
    control = {"what": "the roles exchanged", "rejected": True, "families": families}
    cells = [
        cell(skew=0.25),
        cell(vacuous=True, verdict="finding", bound=7.5),
        cell(by_definition=True, verdict="finding", bound=8.5),
        cell(verdict="finding", bound=9.5),
        cell(missed=True, verdict="inconclusive"),
    ]
    entry_ = entry("drift", *cells, negative_control=control, verdict="inconclusive")
    folder = make_folder(tmp_path / "run", [entry_, entry("other", cell())], ["drift"])
    text = report.page(folder)
    page = Page(text)
    rows = [
        [td["text"] for td in row.all("td")] for row in table_after(page, text, "drift: every cell")
    ]
    said = [row[-1] for row in rows]
    assert said == ["holds", "vacuous", "by definition", "finding", "decided against; no theorem"]
    assert [row[-2] for row in rows] == ["0.25", "", "", "", ""]
    bounds_ = [next(filter(re.compile(r"(≤ )?[789]\.5").fullmatch, row)) for row in rows[1:4]]
    assert bounds_ == ["≤ 7.5", "≤ 8.5", "9.5"]
    about = page.with_id("claim-drift")["text"]
    assert "(rejected in 3 of 3 families)" in about
    assert "1 hold, 1 vacuous, 1 by definition, 1 findings, 1 decided against; no theorem" in about
    classes = {e["text"]: e["class"] for e in page.all("span") if "class" in e}
    assert classes["vacuous"] == classes["by definition"] == "finding"
    assert classes["decided against; no theorem"] == "inconclusive"
    first = [td["text"] for td in table_after(page, text, "Where each claim")[0].all("td")]
    assert first[5:7] == [
        "decided against; no theorem (1 vacuous, 1 by definition)",
        "yes, in 3 of 3 families",
    ]
    other = text.partition("other: every cell")[2].partition("</table>")[0]
    assert "skew" not in other


def started(page):
    """Where the sliders start, the measured drift beside them, and what is said of both."""
    room = page.with_id("interactive")
    said = re.search(r"The sliders start.*?Assumed: .*?\.", page.all("main")[0]["text"], re.DOTALL)
    return json.loads(room["data-start"]), json.loads(room["data-measured"]), said[0]


def test_the_sliders_start_at_what_the_run_measured(parsed):
    at, measured, said = started(parsed)
    preset = json.loads((FIGURES / "config.json").read_text())["preset"]
    assert at.keys() == {*SETTINGS} - {"lam"}
    assert (at["n"], at["generation"]) == (preset["samples"], preset["generations"])
    assert at["alpha"] in preset["shares"]
    claims = json.loads((FIGURES / "claims.json").read_text())["claims"]
    (drift,) = (entry for entry in claims if entry["name"] == "drift")
    whole = max(cell["prefix"] for cell in drift["cells"])
    cells = [cell for cell in drift["cells"] if cell["prefix"] == whole]
    assert {loop["alpha"] for loop in measured} == {0, *preset["shares"]}
    for loop in measured:
        own = [cell["measured"] for cell in cells if cell["alpha"] == loop["alpha"]]
        assert loop["drift"] == pytest.approx(own, rel=1e-3)
    eps = next(
        constant["value"][-1]
        for constant in drift["constants"]
        if re.fullmatch(rf"eps by .*augment-{at['alpha']:g}, .*", constant["name"])
    )
    first = next(loop["drift"][0] for loop in measured if loop["alpha"] == at["alpha"])
    law = {name: at[name] for name in ("c", "a", "floor")}
    for size, error in ((at["n"], first), (at["n"] / at["alpha"], eps)):
        assert law["floor"] + law["c"] * size ** -law["a"] == pytest.approx(error, rel=3e-3)
    known = {c["name"]: c["value"] for entry in claims for c in entry["constants"]}
    size = re.search(r"one replaced prompt \(n = (\d+), loops", said)[1]
    sizes = [int(name.removeprefix("b, n = ")) for name in known if name.startswith("b, n = ")]
    away = [abs(np.log(other / at["n"])) for other in sizes]
    assert abs(np.log(int(size) / at["n"])) == min(away) < max(away)
    for name in ("b", "kappa"):
        assert at[name] == pytest.approx(known[f"{name}, n = {size}"], rel=1e-3)
    assert said.endswith("Assumed: M, δ.")


def test_the_drift_at_the_start_bounds_the_measured_one_and_is_no_far_cry_from_it(parsed):
    at, measured, _ = started(parsed)
    (loop,) = (loop for loop in measured if loop["alpha"] == at["alpha"])
    n, alpha = at["n"], at["alpha"]
    eps0, eps = (at["floor"] + at["c"] * size ** -at["a"] for size in (n, n / alpha))
    for generation, seen in enumerate(loop["drift"]):
        bound = bounds.drift_constant_share(eps0, eps, alpha, generation).total
        assert 0.99 * seen <= bound <= 1.5 * seen


@pytest.mark.parametrize("failed", [False, True])
def test_sliders_start_at_whatever_was_measured(tmp_path, failed):
    """Nothing; loops that failed; a law without a loop."""
    claims = [entry("drift", cell())]
    folder = make_folder(tmp_path / "run", claims, ["drift"])
    loops = loops_of(below_the_bound)
    if failed:
        for result in loops.values():
            result.observations["drift"][:, 1:] = np.nan
        write_table(folder / "loops.csv", loops)
    else:
        (folder / "loops.csv").unlink()
    law = {"floor": 0.3, "c": 16.0, "a": 1.0}
    for measured_law in (False, True):
        if measured_law:
            what = "of eps(N) = floor + c N^-a, whole prompts"
            claims[0]["constants"] = [
                {"name": f"{name} {what}", "value": {"fitted": value}, "provenance": "measured"}
                for name, value in law.items()
            ]
        stored = json.loads((folder / "claims.json").read_text())
        (folder / "claims.json").write_text(json.dumps(stored | {"claims": claims}))
        renew_manifest(folder, ["drift.svg"])
        at, measured, said = started(Page(report.page(folder)))
        assert measured == []
        assert (at["n"], at["generation"], at["alpha"]) == (PRESET.samples, 4, 0.5)
        wanted = law if measured_law else {"floor": 0.0, "c": 0.5, "a": 0.5}
        assert {name: at[name] for name in law} == wanted
        assumed = "κ, b, α, M, δ" if measured_law else "κ, b, α, c, a, e, M, δ"
        assert said.endswith(f"Assumed: {assumed}.")


@pytest.mark.parametrize(("first", "later"), [(0.4, 0.3), (0.3, 0.3), (0.2, 0.3), (0.3, 0.0)])
def test_the_law_of_two_errors(first, later):
    law = report._law_through(first, later, 1000, 0.5)
    errors = [law["floor"] + law["c"] * size ** -law["a"] for size in (1000, 2000)]
    falls = first > later > 0
    assert errors == pytest.approx([first, later] if falls else [max(first, later)] * 2)


def test_pictures_are_those_of_the_folder(parsed):
    names = [
        n for n in json.loads((FIGURES / "manifest.json").read_text())["figures"] if "svg" in n
    ]
    for name, image in zip(names, parsed.all("img"), strict=True):
        shown = unquote(image["src"].removeprefix("data:image/svg+xml,"))
        ElementTree.fromstring(shown)
        assert shown.split() == (FIGURES / name).read_text(encoding="utf-8").split()


def test_constants_configuration_environment_and_commands_are_there(parsed):
    text = parsed.all("main")[0]["text"]
    stored = json.loads((FIGURES / "claims.json").read_text())
    config = json.loads((FIGURES / "config.json").read_text())
    for claim in stored["claims"]:
        for constant in claim["constants"]:
            assert constant["name"] in text
    assert text.count("certified") > 50
    for setting in ("replicates", "shares", "architecture", "heads", "learning_rate"):
        assert setting in text
    for value in (*config["versions"].values(), config["source"], config["platform"]):
        assert value in text
    assert f"--preset {stored['preset']} --seed {stored['seed']} --fresh" in text


def test_the_small_page(small):
    page = Page(report.page(small))
    check_structure(page)
    check_self_contained(page)
    drift = page.with_id("figure-drift")
    assert drift["text"] == "drift"
    alts = [image["alt"] for image in page.all("img")]
    assert alts == ["The loop:", "Drift of everything.", "in context error", "synthetic curves"]
    assert [image["width"] for image in page.all("img")] == ["120"] * 4
    numbers = [td["text"] for td in page.all("td") if td.get("class") == "number"]
    for expected in ("0.1235", "≤ 0.25", "0.025", "0.4938", "10, 20", "0.9877"):
        assert expected in numbers
    assert "inf" not in page.all("main")[0]["text"].split()
    verdicts = [e["text"] for e in page.all("span")]
    assert verdicts.count("decided against; no theorem") == 1
    assert "1 hold, 1 decided against; no theorem" in page.with_id("claim-other")["text"]
    # The means of in_context_error: one row a regime and generation, one column a position.
    expected = [r["excess_squared_risk"].mean(0) for r in loops_of(below_the_bound).values()]
    assert f"{expected[0][0, 0]:.4g}" in numbers
    assert f"{expected[-1][-1, -1]:.4g}" in numbers


def test_the_same_folder_gives_the_same_bytes(small, tmp_path, monkeypatch):
    path = report.write_report(small)
    first = path.read_bytes()
    assert path == small / "report.html"
    copy = shutil.copytree(small, tmp_path / "elsewhere")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert report.write_report(copy, tmp_path / "new" / "r.html").read_bytes() == first
    assert not list(small.glob(".*"))


def test_hostile_text_is_escaped(tmp_path):
    hostile = entry(
        HOSTILE,
        cell(loop=HOSTILE, quantity=HOSTILE, regime=HOSTILE),
        statement=HOSTILE,
        source=HOSTILE,
        failed=[HOSTILE],
        constants=[{"name": HOSTILE, "value": HOSTILE, "provenance": HOSTILE}],
        negative_control={"what": HOSTILE, "rejected": False},
    )
    drift = entry("drift", cell(quantity=HOSTILE))
    folder = make_folder(tmp_path / "run", [hostile, drift], ["drift"], [("drift", HOSTILE)])
    config = json.loads((folder / "config.json").read_text())
    config["preset"]["name"] = config["versions"][HOSTILE] = HOSTILE
    config["preset"][HOSTILE] = {HOSTILE: HOSTILE}
    (folder / "config.json").write_text(json.dumps(config))
    stored = json.loads((folder / "claims.json").read_text())
    (folder / "claims.json").write_text(json.dumps(stored | {"preset": HOSTILE, "seed": HOSTILE}))
    renew_manifest(folder, ["drift.svg"])
    text = report.page(folder)
    page = Page(text)
    check_structure(page)
    check_self_contained(page)
    assert "<script>alert" not in text
    assert len(page.all("img")) == 1
    said = page.all("main")[0]["text"]
    assert said.count(HOSTILE) >= 12
    assert page.all("figcaption")[-1]["text"] == HOSTILE


@pytest.mark.parametrize("value", [None, float("nan"), INF, -INF])
def test_what_is_not_finite_is_a_dash_or_refused(tmp_path, value):
    finding = cell(measured=value, low=value, high=value, bound=None, verdict="finding")
    known = [{"name": "kappa", "value": [value, 2], "provenance": "measured"}]
    claims = [entry("drift", finding, verdict="finding", constants=known)]
    folder = make_folder(tmp_path / "run", claims, ["drift"])
    if value is not None:  # no JSON: nothing of ours writes it
        with pytest.raises(ValueError, match=r"claims\.json is damaged: numbers must be finite"):
            report.page(folder)
        return
    page = Page(report.page(folder))
    numbers = [td["text"] for td in page.all("td") if td.get("class") == "number"]
    assert "–, 2" in numbers
    assert not re.search(r"\b(nan|inf|None|Infinity)\b", page.all("main")[0]["text"])


def folder_without(name):
    def change(folder):
        (folder / name).unlink()

    return change


MANIFEST = '{"matplotlib": "3", "sources": {}, "figures": {}}'


def written(name, content):
    def change(folder):
        (folder / name).write_text(content)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (folder_without("config.json"), ["config.json", "does not exist"]),
        (folder_without("claims.json"), ["claims.json", "does not exist"]),
        (folder_without("manifest.json"), ["manifest.json", "does not exist"]),
        (folder_without("drift.svg"), ["drift.svg", "icl-stl figures", "manifest.json"]),
        (folder_without("loops.csv"), ["loops.csv", "icl-stl figures", "manifest.json"]),
        (written("claims.json", "{"), ["claims.json", "damaged"]),
        (written("claims.json", "[]"), ["claims.json", "damaged", "preset"]),
        (written("manifest.json", '{"figures": {}}'), ["manifest.json", "matplotlib"]),
        (written("manifest.json", MANIFEST), ["config.json", "manifest.json"]),
        (written("drift.svg", "<svg/>"), ["drift.svg", "manifest.json"]),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(small, change, words):
    change(small)
    with pytest.raises(ValueError, match=re.escape(words[0])) as refusal:
        report.write_report(small)
    for word in words:
        assert word in str(refusal.value)
    assert not (small / "report.html").exists()


def call_script(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["icl-stl", "report", *map(str, arguments)])
    try:
        return commands.main()
    except SystemExit as ended:
        return ended.code


def test_the_script_writes_the_page(small, tmp_path, monkeypatch, capsys):
    assert call_script(monkeypatch, "--results", small, "--out", tmp_path / "a" / "b.html") == 0
    assert (tmp_path / "a" / "b.html").read_text(encoding="utf-8") == report.page(small)
    assert "b.html" in capsys.readouterr().out
    assert call_script(monkeypatch, "--results", small) == 0
    assert (small / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--results", "nowhere"], "error: results must be the folder of a run, a loop or a sweep"),
        (["--results", "small", "--out", "small"], "error: out must be a file"),
        (["--results", "small", "--out", "folder.html"], "error: out must be a file"),
        (["--results", "small", "--out", ""], "error: --out must have a value"),
        (["--results", "small", "--out", "small/claims.json"], "ends in .html"),
        (["--results", "small", "--out", "small/config.json/x.html"], "out must be a wri"),
        (["--nonsense"], "nonsense"),
    ],
)
def test_the_script_refuses_bad_input(small, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(small.parent)
    (small.parent / "folder.html").mkdir()
    before = sorted(small.parent.rglob("*"))
    assert call_script(monkeypatch, *arguments) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""
    assert sorted(small.parent.rglob("*")) == before


def test_neither_jax_nor_matplotlib_is_loaded():
    code = (
        "import sys; from icl_stl import report;"
        "assert not {'jax', 'flax', 'optax', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=SECONDS)


def luminance(colour):
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_can_be_told_from_their_background(scheme):
    """WCAG: 4.5 : 1 for text, 3 : 1 for lines."""
    style = (ROOT / "icl_stl" / "report" / "report.css").read_text()
    block = style.split(":root {")[1 + scheme].split("}")[0]
    colours = dict(re.findall(r"--(\w+): (#\w{6});", block))

    def contrast(one, other):
        light = sorted((luminance(colours[one]), luminance(colours[other])))
        return (light[1] + 0.05) / (light[0] + 0.05)

    for background in ("page", "panel"):
        for name in ("text", "soft", "link", "holds", "violated", "inconclusive", "finding"):
            assert contrast(name, background) >= 4.5, (name, background)
    for name in ("shift", "stability", "fluctuation", "total", "soft"):
        assert contrast(name, "page") >= 3, name


# --- in the browser ------------------------------------------------------------------------------

SETTINGS = ("n", "alpha", "lam", "generation", "kappa", "c", "a", "floor", "M", "b", "delta")
RIGHT, LEFT, HOME, END, TAB, ENTER = (
    *(("ArrowRight", 39), ("ArrowLeft", 37), ("Home", 36), ("End", 35)),
    *(("Tab", 9), ("Enter", 13)),
)


def expected_values(at, limit=False):
    """What the page has to show at its own settings."""
    i = INF if limit else at["generation"]
    n, alpha, kappa, floor = (at[key] for key in ("n", "alpha", "kappa", "floor"))
    others = {key: at[key] for key in ("M", "b", "kappa", "c", "a", "delta", "floor")}
    gap = bounds.generalization_gap_at_rate(n, alpha, i, **others)
    loop = bounds.recursive_stability(n, alpha, kappa, i)
    with np.errstate(divide="ignore"):
        later = floor + at["c"] * (np.float64(n) / alpha) ** -at["a"]
    drift = bounds.drift_constant_share(floor + at["c"] * n ** -at["a"], later, alpha, i)
    size = bounds.optimal_size(n, generation=i, **others) if i else None
    here = bounds.synthetic_trade_off(n, at["lam"], generation=i, **others) if i else None
    last = bounds.optimal_size(n, **others)
    return {
        "gap-shift": gap.shift,
        "gap-stability": gap.stability,
        "gap-fluctuation": gap.fluctuation,
        "gap-total": gap.total,
        "ratio": (1 - alpha) * kappa,
        "threshold": bounds.phase_threshold(kappa),
        "influence": loop.influence,
        "gamma": loop.gamma,
        "drift-first": drift.terms[0],
        "drift-later": drift.terms[1],
        "drift-total": drift.total,
        "size-lam": size and size.lam,
        "size-value": size and size.value,
        "size-lower": size and size.lower_bound,
        "size-here": here and here.total,
        "limit-lam": last.lam,
        "limit-value": last.value,
    }


def check_values(browser, limit=False):
    shown = browser.values()
    at = {key: shown.pop(key) for key in SETTINGS}
    expected = expected_values(at, limit)
    assert shown.keys() == expected.keys()
    for key, value in expected.items():
        if value is None:
            assert shown[key] is None, (key, at)
        else:
            assert shown[key] == pytest.approx(float(value), rel=TOLERANCE, abs=0), (key, at)
    return at


def overflow(browser, width):
    """By how much the page is wider than its window, and what sticks out of it."""
    room = f"({width} - innerWidth + document.documentElement.clientWidth)"
    return browser.js(
        f"({{wider: document.documentElement.scrollWidth - {room},"
        "which: [...document.body.querySelectorAll('*')].filter((e) =>"
        f"!e.closest('.scroll, .skip, pre, svg') && e.getBoundingClientRect().right > {room} + 1)"
        ".map((e) => e.outerHTML.slice(0, 80))})"
    )


@contextmanager
def on(browser, path, **options):
    browser.open(path, **options)
    yield browser
    assert browser.complaints() == []


def test_the_page_opens_within_a_second(browser, committed):
    times = []
    for _ in range(3):
        with on(browser, committed):
            entry_ = "performance.getEntriesByType('navigation')[0].loadEventEnd"
            times.append(browser.js(entry_))
            assert browser.js("performance.getEntriesByType('resource').length") == 0
    assert 0 < min(times) <= 1000, times


def test_every_picture_can_be_drawn(browser, committed):
    with on(browser, committed):
        sizes = browser.js(
            "Promise.all([...document.images].map(async (image) => {"
            "image.loading = 'eager'; await image.decode();"
            "return [image.naturalWidth, image.width, Number(image.getAttribute('width'))] }))"
        )
        assert len(sizes) >= 20
        for natural, shown, said in sizes:
            assert abs(natural - said) <= 1
            assert 300 < shown <= said


@pytest.mark.parametrize("key", SETTINGS)
def test_a_slider_moved_by_keyboard_changes_what_the_bounds_say(browser, committed, key):
    with on(browser, committed):
        before = check_values(browser)
        for (name, code), times in ((RIGHT, 3), (LEFT, 2), (END, 1), (LEFT, 1), (HOME, 1)):
            browser.js(f"document.getElementById('{key}-slider').focus()")
            browser.press(name, code, times)
            after = check_values(browser)
            assert after[key] != before[key]
            text = browser.js(f"document.getElementById('{key}-slider').ariaValueText")
            assert text.endswith(
                browser.js(f"document.querySelector('#{key}-output data').innerText")
            )
            assert "NaN" not in browser.js("document.getElementById('interactive').innerHTML")
            before = after


def test_numbers_typed_change_what_the_bounds_say(browser, committed):
    with on(browser, committed):
        for key, value in (
            *(("n", 12345), ("alpha", 0.3217), ("generation", 13), ("kappa", 1.4)),
            *(("c", 0.77), ("a", 0.41), ("floor", 0.003), ("b", 0), ("delta", 1e-4)),
            *(("lam", 2.5), ("alpha", 0), ("alpha", 1), ("lam", 0), ("generation", 0)),
        ):
            browser.write(f"{key}-number", str(value))
            assert check_values(browser)[key] == value
        assert browser.js("document.getElementById('chart-size').parentElement.hidden")


def test_alpha_and_lambda_are_one_number(browser, committed):
    with on(browser, committed):
        browser.write("lam-number", "3")
        assert browser.values()["alpha"] == 0.25
        assert browser.js("document.getElementById('alpha-slider').value") == "0.25"
        browser.write("alpha-number", "0")
        assert browser.values()["lam"] == INF
        browser.write("alpha-number", "0.2")
        assert browser.values()["lam"] == pytest.approx(4)


def test_the_limit_of_the_loop(browser, committed):
    with on(browser, committed):
        browser.js("document.getElementById('limit').focus()")
        browser.press(" ", 32, text=" ")
        check_values(browser, limit=True)
        for key, value in (("kappa", 2.5), ("alpha", 0), ("kappa", 1), ("a", 1.5)):
            browser.write(f"{key}-number", str(value))
            check_values(browser, limit=True)
        browser.js("document.getElementById('generation-slider').focus()")
        browser.press(*RIGHT)
        assert not browser.js("document.getElementById('limit').checked")
        check_values(browser)


def test_what_is_not_admissible_is_said_and_changes_nothing(browser, committed):
    with on(browser, committed):
        before = browser.values()
        for key, text in (("alpha", "1.5"), ("generation", "2.5"), ("n", "0"), ("n", "")):
            browser.write(f"{key}-number", text)
            if not text:
                browser.press("Delete", 46)
            field = f"document.getElementById('{key}-number')"
            assert browser.js(f"{field}.getAttribute('aria-invalid')") == "true"
            assert "needs a" in browser.js(f"document.getElementById('{key}-output').innerText")
            shown = browser.values()
            assert shown == {name: before[name] for name in shown}
        browser.js("document.getElementById('reset').click()")
        assert browser.values() == before
        assert not browser.js("document.querySelectorAll('[aria-invalid]').length")


def test_everything_can_be_reached_by_keyboard_and_has_a_name(browser, committed):
    with on(browser, committed):
        browser.press(*TAB)
        assert browser.js("document.activeElement.className") == "skip"
        assert browser.js("document.activeElement.getBoundingClientRect().left") >= 0
        browser.press(*ENTER, text="\r")
        assert browser.js("location.hash") == "#content"
        browser.js("document.getElementById('n-slider').focus()")
        reached = []
        for _ in range(2 * len(SETTINGS)):
            reached.append(browser.js("document.activeElement.id"))
            browser.press(*TAB)
        assert reached == [f"{key}-{kind}" for key in SETTINGS for kind in ("slider", "number")]
        assert browser.js("getComputedStyle(document.activeElement).outlineStyle") != "none"
        assert browser.js(
            "[...document.querySelectorAll('input')].every((i) =>"
            "i.labels.length === 1 || i.ariaLabel)"
        )
        assert browser.js(
            "[...document.querySelectorAll('svg[role=img]')].every((s) => s.ariaLabel)"
        )
        said = "document.getElementById('said')"
        assert browser.js(f"{said}.ariaLive") == "polite"
        before = browser.js(f"{said}.innerText")
        browser.write("kappa-number", "1.9")
        assert browser.js(f"{said}.innerText") != before


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (320, 568), (1280, 900)])
def test_nothing_sticks_out_of_the_window(browser, committed, width, height, dark):
    with on(browser, committed, width=width, height=height, dark=dark):
        assert overflow(browser, width) == {"wider": 0, "which": []}
        browser.js("document.querySelectorAll('details').forEach((d) => { d.open = true })")
        browser.write("alpha-number", "1e-9")
        browser.write("kappa-number", "7")
        assert overflow(browser, width) == {"wider": 0, "which": []}
        colour = browser.js("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", colour))) < 380) == dark


@pytest.mark.parametrize("width", [390, 1280])
def test_the_measured_drift_is_drawn_in_the_curve(browser, committed, parsed, width):
    _, measured, _ = started(parsed)
    dots = "[...document.querySelectorAll('#chart-drift svg[role] .dot')].map((dot) => dot.cy"
    with on(browser, committed, width=width):
        seen = []
        for loop in measured:
            browser.write("alpha-number", str(loop["alpha"]))
            heights = browser.js(f"{dots}.baseVal.value)")
            assert len(heights) == len(loop["drift"])
            assert np.corrcoef(heights, loop["drift"])[0, 1] < -0.99  # pixels count downwards
            said = browser.js("document.getElementById('said').innerText")
            assert f"α = {loop['alpha']:g}, n = " in said
            assert f": {loop['drift'][-1]:.4g}. " in said
            seen.append(heights)
        assert len({tuple(heights) for heights in seen}) == len(measured)


def test_without_javascript_the_rest_of_the_page_is_there(browser, committed):
    browser.open(committed, width=375, height=667, scripts=False)
    root = browser.send("DOM.getDocument")["root"]["nodeId"]

    def visible(selector):
        node = browser.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        try:
            return browser.send("DOM.getBoxModel", nodeId=node)["model"]["height"] > 0
        except ValueError:
            return False

    for selector in ("#claims", "noscript p", "#figure-drift", "figure img", "#constants", "pre"):
        assert visible(selector), selector
    assert not visible("#interactive")
    browser.open(committed)
    assert not browser.js("document.querySelector('noscript p')")
