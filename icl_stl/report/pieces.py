"""What every page is made of: the template, tables, figures, numbers in words."""

import html
import json
import math
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

Json = Mapping[str, Any]


def filled(sections: Mapping[str, str]) -> str:
    """The template with its placeholders replaced, and a policy that admits nothing else.

    A section of which something is not given is left out, with its entry in the list of sections;
    without the sliders there is no script.
    """
    here = Path(__file__).parent
    template, style, formulas = (
        (here / name).read_text(encoding="utf-8")
        for name in ("report.html", "report.css", "bounds.js")
    )
    placeholder = re.compile(r"\{\{(\w+)\}\}")

    def kept(found: re.Match[str]) -> str:
        return found[0] if {*placeholder.findall(found[0])} <= {*sections} else ""

    template = re.sub(r"<section .*?</section>\n\n?", kept, template, flags=re.DOTALL)
    for name in re.findall(r'<li><a href="#(\w+)">', template):
        if f'<section aria-labelledby="{name}">' not in template:
            template = re.sub(rf'<li><a href="#{name}">.*?</li>\n', "", template)
    if "start" not in sections:
        template = re.sub(r"<script>.*?</script>\n", "", template, flags=re.DOTALL)
    script = template.partition("<script>")[2].partition("</script>")[0]
    inline = {"style": style, "script": script.replace("{{formulas}}", formulas)}
    policy = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'"
    for kind, content in inline.items():
        digest = b64encode(sha256(content.encode()).digest()).decode()
        policy += f"; {kind}-src 'sha256-{digest}'" if content else ""
    parts = {**sections, "style": style, "formulas": formulas, "policy": policy}
    return placeholder.sub(lambda found: parts[found[1]], template)


def escaped(value: Any) -> str:
    """Text as HTML."""
    return html.escape(str(value))


def identifier(kind: str, name: str) -> str:
    """What a place of the page is called, for links to it."""
    return escaped(f"{kind}-{re.sub(r'[^0-9A-Za-z_-]', '-', name)}")


def number(value: Any) -> str:
    """Four significant digits; counts in full; a dash for what is missing or not finite."""
    if isinstance(value, Mapping):
        if len(value) == 1:
            return number(*value.values())
        return ", ".join(f"{key} {number(one)}" for key, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(number(one) for one in value)
    if isinstance(value, str | bool):
        return str(value)
    if value is None or not math.isfinite(value):
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


COUNTED = ("n", "λ", "α", "i", "measured", "±", "bound", "ratio", "skew", "value")
"""Columns of numbers, beside those that a number names."""


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    caption: str,
    scroll: str = "scroll tall",
    counted: Sequence[str] = COUNTED,
) -> str:
    """A table that scrolls inside its own region; the cells are HTML."""
    kinds = [' class="number"' * (name in counted or name.isdecimal()) for name in columns]

    def line(cell: str, texts: Iterable[str], scope: str = "") -> str:
        pairs = zip(kinds, texts, strict=True)
        return "".join(f"<{cell}{scope}{kind}>{text}</{cell}>" for kind, text in pairs)

    head = line("th", map(escaped, columns), ' scope="col"')
    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return (
        f'<div class="{scroll}" role="region" tabindex="0" aria-label="{escaped(caption)}">\n'
        f"<table><caption>{escaped(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def folded(summary: str, content: str, identifier: str = "") -> str:
    """What is there for whoever opens it."""
    name = f' id="{identifier}"' if identifier else ""
    return f"<details{name}><summary>{escaped(summary)}</summary>\n{content}\n</details>"


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and what they stand for; plain text."""
    lines = (f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in pairs)
    return f"<dl>{''.join(lines)}</dl>"


def figure(name: str, svg: str, caption: str, numbers: str = "", kind: str = "scroll") -> str:
    """A picture with its name, its caption and the numbers behind it, which are HTML.

    Args:
        name: Its file's, without the ending.
        svg: Its content.
        caption: Plain text; its first sentence stands for the picture where there is none.
        numbers: What stands below.
        kind: `scroll` if it keeps its size on a narrow screen, `fitted` if it becomes narrower.
    """
    title = name.replace("_", " ")
    first = re.split(r"(?<=[.:]) ", caption, maxsplit=1)[0]
    width, height = _size(svg)
    return (
        f'<h3 id="{identifier("figure", name)}">{escaped(title)}</h3>\n'
        f'<figure>\n<div class="{kind} picture" role="region" tabindex="0" '
        f'aria-label="{escaped(f"figure {title}")}">'
        f'<img loading="lazy" width="{width}" height="{height}" alt="{escaped(first or title)}" '
        f"src='data:image/svg+xml,{_in_url(svg)}'></div>\n"
        f"<figcaption>{escaped(caption)}</figcaption>\n</figure>\n{numbers}"
    )


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


def flat(values: Json, prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested settings, flat: `task.dim` is the entry `dim` of `task`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{prefix}{name}", plain


def settings(values: Json, caption: str) -> str:
    """What was set to what."""
    rows = [[f"<code>{escaped(name)}</code>", escaped(value)] for name, value in flat(values)]
    return table(("setting", "set to"), rows, caption, "scroll")


def environment(pairs: Iterable[tuple[str, Any]]) -> str:
    """Versions, and what else a run was made with."""
    rows = [[escaped(name), f"<code>{escaped(value)}</code>"] for name, value in pairs]
    return table(("what", "which"), rows, "What the run was made with", "scroll")


def commands(lines: Sequence[str]) -> str:
    """Lines for a shell."""
    return f'<pre tabindex="0"><code>{escaped(chr(10).join(lines))}</code></pre>'
