"""Which code numbers come from: what a module imports, all the way down. Needs no JAX.

The digest is of what Python executes: comments, docstrings and layout do not change it. A module
without a source that can be read is a `ValueError`.
"""

import ast
import sys
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

PACKAGE = Path(__file__).parent
"""The folder of this package."""


def is_own(module: str) -> bool:
    """Whether a module is of this package."""
    return module.partition(".")[0] == "icl_stl"


@cache
def is_installed(module: str) -> bool:
    """Whether a module is of Python or of a package installed with it: a version says what it is.

    A script, a notebook or a folder of modules on the path is not.
    """
    top = module.partition(".")[0]
    if top == "__main__":
        return False
    if top in sys.stdlib_module_names:
        return True
    origin = _origin(top)
    return origin is not None and not {"site-packages", "dist-packages"}.isdisjoint(origin.parts)


def _origin(module: str) -> Path | None:
    """The file of a module that is not of this package, None if it has none."""
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    if loaded is None:
        try:
            spec = find_spec(module)
        except (ImportError, ValueError):
            return None
        file = spec.origin if spec is not None and spec.has_location else None
    return None if file is None else Path(file)


def _file(module: str, package: Path) -> Path | None:
    """The source of a module, None if there is no such module; a package's is its `__init__`."""
    if not is_own(module):
        return _origin(module)
    path = package.joinpath(*module.split(".")[1:])
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        _tree(content)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} must be a source that can be read, but: {error}") from None
    return content


_PARSING = Lock()
"""CPython 3.11 counts the depth of a tree for all threads together, and fails if it is wrong."""


@cache
def _tree(content: bytes) -> ast.Module:
    """What Python executes of a source: no string that stands alone, such as a docstring."""
    with _PARSING:
        tree = ast.parse(content)
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            lines = getattr(node, field, None)
            if isinstance(lines, list):
                kept = [line for line in lines if not _is_text(line)]
                if kept or not lines or isinstance(node, ast.Module):
                    setattr(node, field, kept)
                else:
                    setattr(node, field, [ast.Pass()])
    return tree


def _is_text(line: ast.stmt) -> bool:
    if not isinstance(line, ast.Expr) or not isinstance(line.value, ast.Constant):
        return False
    return isinstance(line.value.value, str)


@cache
def _imports(within: str, content: bytes) -> tuple[str, ...]:
    """All names that a module of this package imports, anywhere in it; some are no modules."""
    parents = within.split(".")
    found: list[str] = []
    for node in ast.walk(_tree(content)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(dict.fromkeys(found))


def _reached(
    roots: Iterable[str], package: Path, without: Iterable[str] = ()
) -> tuple[dict[str, bytes], set[str]]:
    """Modules reached from some, with their sources, and the top names that are installed."""
    modules: dict[str, bytes] = {}
    installed: set[str] = set()
    followed = set(without)
    waiting = []
    for root in roots:
        if _file(root, package) is None:
            raise ValueError(f"module must be one with a source, but it is {root!r}")
        waiting.append((root, True))
    while waiting:
        name, follow = waiting.pop()
        # A module's packages are executed before it is; nothing that they import is used by it.
        above = name.rpartition(".")[0]
        if above:
            waiting.append((above, False))
        if name in followed or (name in modules and not follow):
            continue
        if not is_own(name) and is_installed(name):
            installed.add(name.partition(".")[0])
            continue
        path = _file(name, package)
        if path is not None:
            modules[name] = _content(path)
            within = name if path.name == "__init__.py" else above
            if follow:
                followed.add(name)
                waiting += [(one, True) for one in _imports(within, modules[name])]
                if b"iter_modules" in modules[name]:  # it imports whatever is in its folder
                    waiting += [
                        (f"{name}.{file.stem}", True) for file in path.parent.glob("[!_]*.py")
                    ]
    return modules, installed


def modules_of(*roots: str, package: Path = PACKAGE) -> tuple[str, ...]:
    """All modules that these import, all the way down, in order, and the packages that hold them.

    None that is installed. What a package imports that is only the place of a module is left out.
    """
    return tuple(sorted(_reached(roots, package)[0]))


def packages_of(*roots: str, package: Path = PACKAGE) -> tuple[str, ...]:
    """The installed packages, not of the standard library, that `modules_of` import."""
    names = _reached(roots, package)[1]
    return tuple(sorted(names - sys.stdlib_module_names))


@cache
def digest(*roots: str, package: Path = PACKAGE, without: tuple[str, ...] = ()) -> str:
    """SHA-256 of what `modules_of` execute.

    Args:
        without: Modules that are left out, with what they alone import.
    """
    modules, _ = _reached(roots, package, without)
    parts = [f"{name}\n{_dump(content)}" for name, content in sorted(modules.items())]
    return sha256("\n".join(parts).encode()).hexdigest()


@cache
def _dump(content: bytes) -> str:
    return ast.dump(_tree(content))
