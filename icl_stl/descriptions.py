"""What a value is, whole, as JSON: digests of it are keys of programs, files and results. No JAX.

Two values have one description exactly if they compare equal and, where they hold code that is not
of this package, that code does the same: a function is described by its instructions, its defaults
and all that it refers to, so that comments, names of files and the order of a module do not count.
What cannot be described is refused: nothing may be taken for it, or it for another.
"""

import dataclasses
import dis
import functools
import json
import math
import sys
import types
from collections.abc import Callable, Mapping, Set
from enum import Enum
from hashlib import sha256
from importlib import metadata
from numbers import Integral, Real
from typing import Any

import numpy as np

from icl_stl import code

Json = Any


def canonical(value: Json) -> str:
    """JSON of a value, the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Json) -> str:
    """SHA-256 of a value's canonical JSON."""
    return sha256(canonical(value).encode()).hexdigest()


def describe(value: Any, name: str = "value") -> Json:
    """A value as JSON: numbers, text, containers, arrays, dataclasses, functions, classes."""
    return _Described(name).of(value, "")


def key(value: Any, name: str = "value") -> str:
    """SHA-256 of a value's description."""
    return digest(describe(value, name))


_PARTS: Mapping[type, tuple[str, ...]] = {
    property: ("fget", "fset"),
    functools.cached_property: ("func",),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    functools.partial: ("func", "args", "keywords"),
    types.MethodType: ("__self__", "__func__"),
    types.CodeType: tuple(
        f"co_{part}" for part in ("code", "names", "varnames", "freevars", "cellvars", "consts")
    ),
}
"""What is in a function or around one, and what of it counts."""

_SLOTS = types.GetSetDescriptorType, types.MemberDescriptorType


class _Described:
    """One description in the making."""

    def __init__(self, name: str):
        self.name = name
        self.within: dict[int, str] = {}
        """What is being described just now: functions may refer to themselves."""
        self.functions = 0
        """In how much code it is: what that holds is compared by none, and 1 is not 1.0 in it."""

    def refuse(self, what: str, where: str) -> Any:
        raise ValueError(
            f"{self.name} must be made of numbers, text, arrays, functions and frozen dataclasses, "
            f"to be told from others, but {where.strip('., ') or 'it'} is {what}"
        )

    def of(self, value: Any, where: str) -> Json:
        if not isinstance(value, Enum):
            if value is None or isinstance(value, str | bool):
                return value
            if isinstance(value, np.bool_):
                return bool(value)
            if isinstance(value, Real):
                return self.number(value, where)
            if isinstance(value, type):
                return {"class": self.class_of(value, where)}
        return self.once(value, where, lambda: self.compound(value, where))

    def once(self, value: Any, name: str, described: Callable[[], Json]) -> Json:
        if id(value) in self.within:
            return {"again": self.within[id(value)]}
        self.within[id(value)] = name
        try:
            return described()
        finally:
            del self.within[id(value)]

    def each(self, parts: Mapping[str, Any], where: str) -> Json:
        return {name: self.of(one, where.format(name)) for name, one in parts.items()}

    def number(self, value: Real, where: str) -> Json:
        if isinstance(value, Integral):
            whole = int(value)
            as_is = abs(whole) <= 2**53 and not self.functions  # of 1 and 1.0 code may make types
            return float(whole) if as_is else {"int": str(whole)}
        number = float(value)
        if number != value and not math.isnan(number):
            self.refuse(f"{value!r}, which is no number of 64 bits", where)
        return number + 0.0 if math.isfinite(number) else {"float": str(number)}

    def compound(self, value: Any, where: str) -> Json:
        kind: Any = type(value)
        found: Json
        match value:
            case Enum():
                found = {"type": self.class_of(kind, where), "name": value.name}
            case types.ModuleType():
                found = {"module": value.__name__, "code": self.module(value.__name__, where)}
            case complex() | bytes() | np.dtype() | range() | types.EllipsisType():
                found = {kind.__name__: repr(value)}
            case tuple() if hasattr(value, "_fields"):
                own = self.each(dict(zip(kind._fields, value, strict=True)), where + ".{}")
                found = {"type": self.class_of(kind, where), "fields": own}
            case tuple():
                found = [self.of(one, f"{where}[{k}]") for k, one in enumerate(value)]
            case list():
                found = {"list": self.of(tuple(value), where)}
            case Mapping():
                named = ((k, f"{where}[{k!r}]", one) for k, one in value.items())
                pairs = [[self.of(k, where), self.of(one, there)] for k, there, one in named]
                found = {"dict": sorted(pairs, key=canonical)}
            case Set():
                found = {"set": sorted((self.of(one, where) for one in value), key=canonical)}
            case _ if dataclasses.is_dataclass(value):
                found = self.dataclass(value, where)
            case _ if hasattr(value, "dtype") and hasattr(value, "shape"):
                found = self.array(value, where)
            case types.FunctionType():
                self.functions += 1
                found = self.function(value, where)
                self.functions -= 1
            case _:
                found = self.callable(value, where)
        return found

    def array(self, value: Any, where: str) -> Json:
        if not hasattr(value, "__array__"):  # a shape alone
            return {"shape": list(value.shape), "dtype": self.of(value.dtype, where)}
        try:
            array = np.asarray(value)
        except (TypeError, ValueError):
            return self.refuse(f"a {type(value).__name__} without numbers", where)
        if array.dtype.hasobject:
            return self.refuse("an array of objects", where)
        content = sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return {"array": array.dtype.str, "shape": list(array.shape), "sha256": content}

    def dataclass(self, value: Any, where: str) -> Json:
        """Its class and fields; what a key may be taken from is compared by nothing else."""
        kind, fields = type(value), dataclasses.fields(value)
        members = (item for base in kind.__mro__ for item in vars(base).items())
        kept = {name for name, one in members if isinstance(one, functools.cached_property)}
        named = {field.name for field in fields}
        others = sorted(getattr(value, "__dict__", {}).keys() - named - kept)
        blind = [*(field.name for field in fields if not field.compare), *others]
        if blind and not self.functions:
            what = f"no field that a {kind.__name__} is compared by: two that differ in it would be"
            return self.refuse(f"{what} taken for one (is {kind.__name__} a dataclass?)", blind[0])
        held = [field.name for field in fields]
        held += [other for other in others if not other.startswith("_")]
        own = self.each({name: getattr(value, name) for name in held}, where + ".{}")
        return {"type": self.class_of(kind, where), "fields": own}

    # --- code ------------------------------------------------------------------------------------

    def class_of(self, cls: type, where: str) -> Json:
        """A class: its name if it is of this package; with its code or version if it is not."""
        name = f"{cls.__module__}.{cls.__qualname__}"
        if code.is_own(cls.__module__):
            return name
        if code.is_installed(cls.__module__):
            return {"name": name, "version": version_of(cls.__module__)}

        def described() -> Json:
            self.functions += 1
            members = {
                member: value
                for member, value in vars(cls).items()
                if member in ("__call__", "__getattr__", "__getattribute__")
                or not (
                    member.startswith("__") or member == "_abc_impl" or isinstance(value, _SLOTS)
                )
            }
            own = self.each(members, f"{where}.{cls.__name__}.{{}}")
            bases = [self.class_of(base, where) for base in cls.__bases__]
            self.functions -= 1
            return {"name": name, "code": digest([own, bases])}

        return self.once(cls, name, described)

    def module(self, name: str, where: str) -> str:
        """The code of a module, or the version of the package that it is installed with."""
        if code.is_installed(name):
            return version_of(name)
        try:
            return code.digest(name)
        except ValueError as error:
            return str(self.refuse(f"of a module whose source cannot be read ({error})", where))

    def callable(self, value: Any, where: str) -> Json:
        module = getattr(value, "__module__", None) or ""
        name = str(getattr(value, "__qualname__", "") or getattr(value, "__name__", ""))
        for kind, own in _PARTS.items():
            if isinstance(value, kind):
                return {kind.__name__: [self.of(getattr(value, part), where) for part in own]}
        if _is_versioned(module) and _found(module, name) is value:
            return {"name": f"{module}.{name}", "code": self.module(module, where)}
        if hasattr(value, "__wrapped__"):  # `jax.jit` of a function, or a cached one
            rules = [getattr(value, rule, None) for rule in ("jvp", "fwd", "bwd")]  # derivatives
            parts = {"wrapped": value.__wrapped__, "by": type(value).__name__, "rules": rules}
            return self.each(parts, where)
        if type(value) is object:  # a mark, such as JAX's for an axis without a name
            return {"object": ""}
        return self.refuse(f"a {type(value).__module__}.{type(value).__qualname__}", where)

    def function(self, function: Any, where: str) -> Json:
        """A function: what it does, and with which numbers."""
        # Where it was written; what it wraps may be named elsewhere.
        made, own = function.__code__, function.__globals__
        module = own.get("__name__", "__main__")
        if module.startswith("jaxtyping.") and hasattr(function, "__wrapped__"):
            return self.of(function.__wrapped__, where)  # checked, and the same
        name = f"{module}.{function.__qualname__}"
        there = f"{where}, {{}} of {name},"
        cells = zip(made.co_freevars, function.__closure__ or (), strict=True)
        found = {
            "function": name,
            "defaults": self.of([function.__defaults__, function.__kwdefaults__], where),
            "closed": self.each({free: cell.cell_contents for free, cell in cells}, there),
        }
        if _is_versioned(module):
            return found | {"code": self.module(module, where)}
        doc = function.__doc__
        documented = doc is not None and made.co_consts[:1] == (doc,)
        names = sorted({*_named_in(made, "LOAD_GLOBAL", "LOAD_NAME")} & own.keys())
        held = {n: one for n, one in vars(function).items() if not n.startswith("__")}
        imported = sorted({*_named_in(made, "IMPORT_NAME")} - {""})
        return found | {
            "code": self.of(made.replace(co_consts=made.co_consts[documented:]), where),
            "uses": self.each({n: own[n] for n in names}, there),
            "imports": {n: self.module(n, there.format(n)) for n in imported},
            "holds": self.of(held, f"{where}, {name}"),
        }


def _is_versioned(module: str) -> bool:
    """Whether a module is of this package or of one that is installed."""
    return code.is_own(module) or code.is_installed(module)


def _named_in(made: types.CodeType, *read: str) -> list[str]:
    """The names that such instructions read, those of functions within too."""
    names = [step.argval for step in dis.get_instructions(made) if step.opname in read]
    inner = (one for one in made.co_consts if isinstance(one, types.CodeType))
    return [*names, *(name for one in inner for name in _named_in(one, *read))]


def _found(module: str, name: str) -> Any:
    """What a module has under a name, None if nothing."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


@functools.cache
def version_of(module: str) -> str:
    """The version of the package that a module is installed with; none of the standard library."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return ""
    names = _distributions().get(top, [])
    return " ".join(f"{name} {metadata.version(name)}" for name in sorted({*names}))
