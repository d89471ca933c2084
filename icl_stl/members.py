"""Members by name: those of this package, and a user's own from a file, which count as much.

A member is a frozen dataclass; its fields are its options. Needs no JAX.
"""

import ast
import dataclasses
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from icl_stl.config import Architecture, Training, meant, require
from icl_stl.data import Command, FromFile, load_file
from icl_stl.laws import LinearRegression
from icl_stl.learners.generative import GENERATIVE
from icl_stl.problems import PROBLEMS, InContext, Problem
from icl_stl.problems.in_context import OF_NETWORK, OF_TRAINING
from icl_stl.problems.table import Table, TablePrompts
from icl_stl.regimes import MAD_LOOPS, REGIMES, Regime, Replace, Selecting

Kind = TypeVar("Kind")
NAMED = ("learner", "problem", "regime", "real", "command", "prompts_from")
"""The options that name what a loop is of."""
COMMON = (
    *(*NAMED, "samples", "generations", "runs", "seed", "replace_rows", "replace_draws"),
    *("json", "fresh", "help"),
)
"""The options of a command: no field of a member has such a name."""
LEARNERS: Mapping[str, type[Problem]] = {
    word: kind
    for kind in sorted(PROBLEMS.values(), key=lambda kind: kind is not InContext)
    for word in kind.flat
}
"""Words that stand for a problem, each with options of its own: `Problem.flat`."""


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
    module = load_file(path, option)
    own = [n for n, a in vars(module).items() if isinstance(a, type) and issubclass(a, kind)]
    own = [n for n in own if vars(module)[n].__module__ == module.__name__]
    found = getattr(module, name, None)
    right = (
        f"FILE.py:NAME of a class that derives from {kind.__name__} ({', '.join(own) or 'none'})"
    )
    fine = isinstance(found, type) and issubclass(found, kind)
    require(fine, option, words, f"{right}{meant(name, own)}")
    assert isinstance(found, type)
    bare = "__dataclass_fields__" not in vars(found) and any(
        "ClassVar" not in str(one) for one in vars(found).get("__annotations__", {}).values()
    )
    require(not bare, option, words, "a class with @dataclass(frozen=True), since it has fields")
    needed = [n for n in ("draw", "loss", "share", "synthetic_size", "weigh") if hasattr(kind, n)]
    missing = [n for n in needed if getattr(found, n) is getattr(kind, n)]
    if issubclass(found, Problem):
        missing += [] if hasattr(found, "learner") else ["learner"]
        missing = [n for n in missing if n != "draw" or found.real_law is None]
    right = f"a class that defines {', '.join(missing)}, as {kind.__name__} asks for"
    require(not missing, option, words, right)
    return found


class Option(NamedTuple):
    """An option of a member."""

    kind: Any
    """The type of its value."""
    default: Any
    """`dataclasses.MISSING` if it must be given."""
    help: str


def sayable(kind: Any) -> bool:
    """Whether an option can say a value of this type: numbers, text, choices, tuples of those."""
    if get_origin(kind) is tuple:
        return all(one is Ellipsis or one in (bool, int, float, str) for one in get_args(kind))
    if _is_union(kind):
        return all(one is types.NoneType or sayable(one) for one in get_args(kind))
    return kind in (bool, int, float, str) or get_origin(kind) is Literal


def several(kind: Any) -> bool:
    """Whether a value of this type is a tuple, or may be one."""
    return get_origin(kind) is tuple or (_is_union(kind) and any(map(several, get_args(kind))))


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _body_of(kind: type) -> list[ast.stmt]:
    """The lines of a class, as they are written; none where there is no source.

    The module that it names may be where it is found, not where it is written.
    """
    codes = [getattr(one, "__code__", None) for one in vars(kind).values()]
    files = [getattr(sys.modules.get(kind.__module__), "__file__", None) or ""]
    for file in dict.fromkeys((*files, *(code.co_filename for code in codes if code))):
        with suppress(OSError, SyntaxError, ValueError):
            for one in ast.walk(ast.parse(Path(file).read_bytes())):
                if isinstance(one, ast.ClassDef) and one.name == kind.__name__:
                    return one.body
    return []


@cache
def docs_of(kind: type) -> Mapping[str, str]:
    """What the string below each field says, or else the line `FIELD: ...` of the docstring."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        lines = re.findall(r"^\s*(\w+): (.+)$", vars(base).get("__doc__") or "", re.MULTILINE)
        found |= dict(lines)
        for line, after in pairwise(_body_of(base)):
            match line, after:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = " ".join(text.split())
    return found


OF_BASE: Mapping[type, tuple[str, ...]] = {
    Problem: ("learner", "real_law", "name"),
    Regime: ("name", "inner", "keeps_history", "reuses_inputs", "fresh_real", "keeps_training_set"),
    object: (
        *("real", "model", "words", "digest", "options", "symbols"),
        *("prompts_from", "architecture", "training"),
    ),
}
"""What may be a field of a member, but is no option: its base asks for it."""


def fields_of(kind: type) -> dict[str, Option]:
    """The fields of a member as options, also those that none can say; not what its base asks for.

    Raises:
        ValueError: If a field has the name of something else that its base has.
    """
    bases = (Problem, Regime) if kind not in (Table, TablePrompts) else ()
    base = next((one for one in bases if issubclass(kind, one)), object)
    hints, docs = get_type_hints(kind), docs_of(kind)
    found = {}
    for field in dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ():
        if field.init and field.name not in OF_BASE[base]:
            taken = f"a name that {base.__name__} has no other use for"
            require(not hasattr(base, field.name), f"a field of {kind.__name__}", field.name, taken)
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            found[field.name] = Option(hints[field.name], default, docs.get(field.name, ""))
    return found


def typed(name: str, value: Any, kind: Any) -> Any:
    """The value, a whole number made a number where one is asked for; of no other type.

    Raises:
        ValueError: If it is of another type; the message names it and what would be right.
    """
    if _is_union(kind):
        others = [one for one in get_args(kind) if one is not types.NoneType]
        return None if value is None else typed(name, value, others[0])
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        known = f"one of {', '.join(map(str, choices))}{meant(value, map(str, choices))}"
        require(value in choices, name, value, known)
        return value
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        several = isinstance(value, list | tuple)
        right = "a list of values" if kinds[-1] is Ellipsis else f"a list of {len(kinds)} values"
        fine = several and (kinds[-1] is Ellipsis or len(value) == len(kinds))
        require(fine, name, value, right)
        each = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        return tuple(typed(name, v, k) for v, k in zip(value, each, strict=True))
    if kind in (bool, str):
        require(isinstance(value, kind), name, value, {bool: "true or false", str: "a text"}[kind])
        return value
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is int:
        require(whole, name, value, "a whole number")
        require(abs(value) < 2**63, name, value, "a whole number of at most 2^63")
        return value
    require(whole or isinstance(value, float), name, value, "a number")
    require(abs(value) <= sys.float_info.max, name, value, "a finite number")
    return float(value) + 0.0  # -0.0 is 0


class Named(NamedTuple):
    """What `--learner`, `--problem` or `--regime` names."""

    option: str
    words: str
    """As it was given; a file by its whole path."""
    title: str
    """The same in a table: a file by its name and a digest of its content."""
    options: Mapping[str, Option]
    """Its options that can be said."""
    unsaid: Mapping[str, Option]
    """Its fields that no option can say."""
    kind: type
    make: Callable[..., Any]

    def made(self, options: Mapping[str, Any]) -> Any:
        """The problem or regime with these values.

        Raises:
            ValueError: If one is wrong, or it cannot be told from others.
        """
        own = self.kind.__module__.startswith("icl_stl.")
        try:
            found = self.make(**options)
        except Exception as error:
            if own:
                raise
            known = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
            raise ValueError(f"{self.option} {self.words}: {known}") from error
        try:
            hash(found)
        except TypeError as error:
            right = "a frozen dataclass whose fields can be hashed, as tuples and numbers can"
            raise ValueError(f"{self.option} {self.words} must be {right}: {error}") from None
        return found


def _named(
    option: str, words: str, kind: type, options: Mapping[str, Option], make: Any, title: str = ""
) -> Named:
    unsaid = {name: one for name, one in options.items() if not sayable(one.kind)}
    for name, one in options.items():
        known = f"no option of the command ({', '.join(COMMON[:-1])})"
        require(name not in COMMON, f"a field of {option} {words}", name, known)
        fine = one.default is not dataclasses.MISSING or name not in unsaid
        right = "a type that an option can say (numbers, text, choices, tuples), or a default"
        require(fine, f"the field {name} of {option} {words}", one.kind, right)
    path, colon, name = words.rpartition(":")
    if not title and colon and path.endswith(".py"):
        title = f"{Path(path).name}:{name}#{kind.__module__.rpartition('_')[2]}"
        words = f"{Path(path).expanduser().resolve()}:{name}"
    said = {name: one for name, one in options.items() if name not in unsaid}
    return Named(option, words, title or words, said, unsaid, kind, make)


def learner(words: str) -> Named:
    """What `--learner` names: a problem in its flat form.

    Raises:
        ValueError: If there is none.
    """
    known = f"one of {', '.join(LEARNERS)}{meant(words, LEARNERS)}"
    if words in GENERATIVE or ".py" in words:
        known = f"{known}; this one learns from rows: give real"
    require(words in LEARNERS, "learner", words, known)
    kind = LEARNERS[words]
    own, docs = fields_of(kind), dict(kind.flat_help)
    for other in (LinearRegression, Architecture, Training):
        docs = {**docs_of(other), **docs}
    options = {
        name: Option(*own[name][:1], default, own[name].help)
        if name in own
        else Option(type(default), default, docs.get(name, ""))
        for name, default in kind.flat[words].items()
    }
    return _named("learner", words, kind, options, lambda **given: kind.from_flat(words, **given))


def table(given: Mapping[str, Any]) -> Named:
    """What `--real` names, and the model that learns from it: `--learner` or `--command`.

    Raises:
        ValueError: If there is no such model, or a field of it cannot be an option.
    """
    known = f"{', '.join(GENERATIVE)}, or FILE.py:NAME"
    for name in ("learner", "command"):
        require(isinstance(given.get(name, ""), str), name, given.get(name), "a text")
    if ("learner" in given) == ("command" in given):
        both = "both" if "learner" in given else "neither"
        raise ValueError(
            f"exactly one of learner and command must be given with real, but {both} is: the "
            f"learner is one of {known}"
        )
    option = "command" if "command" in given else "learner"
    words = title = given[option]
    own: Mapping[str, Option] = {}
    of_table, of_fit = fields_of(Table), fields_of(Command)
    kind: Any
    made: Callable[[dict[str, Any], dict[str, Any]], Any]
    if option == "command":
        command = Command.named(words)
        kind, made = Command, lambda own, fit: dataclasses.replace(command, **fit)
    elif ".py" in words:
        found = FromFile.named(words)
        title = words.rpartition("/")[2]
        kind, words = found.kind, found.words
        made = lambda own, fit: dataclasses.replace(found, options=tuple(own.items()), **fit)  # noqa: E731
        if found.is_learner:
            kind, of_fit = type(kind), {}
        else:
            own = fields_of(kind)
    else:
        require(words in GENERATIVE, "learner", words, f"one of {known}{meant(words, GENERATIVE)}")
        kind, of_fit = GENERATIVE[words], {}
        of_text = {"symbols": 2} if words == "markov" else {}  # as many as the text has
        own, made = fields_of(kind), lambda own, fit: kind(**own, **of_text)
    twice = sorted({*own} & {*of_table, *of_fit})
    require(not twice, f"the fields of {words}", twice, "no options of a table or a fit")

    def make(**options: Any) -> Table:
        parts = [{n: options[n] for n in some if n in options} for some in (own, of_fit, of_table)]
        return Table(given["real"], made(*parts[:2]), **parts[2])

    return _named(option, words, kind, {**of_table, **own, **of_fit}, make, title)


def prompts(given: Mapping[str, Any]) -> Named:
    """What `--prompts-from` names: prompts of a file, and the transformer.

    Raises:
        ValueError: If the learner is another.
    """
    words = given.get("learner", "transformer")
    require(words == "transformer", "learner", words, "'transformer' with prompts_from")
    usual = learner("transformer").options
    of_network = {name: usual[name] for name in (*OF_NETWORK, *OF_TRAINING)}

    def make(**options: Any) -> TablePrompts:
        network = Architecture(**{name: options.pop(name) for name in OF_NETWORK})
        training = Training(**{name: options.pop(name) for name in OF_TRAINING})
        options |= {"architecture": network, "training": training}
        return TablePrompts(given["prompts_from"], **options)

    options = {**fields_of(TablePrompts), **of_network}
    return _named("learner", words, TablePrompts, options, make)


def problem(words: str) -> Named:
    """What `--problem` names.

    Raises:
        ValueError: If there is none, or a field of it cannot be an option.
    """
    kind = member(Problem, PROBLEMS, "problem", words)
    return _named("problem", words, kind, fields_of(kind), kind)


def regime(words: str, of: str | None = None, option: str = "regime") -> Named:
    """What `--regime` names; a regime of the package has options that are no fields, too.

    Args:
        of: The regime among whose rows one that is `Selecting` selects, its options these, too;
            `replace` if not given.
        option: The option that gave the words.

    Raises:
        ValueError: If there is none, or a field of it cannot be an option.
    """
    if words in MAD_LOOPS:
        return _named(option, words, type(MAD_LOOPS[words]), {}, lambda: MAD_LOOPS[words])
    known: dict[str, type[Regime]] = {**dict.fromkeys(MAD_LOOPS, Regime), **REGIMES}
    kind = member(Regime, known, option, words)
    options = fields_of(kind)
    if issubclass(kind, Selecting):
        return _selecting(option, words, kind, options, of or Replace.name)
    if kind not in REGIMES.values():
        return _named(option, words, kind, options, kind)
    if kind.other_options:  # two ways to say the same: neither is given unless it is said
        more = {name: Option(float, None, text) for name, text in kind.other_options.items()}
        options = {n: Option(float | None, None, one.help) for n, one in (options | more).items()}

    def make(**given: Any) -> Regime:
        return kind.from_options(**{n: v for n, v in given.items() if v is not None})

    return _named(option, words, kind, options, make)


def _selecting(
    option: str, words: str, kind: type[Selecting], options: Mapping[str, Option], of: str
) -> Named:
    """A regime that selects among the rows of another, with the options of both."""
    require(isinstance(of, str), "of", of, "a name")
    fine = of not in REGIMES or not issubclass(REGIMES[of], Selecting)
    require(fine, "of", of, "a regime that selects no rows itself")
    inner = regime(of, option="of")
    twice = sorted({*options} & {*inner.options})
    require(not twice, f"the fields of {words} and {of}", twice, "named differently")
    other = Option(str, Replace.name, "The regime among whose synthetic rows it selects.")

    def make(**given: Any) -> Regime:
        given = {name: value for name, value in given.items() if value is not None}
        parts = [{n: given[n] for n in given if n in some} for some in (options, inner.options)]
        return kind(inner=inner.made(parts[1]), **parts[0])

    return _named(option, words, kind, {**options, "of": other, **inner.options}, make)


class Chosen(NamedTuple):
    """A problem in a regime, as a command names them."""

    problem: Named
    regime: Named

    @property
    def options(self) -> dict[str, Option]:
        """Those of both."""
        return {**self.problem.options, **self.regime.options}

    def idle(self, given: Mapping[str, Any]) -> set[str]:
        """Flat options of other learners at their defaults: as good as left out."""
        if self.problem.option != "learner":
            return set()
        usual = {n for n, value in given.items() if {str(value)} == USUAL.get(n)}
        return usual - {*self.options}

    def refuse_others(self, given: Mapping[str, Any]) -> None:
        """Refuse an option that has no use here, though it has one elsewhere.

        Raises:
            ValueError: If there is one; the message names it.
        """
        for name, value in given.items():
            for named in self:
                if name in named.unsaid:
                    kind = getattr(named.unsaid[name].kind, "__name__", named.unsaid[name].kind)
                    raise ValueError(
                        f"{name} of {named.option} {named.words} is of the type {kind}, which no "
                        "option can say: give it a default in a class of your own, FILE.py:NAME"
                    )
            named = self.regime if name in REGIME_OPTIONS else self.problem
            known = {*REGIME_OPTIONS, *FLAT_OPTIONS, *OF_TABLES}
            elsewhere = name in known and name not in self.options
            right = f"left out with the {named.option} {named.words!r}"
            if name in {*fields_of(Table)} - {*FLAT_OPTIONS}:
                right = ALONE
            if name == "target":
                right = "left out without prompts_from"
            require(not elsewhere, name, value, right)


FLAT_OPTIONS = tuple(dict.fromkeys(n for word, kind in LEARNERS.items() for n in kind.flat[word]))
"""The options of all learners."""
USUAL = {
    name: {str(kind.flat[word][name]) for word, kind in LEARNERS.items() if name in kind.flat[word]}
    for name in FLAT_OPTIONS
}
"""Their defaults: one that is the same for all is taken where it has no use, too."""
REGIME_OPTIONS = (
    *("of", "alpha", "lam", "weight", "alpha_decay", "growth", "until"),
    *("edits", "edit_model", "threshold"),
    *("keep", "keep_rate", "keep_radius", "keep_centre", "keep_symbols"),
    *("keep_right", "keep_wrong", "keep_from", "reward"),
)
"""The options of the regimes of the package."""


ALONE = "left out without real, the rows to learn from"
OF_TABLES = tuple(
    dict.fromkeys(
        name
        for kind in (Table, TablePrompts, Command, *GENERATIVE.values())
        for name in fields_of(kind)
    )
)
"""The options of tables and of what learns from them."""


def chosen(given: Mapping[str, Any]) -> Chosen:
    """What the options `learner` or `problem`, `real` and `regime`, name.

    Raises:
        ValueError: If there is no such thing, both are given, or a field of one is a field of the
            other, too.
    """
    for name in NAMED:
        require(isinstance(given.get(name, ""), str), name, given.get(name), "a name")
    for name in ("learner", "real", "command", "prompts_from"):
        for other in ("problem", *(("real",) if name == "prompts_from" else ())):
            if name in given and other in given:
                raise ValueError(f"{name} and {other} say the same thing: give one of them")
    require("real" in given or "command" not in given, "command", given.get("command"), ALONE)
    if "real" in given:
        what = table(given)
    elif "prompts_from" in given:
        what = prompts(given)
    elif "problem" in given:
        what = problem(given["problem"])
    else:
        what = learner(given.get("learner", next(iter(LEARNERS))))
    found = Chosen(what, regime(given.get("regime", "augment"), given.get("of")))
    both = sorted({*what.options, *what.unsaid} & {*found.regime.options, *found.regime.unsaid})
    where = f"{what.option} {what.words} and regime {found.regime.words}"
    require(not both, f"the fields of {where}", both, "named differently, to be told apart")
    return found


def listed(what: Literal["learners", "problems", "regimes"]) -> Iterator[str]:
    """What there is in this package of a kind, with its options: lines for people."""
    known: tuple[Mapping[str, Any], Callable[[str], Named]] = {
        "learners": (LEARNERS, learner),
        "problems": (PROBLEMS, problem),
        "regimes": ({**REGIMES, **MAD_LOOPS}, regime),
    }[what]
    for words in known[0]:
        found = known[1](words)
        yield f"{words}\n    {str(found.kind.__doc__).splitlines()[0]}"
        for name, one in found.options.items():
            usual = "" if one.default is None else f" ({one.default})"
            yield f"    --{name.replace('_', '-')}{usual}: {one.help}"
        for name in found.unsaid:
            yield f"    {name}: not from a command line"
