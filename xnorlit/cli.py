"""The commands: names, help, errors; no work of their own.

A command's room is imported when the command runs, so that `xnorlit --help` answers at once.
"""

import sys
from collections.abc import Callable, Sequence

from xnorlit import __version__
from xnorlit.errors import UserError, did_you_mean


def _lightning(command: str) -> Callable[[Sequence[str]], None]:
    def call(arguments: Sequence[str]) -> None:
        from xnorlit.training.cli import run

        run(command, arguments)

    return call


def _train(arguments: Sequence[str]) -> None:
    from xnorlit.training.recipes import train

    train(arguments)


def _compare(arguments: Sequence[str]) -> None:
    from xnorlit.report.command import compare

    compare(arguments)


def _typed(module: str, function: str) -> Callable[[Sequence[str]], None]:
    """A command whose arguments are a function's signature and whose help is its docstring."""

    def call(arguments: Sequence[str]) -> None:
        import importlib

        from jsonargparse import ArgumentError, auto_cli

        target = getattr(importlib.import_module(module), function)
        try:
            auto_cli(target, args=list(arguments), as_positional=True, prog=f"xnorlit {function}", exit_on_error=False)
        except ArgumentError as error:
            raise UserError(f"{error}\nSee xnorlit {function} --help.") from error

    return call


COMMANDS: dict[str, tuple[str, Callable[[Sequence[str]], None]]] = {
    "train": ("train one arm with the recipe that fits the images", _train),
    "fit": ("train with configuration files: -c base.yaml -c xnor.yaml", _lightning("fit")),
    "validate": ("accuracy of a checkpoint on the validation split", _lightning("validate")),
    "test": ("accuracy of a checkpoint on the test split", _lightning("test")),
    "predict": ("logits of a checkpoint for the validation split", _lightning("predict")),
    "prepare": ("images to .beton files, once, for the fast loader", _typed("xnorlit.data.prepare", "prepare")),
    "compare": ("the table of a pair: what binarising cost and gave", _compare),
}


def usage() -> str:
    """The text of `xnorlit --help`."""
    commands = "\n".join(f"  {name:10}{about}" for name, (about, _) in COMMANDS.items())
    return (
        f"xnorlit {__version__}: what does a binary AlexNet cost, and what does it give?\n\n"
        "usage: xnorlit COMMAND [OPTIONS]      xnorlit COMMAND --help\n\n"
        f"commands:\n{commands}\n\n"
        "options:\n"
        "  --help    this text\n"
        "  --version the version\n"
        "  --debug   anywhere: show the traceback of an error\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Words of the command line; those of this process by default.

    Returns:
        Exit status: 0 when the command did what was asked, 2 for an error that the message explains, 130 for Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("--help", "-h", "help"):
        sys.stdout.write(usage())
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"xnorlit {__version__}\n")
        return 0
    try:
        if words[0] not in COMMANDS:
            near = did_you_mean(words[0], COMMANDS)
            raise UserError(f"no command named {words[0]}.{near} Known: {', '.join(COMMANDS)}. See xnorlit --help.")
        COMMANDS[words[0]][1](words[1:])
    except UserError as error:
        if debug:
            raise
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        if debug:
            raise
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
