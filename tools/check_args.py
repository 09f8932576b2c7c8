"""Holds public functions to their docstrings: from three parameters on, `Args:` names each.

    python tools/check_args.py             fails for what is missing, and prints it, a line each

Public is a function, or a method of a class, whose whole dotted name has no part that begins with
an underscore. Counted are the parameters that a caller gives, without `self` and `cls`. A class
says in its own docstring what `__init__` takes, under `Args:` or `Attributes:`. The commands of
typer are left out: what they take is explained in annotations, to whoever types them.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
SOURCES: Final = ("schemas/src", "device/src", "publisher/src")

PARAMETERS_MIN: Final = 3
"""The number of parameters from which on a docstring explains each of them."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def missing(source: str, name: str) -> Iterator[str]:
    """Give the public functions of a module whose docstring leaves parameters out.

    Args:
        source: the module's text.
        name: the module's dotted name.
    """
    tree = ast.parse(source)
    options = typer_options(tree)
    for function, dotted, owner in public_functions(tree, name):
        if is_command(function, options):
            continue
        parameters = given_parameters(function)
        text = explained(function, owner)
        left_out = [each for each in parameters if each not in names_in_args(text)]
        if len(parameters) >= PARAMETERS_MIN and left_out:
            yield f"{dotted}: {', '.join(left_out)}"


def public_functions(
    tree: ast.AST, prefix: str, owner: ast.ClassDef | None = None
) -> Iterator[tuple[Function, str, ast.ClassDef | None]]:
    """Give each public function with its dotted name and the class that it is a method of.

    Args:
        tree: a module or a class.
        prefix: its dotted name.
        owner: the class, if it is one.
    """
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.ClassDef() if not node.name.startswith("_"):
                yield from public_functions(node, f"{prefix}.{node.name}", node)
            case ast.FunctionDef() | ast.AsyncFunctionDef() if is_public(node):
                yield node, f"{prefix}.{node.name}", owner
            case _:
                pass


def is_public(function: Function) -> bool:
    """Say whether callers read this function's docstring; of methods with `__` only `__init__`."""
    if any("overload" in ast.unparse(each) for each in function.decorator_list):
        return False
    return function.name == "__init__" or not function.name.startswith("_")


def given_parameters(function: Function) -> list[str]:
    """Name what a caller gives: without `self` and `cls`, `*args` and `**kwargs`."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [each.arg for each in every if each.arg not in {"self", "cls"}]


def is_command(function: Function, options: set[str]) -> bool:
    """Say whether a function is a command: a parameter's annotation is an option of typer's."""
    arguments = [*function.args.args, *function.args.kwonlyargs]
    told = [ast.unparse(each.annotation) for each in arguments if each.annotation is not None]
    return any("typer." in each or each in options for each in told)


def typer_options(tree: ast.Module) -> set[str]:
    """Name what a module calls options of typer's, to annotate parameters with."""
    return {
        ast.unparse(target)
        for node in tree.body
        if isinstance(node, ast.Assign) and "typer." in ast.unparse(node.value)
        for target in node.targets
    }


def explained(function: Function, owner: ast.ClassDef | None) -> str:
    """Give the text that explains a function's parameters."""
    own = ast.get_docstring(function) or ""
    if function.name == "__init__" and owner is not None:
        return f"{own}\n{ast.get_docstring(owner) or ''}"
    return own


def names_in_args(docstring: str) -> set[str]:
    """Name what the sections `Args:` and `Attributes:` explain."""
    found: set[str] = set()
    is_inside = False
    for line in docstring.splitlines():
        if line and not line.startswith(" "):
            is_inside = line.strip() in {"Args:", "Attributes:"}
        elif is_inside and (named := re.match(r" {4}(\*{0,2}\w+(?:, \*{0,2}\w+)*):", line)):
            found |= {each.strip(" *") for each in named[1].split(",")}
    return found


def found_everywhere() -> Iterator[str]:
    """Give what is missing in all distributions, by dotted name."""
    for folder in SOURCES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            path = file.relative_to(ROOT / folder).with_suffix("")
            yield from missing(file.read_text(), ".".join(path.parts).removesuffix(".__init__"))


def main() -> int:
    """Print what is not as it should be; give the exit code."""
    found = list(found_everywhere())
    for line in found:
        name, _, parameters = line.partition(": ")
        print(f"{name}: its docstring has no `Args:` that explains {parameters}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
