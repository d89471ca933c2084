"""The API reference: a page of HTML for every public module, made from its docstrings.

Needs the extra `docs` (pdoc). Open `reference/index.html` afterwards; that fetches nothing.
Exit status 0, 1 if anything gave a warning, 2 for bad usage.
"""

import html
import inspect
import pkgutil
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import icl_stl
from icl_stl import console
from icl_stl.lab import results


@dataclass(frozen=True)
class Arguments:
    """Build the API reference."""

    out: Path = Path("reference")
    """Folder of the pages."""


CODE = re.compile(r"(``.+?``|`.+?`)", re.DOTALL)
"""What is code in a paragraph of a docstring."""

SUM = re.compile(r"(?<=\n)( *)([+-])(?= )")
"""A sign with which a formula goes on in a new line, and which no item of a list begins with."""

LABEL = re.compile(r"^(Returns|Raises|Assumes|Source): ", re.MULTILINE)
"""What begins a paragraph of its own."""

MADE = re.compile(r"Alias for field number \d+|Create new instance of .*")
"""What Python says of the fields of a named tuple that say nothing themselves."""


def plain(text: str) -> str:
    """Text whose signs and angle brackets are mathematics, not Markdown or HTML; code as it is."""
    if all(line.startswith("    ") for line in text.splitlines()):
        return text  # a formula by itself, shown as code
    parts = CODE.split(text)
    parts[::2] = [html.escape(part, quote=False).replace("*", r"\*") for part in parts[::2]]
    return SUM.sub(r"\1\\\2", "".join(parts))


def table(paragraph: str) -> str:
    """A table between lines of `=`, as Markdown; a row without first cell goes on with the last."""
    lines = paragraph.splitlines()
    starts = [mark.start() for mark in re.finditer("=+", lines[0])]
    borders = [k for k, line in enumerate(lines) if set(line) <= {"=", " "}]

    def cells(line: str) -> list[str]:
        ends = [*starts[1:], None]
        own = [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
        return [plain(cell).replace("|", r"\|") for cell in own]

    rows = [cells(lines[1]) if len(borders) == 3 else [""] * len(starts), ["---"] * len(starts)]
    for line in lines[borders[-2] + 1 : borders[-1]]:
        found = cells(line)
        if found[0]:
            rows.append(found)
        else:
            rows[-1] = [f"{a} {b}".strip() for a, b in zip(rows[-1], found, strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def as_markdown(docstring: str) -> str:
    """A docstring of this package in the Markdown that pdoc reads."""
    known: list[tuple[str, Callable[[str], str]]] = [("===", table), (">>>", str), ("", plain)]
    paragraphs = LABEL.sub(r"\n\1: ", docstring).split("\n\n")
    return "\n\n".join(
        next(convert for start, convert in known if paragraph.lstrip().startswith(start))(paragraph)
        for paragraph in paragraphs
    )


def public_modules() -> tuple[list[str], list[str]]:
    """Names of all public modules that can be imported; what is left out for lack of an extra."""
    names = ["icl_stl", *(m.name for m in pkgutil.walk_packages(icl_stl.__path__, "icl_stl."))]
    found, left_out = [], []
    for name in names:
        if any(part.startswith("_") for part in name.split(".")):
            continue
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("icl_stl"):
                raise
            left_out.append(f"{name} is left out: it needs {error.name}, which is not installed")
        else:
            found.append(name)
    return found, left_out


def build(names: list[str], out: Path) -> None:
    """Write the pages, an index and what the search field looks in."""
    import jax  # noqa: PLC0415  (only with good arguments)
    import jaxtyping  # noqa: PLC0415

    doc, render = import_module("pdoc.doc"), import_module("pdoc.render")
    pass_context = import_module("jinja2").pass_context
    convert = render.env.filters["to_markdown"]

    @pass_context  # type: ignore[untyped-decorator]
    def to_markdown(context: Any, docstring: str) -> str:
        own = "" if MADE.fullmatch(docstring) else docstring
        return str(convert(context, as_markdown(own)))

    render.env.filters["to_markdown"] = to_markdown
    keys, array = map(inspect.formatannotation, (jaxtyping.PRNGKeyArray, jax.Array))
    plainly = {keys: "PRNGKeyArray", array: "Array", jax.Array.__qualname__: "Array"}
    shorten = doc._remove_collections_abc  # the one place that all written annotations pass

    def short(text: str) -> str:
        for old, new in (*plainly.items(), ("jaxtyping.", "")):
            text = text.replace(old, new)
        return str(shorten(text))

    render.configure(docformat="google", show_source=False, footer_text="icl_stl")
    modules = {name: doc.Module.from_name(name) for name in names}
    for name, module in modules.items():  # all of them, also where `__all__` names functions alone
        own = [other for other in names if other.rpartition(".")[0] == name]
        module.submodules = [modules[other] for other in own]
    with patch.object(doc, "_remove_collections_abc", short):
        pages = {
            f"{name.replace('.', '/')}.html": render.html_module(module, modules)
            for name, module in modules.items()
        }
        pages["index.html"] = render.html_index(modules)
        pages["search.js"] = render.search_index(modules)
    for file, content in pages.items():
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        results.write_atomically(out / file, content.encode())


def main(arguments: Arguments) -> int:
    """Build the reference; the exit status."""
    if find_spec("pdoc") is None:
        console.refuse("the reference needs the extra docs: pip install -e '.[docs]'")
    try:
        results.make_folder(arguments.out)
    except ValueError as error:
        console.refuse(str(error))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        names, left_out = public_modules()
        build(names, arguments.out)
    for warning in warned:
        print(f"{warning.category.__name__}: {warning.message}", file=sys.stderr)
    for line in left_out:
        print(line)
    print(f"{len(names)} modules: {arguments.out}/index.html")
    return int(bool(warned))


if __name__ == "__main__":
    sys.exit(main(console.arguments_of(Arguments)))
