"""The theory page and the exact laws point at each other."""

import inspect
import re
from pathlib import Path

import icl_stl.references
from icl_stl import references

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "paper_checks" / "THEORY.md").read_text(encoding="utf-8")
FUNCTIONS = {
    name: inspect.getdoc(getattr(references, name))
    for name in references.__all__
    if inspect.isfunction(getattr(references, name))
}


def named_in(text):
    return {
        name
        for line in re.findall(r"\*References?\*(.*?)\*Test\*", text, flags=re.S)
        for name in re.findall(r"`(\w+)", line)
    }


def test_every_function_is_stated_once_and_cites_its_statement() -> None:
    stated = {}
    for part in re.split(r"^### Statement ", PAGE, flags=re.M)[1:]:
        for name in named_in(part) & set(FUNCTIONS):
            assert name not in stated, name
            stated[name] = int(part.split(maxsplit=1)[0])
    cited = {
        name: int(re.search(r"THEORY\.md statement (\d+)", doc)[1])
        for name, doc in FUNCTIONS.items()
    }
    assert cited == stated
    assert named_in(PAGE) <= set(FUNCTIONS)


def test_the_table_of_the_package_names_every_function_with_its_statement() -> None:
    table, statement = {}, 0
    for line in icl_stl.references.__doc__.splitlines():
        number = re.search(r"  (\d+)$", line)
        statement = int(number[1]) if number else statement
        table |= dict.fromkeys(re.findall(r"``(\w+)``", line), statement)
    for name, doc in FUNCTIONS.items():
        assert f"statement {table[name]}" in doc, name


def test_nothing_heavy_is_imported() -> None:
    allowed = ("icl_stl.references", "icl_stl.bounds", "icl_stl.regimes", "numpy", "scipy.special")
    allowed += ("collections.abc", "math", "statistics", "sys", "typing")
    for path in (ROOT / "icl_stl" / "references").glob("*.py"):
        for module in re.findall(r"^(?:from|import) ([\w.]+)", path.read_text("utf-8"), re.M):
            assert module == "icl_stl" or module.startswith(allowed), (path.name, module)
