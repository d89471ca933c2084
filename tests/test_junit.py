"""Claims as a service of tests shows them."""

import json
from pathlib import Path
from xml.etree import ElementTree

from icl_stl.lab.results import write_json
from icl_stl.report.junit import write_junit

FIGURES = Path(__file__).parent.parent / "figures"


def test_each_verdict_is_what_a_test_would_be(tmp_path):
    content = json.loads((FIGURES / "claims.json").read_text())
    entries = [entry for entry in content["claims"] if entry["verdict"] == "holds"][:3]
    violated, undecided, weak = entries
    violated["verdict"] = violated["cells"][0]["verdict"] = "violated"
    violated["cells"][0].update(measured=2.5, bound=1.25, quantity="a <mean>")
    undecided["verdict"] = "inconclusive"
    weak["negative_control"]["rejected"] = False
    write_json(tmp_path / "claims.json", content)
    write_junit(tmp_path, tmp_path / "claims.xml")
    suite = ElementTree.parse(tmp_path / "claims.xml").getroot()
    cases = {case.get("name"): {part.tag: part for part in case} for case in suite}
    assert list(cases) == [entry["name"] for entry in content["claims"]]
    assert "a <mean> of" in cases[violated["name"]]["failure"].get("message")
    assert "2.5 against 1.25" in cases[violated["name"]]["failure"].get("message")
    skipped = {name for name, parts in cases.items() if "skipped" in parts}
    others = {entry["name"] for entry in content["claims"] if entry["verdict"] == "inconclusive"}
    assert skipped == others | {undecided["name"], weak["name"]}
    counts = [int(suite.get(name)) for name in ("tests", "failures", "skipped")]
    assert counts == [len(cases), 1, len(skipped)]
