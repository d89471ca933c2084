"""The command `icl-stl`: one module a subcommand, with its options, `Arguments`, and its `main`.

Exit status of all of them: 0; 1 if a statement is violated or something failed; 2 for bad usage or
a file that cannot be read or written; 3 and 4 verdicts of `watch`; 130 for Ctrl-C, 141 where nobody
reads the output any more.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn, Union

from icl_stl import __version__, console
from icl_stl.commands.running import answered
from icl_stl.config import meant

COMMANDS: Mapping[str, str] = {
    "reproduce": "run loops, judge the claims, draw the figures",
    "loop": "one self-consuming loop of your choice, many times",
    "sweep": "thousands of loops: a grid of settings",
    "plan": "how many synthetic rows to generate",
    "distance": "how far generated rows are from real ones",
    "watch": "whether a loop still grows, read after every generation",
    "bounds": "the bounds, as a calculator",
    "diff": "what two runs say differently",
    "figures": "redraw the figures of a run folder, or check them",
    "report": "the folder of a run, a loop or a sweep as one HTML page",
    "benchmark": "how fast this machine runs the package",
    "list": "the names of claims, presets and whatever else is chosen by name",
}
"""What each subcommand is for; `icl_stl.commands.NAME` is its module."""


def usage() -> str:
    """What there is."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {words}" for name, words in COMMANDS.items()]
    return "\n".join(
        (
            "usage: icl-stl COMMAND [OPTIONS], icl-stl COMMAND --help, icl-stl --version",
            '       eval "$(icl-stl --completion bash)", or zsh: the shell completes commands',
            "",
            *lines,
        )
    )


def run(name: str, words: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run a subcommand; the exit status.

    Args:
        name: One of `COMMANDS`.
        words: Its options; those of this process if not given.
        prog: What help calls it; the name of this process's file if not given.
    """
    with answered():
        module = import_module(f"icl_stl.commands.{name}")
        if name == "bounds":
            return int(module.main(words, prog))
        words, kind = sys.argv[1:] if words is None else words, module.Arguments
        if name == "loop":  # what it names has options, too
            kind, words = module.arguments_for(words)
        status: int = module.main(console.arguments_of(kind, words, prog))
        return status


def completion(shell: str) -> NoReturn:
    """Print what a shell has to read to complete commands and their options."""
    import tyro

    modules = {name: import_module(f"icl_stl.commands.{name}") for name in COMMANDS}
    kinds: Any = Union[
        *(
            Annotated[module.Arguments, tyro.conf.subcommand(name)]
            for name, module in modules.items()
        )
    ]
    tyro.cli(kinds, prog="icl-stl", args=["--tyro-print-completion", shell])
    raise AssertionError("tyro ends when it has printed it")


def main() -> int:
    """`icl-stl`; the exit status."""
    name, *words = sys.argv[1:] or [""]
    if name in COMMANDS:
        return run(name, words, f"icl-stl {name}")
    with answered():
        if name in ("-h", "--help"):
            print(usage())
        elif name == "--version":
            print(__version__)
        elif name == "--completion" and words in (["bash"], ["zsh"]):
            completion(*words)
        else:
            given = " ".join([name, *words])
            known = f"one of {', '.join(COMMANDS)}{meant(name, COMMANDS)}"
            console.refuse(f"the command must be {known}, but it is {given!r}; see icl-stl --help")
    return 0
