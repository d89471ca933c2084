"""Members by name: those of this package, and a user's own from a file, which count as much."""

import sys
from collections.abc import Mapping
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from icl_stl.config import meant, require

Kind = TypeVar("Kind")


def load_file(path: Path | str) -> ModuleType:
    """The module that a file of Python is; the same object for the same file and content.

    Its name carries a digest of its content, so that what it defines is told from what another
    version of the file defined. It may import the files beside it.

    Raises:
        ValueError: If there is no such file, or importing it fails; the message says how.
    """
    file = Path(path).expanduser().resolve()
    fine = file.suffix == ".py" and file.is_file()
    require(fine, "the file", str(path), "a file of Python that exists, as mine.py")
    name = f"{file.stem}_{sha256(file.read_bytes() + str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.parent))
    return module


def member(
    kind: type[Kind], known: Mapping[str, type[Kind]], option: str, words: str
) -> type[Kind]:
    """The member that an option names: one of the package, or `FILE.py:NAME`.

    Args:
        kind: What it must derive from.
        known: Those of the package, by name.
        option: The option, for messages.
        words: What it was given.

    Raises:
        ValueError: If there is none; the message names what is nearest.
    """
    path, colon, name = words.rpartition(":")
    if not (colon and path.endswith(".py")):
        right = f"one of {', '.join(known)}, or FILE.py:NAME{meant(words, known)}"
        require(words in known, option, words, right)
        return known[words]
    module = load_file(path)
    own = [n for n, a in vars(module).items() if isinstance(a, type) and issubclass(a, kind)]
    own = [n for n in own if vars(module)[n].__module__ == module.__name__]
    found = getattr(module, name, None)
    right = (
        f"FILE.py:NAME of a class that derives from {kind.__name__} ({', '.join(own) or 'none'})"
    )
    fine = isinstance(found, type) and issubclass(found, kind)
    require(fine, option, words, f"{right}{meant(name, own)}")
    assert isinstance(found, type)
    return found
