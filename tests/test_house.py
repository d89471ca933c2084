"""The rooms of the package: what may import what, read from the code."""

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "icl_stl"
TOP = 20
"""Modules and rooms directly in the package, at most: what users import stays in sight."""
CLOSED = ("studies", "lab")
"""Rooms that are large: their modules and folders form no circle either."""
BESIDE = {"benchmark": {"commands"}}
"""Rooms that nothing loads but these."""


def rooms_in_order() -> list[tuple[str, ...]]:
    """The rows of CONTRIBUTING.md's map, the highest first: each the rooms that it names."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`icl_stl/.+?) \|", text, flags=re.MULTILINE)
    return [tuple(re.findall(r"`(?:icl_stl/)?(\w+)(?:/|\.py)?`", row)) for row in rows]


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, without the package's own."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[1:-1] if parts[-1] == "__init__" else parts[1:])
        if name:
            found[name] = path
    return found


@cache
def imported(name: str) -> frozenset[str]:
    """The modules of the package that a module imports, in functions too."""
    path, found = modules()[name], set()
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.removeprefix("icl_stl.") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            if not node.level and not re.match(r"icl_stl\b", base):
                continue
            base = re.sub(r"^icl_stl\.?", "", base)
            names = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
            names = [one if one in modules() else base for one in names]
        else:
            continue
        found |= {one for one in names if one in modules()}
    return frozenset(found - {name})


def arrows(part) -> dict[str, set[str]]:
    """Who imports whom, by the part of the house that a module is in; None if it is in none."""
    found: dict[str, set[str]] = {}
    for name in modules():
        here = part(name)
        if here is not None:
            there = {part(other) for other in imported(name)} - {here, None}
            found.setdefault(here, set()).update(there)
    return found


def room(name: str) -> str:
    return name.partition(".")[0]


def circles(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_every_room_is_on_the_map_once():
    named = [one for row in rooms_in_order() for one in row]
    assert sorted(named) == sorted({room(name) for name in modules()})


def test_no_import_runs_up():
    height = {one: k for k, row in enumerate(rooms_in_order()) for one in row}
    up = {
        f"{here} -> {there}"
        for here, others in arrows(room).items()
        for there in others
        if height[there] < height[here]
    }
    assert not up


def test_no_circle_of_rooms():
    assert not circles(arrows(room))


@pytest.mark.parametrize("large", CLOSED)
def test_no_circle_within_a_large_room(large):
    def part(name):
        first, _, rest = name.partition(".")
        return rest.partition(".")[0] if first == large and rest else None

    graph = arrows(part)
    assert len(graph) > 4
    assert not circles(graph)


@pytest.mark.parametrize(("beside", "by"), BESIDE.items())
def test_a_room_beside_the_others_is_loaded_by_its_command_alone(beside, by):
    assert {here for here, others in arrows(room).items() if beside in others} <= by


def test_few_modules_stand_directly_in_the_package():
    direct = [name for name in modules() if modules()[name].parent == PACKAGE]
    assert len(direct) <= TOP
