"""The command line: one function declares each command, one runs it.

A new command is a module in :mod:`uprightpose.commands` with ``add(subcommands)`` and
``run(arguments)``, and its line in ``_COMMANDS``. What a command needs it imports inside its
functions: asking for help loads no torch.

Exit codes: 0 done; 1 done for some of several pictures, each other one said in a line on
stderr; 2 something the user can mend, said in one line on stderr; 130 interrupted; 141 the
reader of the output went away (as of a process ended by SIGPIPE).
"""

import os
import re
import sys
from collections.abc import Callable
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from uprightpose.commands import bench, data, evaluate, models, predict, reproduce, score, train
from uprightpose.errors import InputError


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: arguments without the program's name; those of the process if ``None``.

    Raises:
        SystemExit: with code 0 after ``--help`` and ``--version``.

    Example:
        >>> main(["score", "predictions.npy", "truth.npy", "--labels", "pc"])
        2
    """
    argv = _name_recipe(sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parser().parse_args(argv)
        code = _COMMANDS[arguments.command][1](arguments[arguments.command]) or 0
        sys.stdout.flush()
    except InputError as error:
        return _fail(str(error))
    except ArgumentError as error:
        recipe = f"{argv[2]}: " if argv[:2] == ["train", "--recipe"] else ""
        return _fail(f"{recipe}{_plain(str(error))} (uprightpose --help explains)")
    except KeyboardInterrupt:
        print("uprightpose: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 141
    return code


def _fail(message: str) -> int:
    print("uprightpose: error:", " ".join(message.split()), file=sys.stderr)
    return 2


def _plain(message: str) -> str:
    """Say what jsonargparse means without its types' module names.

    Example:
        >>> _plain('Parser key "base": Expected a typing.Literal[0, 1]. Got value: 3')
        'base: expected 0, 1, found 3'
    """
    message = re.sub(r"typing\.Literal\[([^\]]*)\]", r"\1", message)
    message = re.sub(r"<class '(\w+)'>", r"\1", message)
    message = re.sub(r"Subcommand 'train' does not accept option", "a recipe has no key", message)
    message = re.sub(r'Parser key "(\w+)":\s*Expected an? ', r"\1: expected ", message)
    commands = "|".join((*_COMMANDS, "check", "convert"))
    message = re.sub(rf"\b(?:{commands})\.(?=\w)", "", message)
    return re.sub(r"\.\s+Got value: ", ", found ", message)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="uprightpose",
        description="Refine the joints of people who are not standing upright.",
        version=_version(),
        exit_on_error=False,
        allow_abbrev=False,
    )
    subcommands = parser.add_subcommands(dest="command")
    for add, _ in _COMMANDS.values():
        add(subcommands)
    return parser


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("uprightpose")
    except PackageNotFoundError:
        return "(not installed)"


def _name_recipe(argv: list[str]) -> list[str]:
    """Let ``train RECIPE`` stand for ``train --recipe RECIPE``: a file that options override.

    Example:
        >>> _name_recipe(["train", "recipes/compact.yaml", "--seed", "1"])
        ['train', '--recipe', 'recipes/compact.yaml', '--seed', '1']
    """
    if argv[:1] == ["train"] and len(argv) > 1 and not argv[1].startswith("-"):
        return ["train", "--recipe", *argv[1:]]
    return argv


_COMMANDS: dict[str, tuple[Callable[[Any], None], Callable[[Namespace], int | None]]] = {
    name: (module.add, module.run)
    for name, module in (
        ("predict", predict),
        ("score", score),
        ("evaluate", evaluate),
        ("train", train),
        ("data", data),
        ("reproduce", reproduce),
        ("bench", bench),
        ("models", models),
    )
}
