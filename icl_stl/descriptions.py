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
from collections.abc import Mapping, Set
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
    """A value as JSON: numbers, text, containers, arrays, dataclasses, functions, classes.

    Args:
        value: What is described.
        name: What it is called in an error.

    Raises:
        ValueError: If a part of it cannot be described; the message names the part.
    """
    return _Described(name).of(value, "")


def key(value: Any, name: str = "value") -> str:
    """SHA-256 of a value's description."""
    return digest(describe(value, name))


class _Described:
    """One description in the making."""

    def __init__(self, name: str):
        self.name = name
        self.within: dict[int, str] = {}
        """What is being described just now: functions may refer to themselves."""
        self.functions = 0
        """In how many functions it is: what these hold is compared by none."""

    def refuse(self, what: str, where: str) -> Any:
        raise ValueError(
            f"{self.name} must be made of numbers, text, arrays, functions and frozen dataclasses, "
            f"to be told from others, but {where.strip('., ') or 'it'} is {what}"
        )

    def of(self, value: Any, where: str) -> Json:
        if not isinstance(value, Enum):
            if value is None or isinstance(value, str | bool):
                return str(value) if isinstance(value, str) else value
            if isinstance(value, np.bool_):
                return bool(value)
            if isinstance(value, Real):
                return self.number(value, where)
            if isinstance(value, type):
                return {"class": self.class_of(value, where)}
        if id(value) in self.within:
            return {"again": self.within[id(value)]}
        self.within[id(value)] = where
        try:
            return self.compound(value, where)
        finally:
            del self.within[id(value)]

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
        found: Json
        match value:
            case Enum():
                found = {"type": self.class_of(type(value), where), "name": value.name}
            case types.ModuleType():
                found = {"module": value.__name__, "code": self.module(value.__name__, where)}
            case complex() | bytes() | np.dtype() | range():
                found = {type(value).__name__: repr(value)}
            case tuple() if hasattr(value, "_fields"):
                pairs = zip(value._fields, value, strict=True)
                own = {name: self.of(one, f"{where}.{name}") for name, one in pairs}
                found = {"type": self.class_of(type(value), where), "fields": own}
            case tuple():
                found = [self.of(one, f"{where}[{k}]") for k, one in enumerate(value)]
            case list():
                found = {"list": self.of(tuple(value), where)}
            case Mapping():
                each = value.items()
                all_ = [[self.of(k, where), self.of(v, f"{where}[{k!r}]")] for k, v in each]
                found = {"dict": sorted(all_, key=canonical)}
            case Set():
                found = {"set": sorted((self.of(one, where) for one in value), key=canonical)}
            case _ if dataclasses.is_dataclass(value):
                found = self.dataclass(value, where)
            case _ if hasattr(value, "dtype") and hasattr(value, "shape"):
                found = self.array(value, where)
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
        fields = dataclasses.fields(value)
        named = {field.name for field in fields}
        cached = {n for n, v in _members(type(value)) if isinstance(v, functools.cached_property)}
        others = sorted(getattr(value, "__dict__", {}).keys() - named - cached)
        if not self.functions:
            blind = [*(field.name for field in fields if not field.compare), *others]
            if blind:
                kind = type(value).__name__
                what = f"no field that a {kind} is compared by: two that differ in it would be "
                return self.refuse(f"{what}taken for one (is {kind} a dataclass?)", blind[0])
        held = [*named, *(other for other in others if not other.startswith("_"))]
        own = {n: self.of(getattr(value, n), f"{where}.{n}") for n in held}
        return {"type": self.class_of(type(value), where), "fields": own}

    # --- code ------------------------------------------------------------------------------------

    def class_of(self, cls: type, where: str) -> Json:
        """A class: its name if it is of this package; with its code or version if it is not."""
        name = f"{cls.__module__}.{cls.__qualname__}"
        if code.is_own(cls.__module__):
            return name
        if code.is_installed(cls.__module__):
            return {"name": name, "version": version_of(cls.__module__)}
        if id(cls) in self.within:
            return {"again": name}
        self.within[id(cls)] = name
        self.functions += 1
        members = {
            member: self.of(value, f"{where}.{cls.__name__}.{member}")
            for member, value in vars(cls).items()
            if member in ("__call__", "__getattr__", "__getattribute__")
            or not (member.startswith("__") or member == "_abc_impl" or _is_slot(value))
        }
        bases = [self.class_of(base, where) for base in cls.__bases__]
        self.functions -= 1
        del self.within[id(cls)]
        return {"name": name, "code": digest([members, bases])}

    def module(self, name: str, where: str) -> str:
        """The code of a module, or the version of the package that it is installed with."""
        if code.is_installed(name):
            return version_of(name)
        try:
            return code.digest(name)
        except ValueError as error:
            return str(self.refuse(f"of a module whose source cannot be read ({error})", where))

    def callable(self, value: Any, where: str) -> Json:
        found: Json
        module = getattr(value, "__module__", None) or ""
        name = str(getattr(value, "__qualname__", "") or getattr(value, "__name__", ""))
        match value:
            case property():
                found = {"property": self.of((value.fget, value.fset), where)}
            case functools.cached_property():
                found = {"property": self.of(value.func, where)}
            case staticmethod() | classmethod():
                found = {type(value).__name__: self.of(value.__func__, where)}
            case functools.partial():
                found = {"partial": self.of((value.func, value.args, value.keywords), where)}
            case types.MethodType():
                found = {"method": self.of((value.__self__, value.__func__), where)}
            case types.FunctionType():
                self.functions += 1
                found = self.function(value, where)
                self.functions -= 1
            case _ if _is_versioned(module) and _found(module, name) is value:
                found = {"name": f"{module}.{name}", "code": self.module(module, where)}
            case _ if hasattr(value, "__wrapped__"):  # `jax.jit` of a function, or a cached one
                found = {"wrapped": self.of(value.__wrapped__, where), "by": type(value).__name__}
                rules = {n: getattr(value, n, None) for n in ("jvp", "fwd", "bwd")}
                found["rules"] = self.of(rules, where)  # of derivatives
            case _ if type(value) is object:  # a mark, such as JAX's for an axis without a name
                found = {"object": ""}
            case _:
                found = self.refuse(f"a {type(value).__module__}.{type(value).__qualname__}", where)
        return found

    def function(self, function: Any, where: str) -> Json:
        """A function: what it does, and with which numbers."""
        # Where it was written; what it wraps may be named elsewhere.
        module = function.__globals__.get("__name__", "__main__")
        if module.startswith("jaxtyping.") and hasattr(function, "__wrapped__"):
            return self.of(function.__wrapped__, where)  # checked, and the same
        name = f"{module}.{function.__qualname__}"
        closed = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        found: Json = {"function": name}
        found["defaults"] = self.of(function.__defaults__, where)
        found["named"] = self.of(function.__kwdefaults__ or {}, where)
        found["closed"] = {
            free: self.of(cell.cell_contents, f"{where}, {free} of {name},")
            for free, cell in closed.items()
        }
        if _is_versioned(module):
            found["code"] = self.module(module, where)
            return found
        own = function.__globals__
        names = sorted({*_named_in(function.__code__, "LOAD_GLOBAL", "LOAD_NAME")} & own.keys())
        found["code"] = self.instructions(function.__code__, function.__doc__, where)
        found["uses"] = {n: self.of(own[n], f"{where}, {n} of {name},") for n in names}
        imported = sorted({*_named_in(function.__code__, "IMPORT_NAME")})
        found["imports"] = {n: self.module(n, f"{where}, {n} of {name},") for n in imported if n}
        held = {n: one for n, one in vars(function).items() if not n.startswith("__")}
        found["holds"] = self.of(held, f"{where}, {name}")
        return found

    def instructions(self, made: types.CodeType, doc: str | None, where: str) -> Json:
        constants = made.co_consts
        if doc is not None and constants[:1] == (doc,):
            constants = constants[1:]
        return [
            made.co_code.hex(),
            [*made.co_names, *made.co_varnames, *made.co_freevars, *made.co_cellvars],
            [
                self.instructions(one, None, where)
                if isinstance(one, types.CodeType)
                else {"constant": type(one).__name__, "is": self.constant(one, where)}
                for one in constants
            ],
        ]

    def constant(self, value: Any, where: str) -> Json:
        return "..." if value is Ellipsis else self.of(value, where)


def _members(cls: type) -> list[tuple[str, Any]]:
    return [item for base in cls.__mro__ for item in vars(base).items()]


def _is_versioned(module: str) -> bool:
    """Whether a module is of this package or of one that is installed."""
    return code.is_own(module) or code.is_installed(module)


def _is_slot(value: Any) -> bool:
    return isinstance(value, types.GetSetDescriptorType | types.MemberDescriptorType)


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
