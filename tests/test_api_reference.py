"""The API reference: whole, without a warning, and saying what the docstrings say."""

import ast
import os
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("pdoc", reason="the API reference needs the extra docs")
from pdoc.docstrings import convert
from pdoc.render_helpers import to_html

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "docs" / "make_reference.py"
PACKAGE = ROOT / "icl_stl"


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_of(path): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
PUBLIC = [name for name in SOURCES if not any(part.startswith("_") for part in name.split("."))]


class Sections(HTMLParser):
    """Text of the docstring of every section of a page by its id, of the whole module by ''."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.found, self.text = {}, []
        self._open, self._own, self._depth = [], [], 0

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "section":
            self._open.append(given.get("id") or "")
            self.found.setdefault(self._open[-1], "")
        if tag == "div" and (self._depth or given.get("class") == "docstring"):
            self._depth += 1

    def handle_endtag(self, tag):
        if tag == "section":
            self._open.pop()
        if tag == "div" and self._depth:
            self._depth -= 1

    def handle_data(self, data):
        self.text.append(data)
        if self._depth and self._open:
            self.found[self._open[-1]] += data


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of pages, and how building them ended."""
    cwd = tmp_path_factory.mktemp("reference")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, SCRIPT],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return cwd / "reference", done


@pytest.fixture(scope="module")
def pages(built):
    """Sections of every page by module."""
    folder, done = built
    assert done.returncode in (0, 1), done.stderr
    found = {}
    for path in folder.rglob("*.html"):
        page = Sections()
        page.feed(path.read_text(encoding="utf-8"))
        found[".".join(path.relative_to(folder).with_suffix("").parts)] = page
    return found


def exported(module):
    """`__all__` of a module as it is written, or None."""
    for node in SOURCES[module].body:
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == ["__all__"]:
            return ast.literal_eval(node.value)
    return None


KINDS = ast.FunctionDef | ast.ClassDef


def definition(module, name):
    """The function or class behind a name, wherever it was imported from; None if it is neither."""
    for node in SOURCES[module].body if module in SOURCES else ():
        if isinstance(node, KINDS) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            is_module = f"{node.module}.{name}" in SOURCES
            return None if is_module else definition(node.module, name)
        starred = isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        if starred and (found := definition(node.module, name)):
            return found
    return None


def definitions(module):
    """Public functions and classes of a module by name: those of `__all__`, or its own."""
    names = exported(module)
    if names is None:
        own = [node.name for node in SOURCES[module].body if isinstance(node, KINDS)]
        names = [name for name in own if not name.startswith("_")]
    found = {name: definition(module, name) for name in names}
    return {name: node for name, node in found.items() if node is not None}


def test_it_is_built_without_a_warning(built):
    _, done = built
    assert done.stderr == ""
    assert done.returncode == 0


def test_every_public_module_has_a_page(built, pages):
    _, done = built
    left_out = dict(re.findall(r"^(\S+) is left out: it needs (\w+),", done.stdout, re.MULTILINE))
    assert set(left_out.items()) <= {("icl_stl.benchmark.torch_baseline", "torch")}
    assert set(pages) == {*PUBLIC, "index"} - set(left_out)


def test_every_public_name_is_on_the_page_of_its_module(pages):
    assert len(exported("icl_stl.bounds")) > 50
    missing = []
    for module in set(PUBLIC) & set(pages):
        names = exported(module)
        wanted = definitions(module) if names is None else names
        modules = {other.rpartition(".")[2] for other in PUBLIC if other.startswith(f"{module}.")}
        missing += [
            f"{module}.{name}"
            for name in wanted
            if name not in pages[module].found and name not in modules
        ]
    assert missing == []


def squeezed(text):
    return re.sub(r"[\s`]", "", text)


def pieces(docstring):
    """What of a docstring must be read on the page: its lines, those of tables by column."""
    for line in docstring.splitlines():
        if re.fullmatch(r" *(=+ *)+|[A-Z]\w+:", line):
            continue  # borders; names of sections, which pdoc may write in full
        yield from filter(None, map(squeezed, re.split(" {2,}", line.strip())))


def test_every_public_function_class_and_module_says_what_its_docstring_says(pages):
    silent, lost = [], []
    for module in set(PUBLIC) & set(pages):
        nodes = {"": SOURCES[module], **definitions(module)}
        for name, node in nodes.items():
            docstring = ast.get_docstring(node) or ""
            shown = squeezed(pages[module].found.get(name, ""))
            if not docstring.strip() or not shown:
                silent.append(f"{module}.{name}")
            lost += [f"{module}.{name}: {own}" for own in pieces(docstring) if own not in shown]
    assert silent == []
    assert lost == [], "\n".join(lost)


def test_annotations_of_arrays_are_written_out(pages):
    shown = "".join(pages["icl_stl.learners.laws"].text)
    assert re.search(r"key:\s*PRNGKeyArray,\s*laws:\s*Float\[Array, 'L K'\]", shown)


@pytest.mark.parametrize("noise", [" at 0x", "Alias for field number", "Create new instance"])
def test_nothing_is_shown_that_python_made_up(pages, noise):
    assert [name for name, page in pages.items() if noise in "".join(page.text)] == []


def test_bad_usage_is_refused_with_status_2(tmp_path):
    (tmp_path / "file").write_text("content")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--out", "file"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "out must be a writable folder, but file is not" in done.stderr


TRICKY = """What <f*, g*> and f*g*h are, with y_{<k} & a_b_c
+ 2 - 3; `x < y*z*` stays code.

====  ====================
name  what
====  ====================
f     ``first`` of <f, g>,
      or a | b
====  ====================

    x* = y* < z*
"""


def test_mathematics_and_tables_survive_markdown():
    as_markdown = runpy.run_path(str(SCRIPT))["as_markdown"]
    page = Sections()
    rendered = to_html(convert(as_markdown(TRICKY), "google", None))
    page.feed(rendered)
    shown = squeezed("".join(page.text))
    assert [own for own in pieces(TRICKY) if own not in shown] == []
    cells = re.findall(r"<t[hd]>(.*?)</t[hd]>", rendered)
    assert cells == ["name", "what", "f", "<code>first</code> of &lt;f, g&gt;, or a | b"]
    assert "<li>" not in rendered
    assert "<em>" not in rendered
