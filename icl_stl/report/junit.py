"""Judged claims as JUnit XML, which services that run tests show.

A claim that is violated is a failure. One that is inconclusive, or whose control was not rejected,
is skipped: nothing was shown. One that holds and a finding pass.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from icl_stl.lab.results import check_file, read_json, write_atomically


def write_junit(folder: Path, out: Path) -> None:
    """Write the claims of a run folder.

    Raises:
        ValueError: If the folder holds no run, or nothing can be written there.
    """
    content = read_json(folder / "claims.json")
    check_file(out, "junit")
    suite = ElementTree.Element("testsuite", name="icl_stl", time=str(content["seconds"]))
    for entry in content["claims"]:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"icl_stl.{content['preset']}", name=entry["name"]
        )
        kind, message = _outcome(entry)
        if kind:
            ElementTree.SubElement(case, kind, message=message)
        said = f"{entry['verdict']}: {entry['statement']} ({entry['source']})"
        ElementTree.SubElement(case, "system-out").text = said
    for name, kind in (("tests", "testcase"), ("failures", "failure"), ("skipped", "skipped")):
        suite.set(name, str(len([*suite.iter(kind)])))
    ElementTree.indent(suite)
    write_atomically(out, ElementTree.tostring(suite, "utf-8", xml_declaration=True))


def _outcome(entry: Mapping[str, Any]) -> tuple[str, str]:
    """What becomes of a claim, and why; nothing if it passes."""
    wrong = [cell for cell in entry["cells"] if cell["verdict"] == "violated"]
    if entry["verdict"] == "violated":
        places = "; ".join(
            f"{cell.get('quantity', entry['name'])} of {cell['regime']}, generation "
            f"{cell['generation']}: {cell['measured']:.4g} against {cell['bound']:.4g}"
            for cell in wrong[:3]
        )
        return "failure", f"violated in {len(wrong)} of {len(entry['cells'])} cells: {places}"
    if entry["verdict"] == "inconclusive":
        return "skipped", "inconclusive: these loops decide neither for nor against it"
    if entry["verdict"] == "holds" and not entry["negative_control"]["rejected"]:
        return "skipped", "its negative control was not rejected: nothing was shown"
    return "", ""
